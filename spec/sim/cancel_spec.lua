-- Semantics 3 and checklist 4 to 4.1-10: the caller's CANCEL, and every race with it.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("a CANCEL", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  -- alice's CANCEL right now, whether she heard anything or not.
  local function cancel(call)
    call.cancelled = true
    alice:send_cancel(call)
  end

  -- A UAS that rings and ignores the CANCEL but for its 200.
  local function deaf(server, provisional)
    server:on("INVITE", function(_, reply)
      if provisional then
        reply(provisional)
      end
    end)
    server:on("CANCEL", function(_, reply) reply(200) end)
  end

  describe("of a call that rings", function()
    it("goes to the phone; 200 at once, 487 when the phone said it", function()
      open { handler = wire.single }
      a:ring()
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      net:run(1)
      assert.ladder(call, [[
        0.000 alice INVITE -> proxy
        0.001 proxy INVITE -> a
        0.002 a     180    -> proxy
        0.003 proxy 100    -> alice
        0.003 proxy 180    -> alice
        1.000 alice CANCEL -> proxy
        1.001 proxy 200    -> alice
        1.001 proxy CANCEL -> a
        1.002 a     200    -> proxy
        1.002 a     487    -> proxy
        1.003 proxy ACK    -> a
        1.003 proxy 487    -> alice
        1.004 alice ACK    -> proxy
      ]])
    end)

    it("has the branch, Request-URI, From, To, Call-ID and CSeq of the INVITE (9.1)", function()
      open { handler = wire.single }
      a:ring()
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      call:wait()
      local invite, request = a:got("INVITE")[1], a:got("CANCEL")[1]
      assert.equal(1, #a:got "CANCEL")
      assert.equal(invite.uri, request.uri)
      for _, name in ipairs { "From", "To", "Call-ID" } do
        assert.equal(invite:header(name), request:header(name))
      end
      assert.equal(invite.cseq, request.cseq)
      assert.same({ invite:list("Via")[1] }, request:list "Via")
      assert.same({}, request:list "Record-Route")
      assert.equal("", request.body)
    end)

    it("carries the Route the INVITE went out with (9.1)", function()
      open {
        handler = wire.single,
        before = 'sip.settings { trust = sip.netset { "192.0.2.0/24" } }',
      }
      a:ring()
      local routes = { "<sip:10.0.0.1;lr>", "<sip:10.9.9.9;lr>" }
      local call = alice:invite(uri, { route = routes, proxy = net.proxy })
      net:run(1)
      alice:cancel(call)
      call:wait()
      assert.equal(487, call.code)
      assert.same(routes, a:got("INVITE")[1]:list "Route")
      assert.same(routes, a:got("CANCEL")[1]:list "Route")
    end)

    it("is answered with the To tag of the 487 (9.2)", function()
      open { handler = "sip.sleep(2) " .. wire.single }
      local call = alice:invite(uri)
      net:run(1)
      cancel(call)
      call:wait()
      assert.equal(487, call.code)
      assert.is_string(call.response.to_tag)
      assert.equal(call.response.to_tag, call.cancel.response.to_tag)
    end)

    it("is repeated to the phone like any request until it answers", function()
      open { handler = wire.single }
      a:ring()
      a:on("CANCEL", function() end)
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      net:run(10)
      assert.same({ 0.001, 0.501, 1.501, 3.501, 7.501 }, wire.times(a:got "CANCEL", 1.001))
      assert.equal(1, #wire.branches(a:got "CANCEL"))
      net:run(40)
      assert.equal(487, call.code)
    end)

    it("ends after 64*T1 with 487 when the phone says no more", function()
      open { handler = wire.single }
      deaf(a, 180)
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      call:wait()
      assert.equal(487, call.code)
      assert.equal(33.002, call.elapsed)
      assert.is_nil(call.server)
    end)
  end)

  describe("before any server said a word (checklist 5)", function()
    local call

    before_each(function()
      open { handler = wire.single }
    end)

    local function start(at)
      call = alice:invite(uri)
      net:run(at)
      cancel(call)
    end

    it("is answered 200 and 487 at once and sends nothing down", function()
      a:silence()
      start(0.1)
      net:run(40)
      assert.ladder(call, [[
        0.000 alice INVITE -> proxy
        0.001 proxy INVITE -> a
        0.100 alice CANCEL -> proxy
        0.101 proxy 200    -> alice
        0.101 proxy 487    -> alice
        0.102 alice ACK    -> proxy
      ]])
    end)

    it("goes down with the first provisional (checklist 4)", function()
      a:on("INVITE", function(_, reply)
        a:after(5, function() reply(180) end)
      end)
      start(0.1)
      net:run(40)
      assert.ladder(call, [[
        0.000 alice INVITE -> proxy
        0.001 proxy INVITE -> a
        0.100 alice CANCEL -> proxy
        0.101 proxy 200    -> alice
        0.101 proxy 487    -> alice
        0.102 alice ACK    -> proxy
        5.002 a     180    -> proxy
        5.003 proxy CANCEL -> a
        5.004 a     200    -> proxy
        5.004 a     487    -> proxy
        5.005 proxy ACK    -> a
      ]])
    end)

    it("is kept as a stub for 64*T1", function()
      a:silence()
      start(0.1)
      net:run(32)
      assert.equal(1, wire.alive(net).clients)
      net:run(0.01)
      assert.equal(0, wire.alive(net).clients)
    end)

    it("has a refusal that comes later ACKed", function()
      a:answer("INVITE", 486, nil, 2)
      start(0.1)
      net:run(5)
      assert.equal(487, call.code)
      assert.equal("INVITE ACK", wire.names(a.received))
      assert.equal(0, a.unacked)
    end)
  end)

  describe("of a branch that has been given up (checklist 4, checklist 6)", function()
    it("is sent at once when it said 100 and no more", function()
      open { handler = [[
        local res = req:try(a, { progress_timeout = 1 })
        res = req:try(b)
        return res:forward() ]] }
      a:answer("INVITE", 100)
      local call = alice:call(uri)
      net:run(2)
      assert.equal("b", call.server)
      assert.equal("INVITE CANCEL ACK", wire.names(a.received))
      assert.same({ 1.004 }, wire.times(a:got "CANCEL"))
    end)

    it("waits for its first provisional, then is one", function()
      open()
      a:on("INVITE", function(_, reply)
        a:after(3, function() reply(100) end)
        a:after(3.5, function() reply(183) end)
      end)
      deaf(b, 180)
      a:on("CANCEL", function(_, reply) reply(200) end)
      local call = alice:invite(uri)
      net:run(10)
      assert.equal("INVITE INVITE INVITE CANCEL", wire.names(a.received))
      assert.same({ 3.004 }, wire.times(a:got "CANCEL"))
      assert.equal("100 180", wire.names(alice.received)) -- nothing of a
      b:on("CANCEL", nil)
      alice:cancel(call)
      net:run(40)
    end)

    it("stops its retransmissions", function()
      open { handler = "req:try(a, { timeout = 1 }) return req:reply(500)" }
      a:silence()
      alice:call(uri)
      net:run(40)
      assert.same({ 0.002, 0.502 }, wire.times(a:got "INVITE"))
    end)
  end)

  describe("and the script (checklist 7)", function()
    it("no branch starts after it, not from one that sleeps", function()
      open { handler = [[
        sip.sleep(5)
        local res, err = req:try(a)
        sip.log.info(tostring(res) .. " " .. tostring(err))
        res, err = req:fork { a, b }
        sip.log.info("fork " .. tostring(res) .. " " .. tostring(err))
        local ok = req:reply(500)
        sip.log.info("reply " .. tostring(ok)) ]] }
      local call = alice:invite(uri)
      net:run(1)
      cancel(call)
      net:run(20)
      assert.equal(487, call.code)
      assert.equal(1.002, call.elapsed) -- no branch yet: the proxy's own, at once
      assert.same({}, call.tried)
      assert.equal(1, wire.said(net, "nil cancelled"))
      assert.equal(1, wire.said(net, "fork nil cancelled"))
      assert.equal(1, net:metric "tandem_verbs_after_decision_total")
    end)

    it("a try that waits returns cancelled at once, and nothing follows it", function()
      open { handler = [[
        local res, err = req:try(a, { timeout = 3 })
        sip.log.info(tostring(err))
        res, err = req:try(b)
        sip.log.info(tostring(err))
        if res then return res:forward() end ]] }
      a:silence()
      local call = alice:invite(uri)
      net:run(1)
      cancel(call)
      net:run(0.01)
      assert.equal(2, wire.said(net, "cancelled"))
      assert.equal(487, call.code)
      net:run(40)
      assert.same({}, b.received)
    end)

    it("relay tries nobody else", function()
      open { handler = "return req:relay(pbx, { timeout = 2 })" }
      a:silence()
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      net:run(40)
      assert.equal(487, call.code)
      assert.same({ "a" }, call.tried)
    end)

    it("never reaches it", function()
      open {
        handler = "sip.log.info(req.method) " .. wire.single,
      }
      a:ring()
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      call:wait()
      assert.equal(1, wire.said(net, "INVITE"))
      assert.equal(0, wire.said(net, "CANCEL") + wire.said(net, "ACK"))
    end)
  end)

  describe("that crosses a final response", function()
    it("200: forwarded, the CANCEL is without effect (checklist 9)", function()
      open { handler = wire.single }
      a:ring(1)
      local call = alice:invite(uri)
      net:run(1.0025) -- a's 200 has just reached the proxy
      alice:cancel(call)
      net:run(5)
      assert.equal(200, call.code)
      assert.equal(200, call.cancel.code)
      assert.equal("INVITE ACK BYE", wire.names(a.received)) -- alice hangs up
      assert.equal("100 180 200", wire.names(call.responses))
    end)

    it("200 on its way while the CANCEL goes down: forwarded", function()
      open { handler = wire.single }
      a:on("INVITE", function(_, reply)
        reply(180)
        a:after(1, function() reply(200) end)
      end)
      local call = alice:invite(uri)
      net:run(1.001)
      alice:cancel(call)
      net:run(5)
      assert.equal(200, call.code)
      assert.equal(1, #a:got "CANCEL")
      assert.equal("100 180 200", wire.names(call.responses))
      assert.equal("INVITE CANCEL ACK BYE", wire.names(a.received))
      assert.equal(0, net:metric("tandem_late_2xx_total"))
    end)

    it("200 long after the CANCEL of a phone that does not care: forwarded", function()
      open { handler = wire.single }
      deaf(a, 180)
      a:on("INVITE", function(_, reply)
        reply(180)
        a:after(20, function() reply(200) end)
      end)
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      call:wait()
      assert.equal(200, call.code)
      assert.near(20, call.elapsed, 0.01)
      assert.same({}, wire.branches(alice:got "BYE"))
    end)

    it("486: that one is ACKed and 487 goes up", function()
      open { handler = wire.single }
      a:on("INVITE", function(_, reply)
        reply(180)
        a:after(1, function() reply(486) end)
      end)
      a:on("CANCEL", function(_, reply) reply(200) end)
      local call = alice:invite(uri)
      net:run(1.001)
      alice:cancel(call)
      net:run(40)
      assert.equal(487, call.code)
      assert.equal("INVITE CANCEL ACK", wire.names(a.received))
      assert.equal(0, a.unacked)
    end)

    it("after our final it is 200 and without effect", function()
      open { handler = "return req:reply(486)" }
      local call = alice:invite(uri, { ack = false })
      net:run(1)
      local finals = #alice:got(486)
      call.code = nil -- alice has not looked yet
      cancel(call)
      net:run(0.1)
      assert.equal(200, call.cancel.code)
      assert.equal(finals, #alice:got(486))
      assert.equal(0, #alice:got(487))
      net:run(40)
    end)
  end)

  describe("during a failover", function()
    it("meets only the branch that is open", function()
      open()
      a:silence()
      b:ring()
      local call = alice:invite(uri)
      net:run(3)
      alice:cancel(call)
      call:wait()
      assert.equal(487, call.code)
      assert.equal(3.004, call.elapsed)
      assert.equal("INVITE CANCEL ACK", wire.names(b.received))
      assert.equal("INVITE INVITE INVITE", wire.names(a.received))
    end)

    it("of a fork waits for those that rang only", function()
      open { handler = [[
        local res, err = req:fork({ a, b }, { timeout = 10 })
        if res then return res:forward() end
        if err ~= "cancelled" then return req:reply(500) end ]] }
      a:silence()
      b:ring()
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      call:wait()
      assert.equal(487, call.code)
      assert.equal(1.004, call.elapsed)
      assert.equal(0, #a:got "CANCEL")
      assert.equal(1, #b:got "CANCEL")
    end)

    it("a stub that answers 200 after the 487 is hung up", function()
      open()
      a:answer("INVITE", 200, nil, 6)
      b:ring()
      local call = alice:invite(uri)
      net:run(3)
      alice:cancel(call)
      net:run(40)
      assert.equal(487, call.code)
      assert.equal("ACK BYE", wire.names(a.received):sub(-7))
      assert.equal(1, net:metric("tandem_late_2xx_total", { action = "bye" }))
    end)

    it("a stub that answers 200 while the 487 is awaited goes up", function()
      open()
      a:answer("INVITE", 200, nil, 6)
      deaf(b, 180)
      local call = alice:invite(uri)
      net:run(3)
      alice:cancel(call)
      call:wait()
      assert.equal(200, call.code)
      assert.equal("a", call.server)
    end)
  end)

  it("retransmitted is answered the same and does nothing more", function()
    open { handler = wire.single }
    deaf(a, 180)
    local call = alice:invite(uri)
    net:run(1)
    alice:cancel(call)
    for _ = 1, 3 do
      net:run(1)
      alice:send(call.cancel.tx.bytes)
    end
    net:run(0.1)
    local answers = alice:got(200)
    assert.equal(4, #answers)
    assert.equal(answers[1].bytes, answers[4].bytes)
    assert.equal(1, #a:got "CANCEL")
    call:wait()
  end)

  it("without an INVITE is 481 and leaves nothing behind (checklist 10)", function()
    open { handler = wire.single, before = "sip.settings { stateless_relay = false }" }
    alice:request("CANCEL", uri)
    net:run(0.1)
    assert.equal("481", wire.names(alice.received))
    assert.same({}, a.received)
    assert.equal(0, wire.alive(net).servers)
  end)

  it("without an INVITE may be for one of another node: the servers are asked", function()
    open { handler = wire.single }
    alice:request("CANCEL", uri)
    net:run(0.1)
    assert.equal("481", wire.names(alice.received))
    assert.equal("CANCEL", wire.names(a.received))
    assert.equal(1, #a.received[1]:list "Via")
    assert.equal(1, net:metric("tandem_takeover_messages_total", { kind = "cancel" }))
    net:run(40)
    assert.equal(0, wire.alive(net).servers)
  end)

  it("with another branch than the INVITE is 481", function()
    open { handler = wire.single }
    a:ring()
    local call = alice:invite(uri)
    net:run(1)
    alice:send((call.tx.bytes:gsub("^INVITE", "CANCEL"):gsub("1 INVITE", "1 CANCEL")
      :gsub("\r\n\r\n.*", "\r\n\r\n"):gsub("Content%-%a+: [^\r]*\r\n", "")
      :gsub("branch=[^;\r]*", "branch=z9hG4bKother")))
    net:run(0.1)
    assert.equal(1, #alice:got(481))
    assert.equal("INVITE CANCEL", wire.names(a.received))
    assert.not_equal(a.received[1].branch, a.received[2].branch)
    assert.equal("ringing", call.state)
    alice:cancel(call)
  end)

  it("of another request than an INVITE is 200 and without effect (9.1)", function()
    open { handler = wire.single }
    a:answer("MESSAGE", 200, nil, 2)
    local message = alice:request("MESSAGE", uri)
    net:run(1)
    cancel(message)
    message:wait()
    assert.equal(200, message.code)
    assert.equal(200, message.cancel.code)
    assert.equal(0, #a:got "CANCEL")
  end)

  it("of a re-INVITE follows it to where it went", function()
    open { handler = wire.single }
    local call = alice:call(uri)
    net:run(1)
    a:ring() -- answers those in a dialog
    a:on("INVITE", function(_, reply) reply(180) end)
    local again = alice:reinvite(call)
    net:run(1)
    alice:cancel(again)
    again:wait()
    assert.equal(487, again.code)
    assert.equal(a:got("INVITE")[2].branch, a:got("CANCEL")[1].branch)
    assert.equal("a", again.server)
  end)
end)
