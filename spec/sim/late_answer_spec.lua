-- Semantics 2 and checklist 1 to 4.1-3: a 2xx that comes late.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

-- Two attempts with a pause between them.
local paused = [[
  local res, err = req:try(a, { timeout = 1 })
  sip.log.info("first", { code = res and res.code or err })
  sip.sleep(5)
  res, err = req:try(b, { timeout = 1 })
  sip.log.info("second", { code = res and res.code or err, server = res and res.server.name })
  if res then return res:forward() end
  return req:reply(500)
]]

sim.for_workers("a late 2xx", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  local function late(action)
    return net:metric("tandem_late_2xx_total", { action = action })
  end

  -- What came up for the INVITE with that code.
  local function answers(call, code)
    local list = {}
    for _, response in ipairs(call.responses) do
      if response.code == code then
        list[#list + 1] = response
      end
    end
    return list
  end

  local function logged(message)
    for _, event in ipairs(net.events) do
      if event.event == "script" and event.message == message then
        return event
      end
    end
  end

  describe("from the primary while the backup rings (checklist 1)", function()
    before_each(function()
      open()
      a:answer("INVITE", 200, nil, 5)
      b:ring(20)
    end)

    it("goes up at once and cancels the backup", function()
      local call = alice:call(uri)
      net:run(1)
      assert.equal("a", call.server)
      assert.equal(5.004, call.elapsed)
      assert.same({ "a", "b" }, call.tried)
      assert.equal("up", call.state)
      assert.same({ 5.003 }, wire.times(b:got "CANCEL", 0.001))
      assert.equal("INVITE CANCEL ACK", wire.names(b.received))
      assert.equal("100 180 200", wire.names(alice.received))
      assert.equal(1, late "forward")
      assert.equal(0, late "bye")
    end)

    it("tells the backup that the call was answered elsewhere (RFC 3326)", function()
      alice:call(uri)
      net:run(1)
      assert.equal('SIP;cause=200;text="Call completed elsewhere"',
        b:got("CANCEL")[1]:header "Reason")
    end)

    it("is acknowledged and hung up at the primary", function()
      local call = alice:call(uri)
      net:run(1)
      assert.equal(200, alice:bye(call):wait().code)
      assert.equal("INVITE INVITE INVITE ACK BYE", wire.names(a.received))
      assert.equal(0, a.unacked + b.unacked)
    end)
  end)

  it("from the primary beats the refusal of the backup that comes next", function()
    open()
    a:answer("INVITE", 200, nil, 3)
    b:answer("INVITE", 486, nil, 1.001) -- both are on the way in the same millisecond
    local call = alice:call(uri)
    net:run(40)
    assert.equal("a", call.server)
    assert.equal("100 200", wire.names(alice.received))
    assert.equal(0, a.unacked + b.unacked)
  end)

  it("from the primary is the last that goes up: no 180 of the backup (RFC 3261 16.7 5)", function()
    open()
    a:answer("INVITE", 200, nil, 3)
    b:answer("INVITE", 180, nil, 1.2) -- a moment after
    alice:call(uri)
    net:run(40)
    assert.equal("100 200", wire.names(alice.received))
    assert.equal("INVITE INVITE CANCEL ACK", wire.names(b.received))
  end)

  describe("while the script does something between attempts", function()
    it("goes up at once; the next try returns it and starts no branch", function()
      open { handler = paused }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:call(uri)
      net:run(10)
      assert.equal(3.004, call.elapsed)
      assert.equal("a", call.server)
      assert.same({ "a" }, call.tried)
      assert.same({}, b.received)
      assert.equal("timeout", logged("first").code)
      assert.equal("200", tostring(logged("second").code))
      assert.equal("a", logged("second").server)
      assert.equal("up", call.state)
    end)
  end)

  describe("after our own final", function()
    local silent = "req:try(a, { timeout = 1 }) return req:reply(500)"

    it("is acknowledged and hung up by default: no ghost call (late_answer = bye)", function()
      open { handler = silent }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:call(uri)
      assert.equal(500, call.code)
      net:run(40)
      assert.same({}, answers(call, 200))
      assert.equal("INVITE INVITE ACK BYE", wire.names(a.received))
      assert.equal(0, a.unacked)
      assert.equal(1, late "bye")
      assert.equal(0, late "forward")
    end)

    it("is hung up in the dialog the server made", function()
      open { handler = silent }
      a:on("INVITE", function(_, reply)
        a:after(3, function()
          reply(200, { headers = { Contact = "<sip:x@10.0.0.1:5060;ob>" }, tag = "theirs" })
        end)
      end)
      local call = alice:call(uri)
      net:run(5)
      local invite, ack, bye = a:got("INVITE")[1], a:got("ACK")[1], a:got("BYE")[1]
      for _, request in ipairs { ack, bye } do
        assert.equal("sip:x@10.0.0.1:5060;ob", request.uri)
        assert.equal(invite:header "From", request:header "From")
        assert.equal("theirs", request.to_tag)
        assert.equal(call.id, request.call_id)
        assert.equal(1, #request:list "Via")
        assert.equal("70", request:header "Max-Forwards")
        assert.not_equal(invite.branch, request.branch)
      end
      assert.equal(invite.cseq, ack.cseq)
      assert.equal(invite.cseq + 1, bye.cseq)
    end)

    it("is hung up without the headers that its Contact has (RFC 3261 19.1.5)", function()
      open { handler = silent }
      a:on("INVITE", function(_, reply)
        a:after(3, function()
          reply(200, { headers = {
            Contact = "<sip:x@10.0.0.1;p=1?Subject=y&Route=%3Csip:10.0.0.9%3E>",
          } })
        end)
      end)
      alice:call(uri)
      net:run(40)
      assert.equal("INVITE INVITE ACK BYE", wire.names(a.received))
      assert.equal("sip:x@10.0.0.1;p=1", a:got("ACK")[1].uri)
      assert.equal("sip:x@10.0.0.1;p=1", a:got("BYE")[1].uri)
      assert.equal(0, a.unacked)
    end)

    it("is acknowledged as often as it comes, the BYE is one", function()
      open { handler = silent }
      local answer
      a:on("INVITE", function(_, reply)
        a:after(3, function()
          net:partition(net.nodes[1], a, { oneway = true })
          reply(200)
        end)
      end)
      a:on("BYE", function(_, reply)
        answer = true
        a:after(1, function() reply(200) end)
      end)
      alice:call(uri)
      net:run(3.2 - net.now)
      net:heal()
      net:run(4)
      assert.is_true(answer)
      assert.equal(1, #a:got "ACK") -- of the 2xx that was repeated after 0.5 s
      assert.equal(1, #wire.branches(a:got "BYE"))
    end)

    it("is forwarded with late_answer = forward", function()
      open { handler = silent, before = 'sip.settings { late_answer = "forward" }' }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:call(uri)
      assert.equal(500, call.code)
      net:run(5)
      -- alice, who had given up, ends it herself
      assert.ladder(call, [[
        0.000 alice INVITE -> proxy
        0.001 proxy INVITE -> a
        0.201 proxy 100    -> alice
        0.501 proxy INVITE -> a
        1.001 proxy 500    -> alice
        1.002 alice ACK    -> proxy
        3.002 a     200    -> proxy
        3.003 proxy 200    -> alice
        3.004 alice ACK    -> proxy
        3.004 alice BYE    -> proxy
        3.005 proxy ACK    -> a
        3.005 proxy BYE    -> a
        3.006 a     200    -> proxy
        3.007 proxy 200    -> alice
      ]])
      assert.equal(1, late "forward")
      assert.equal(0, late "bye")
    end)

    it("is forwarded as often as it comes", function()
      open { handler = silent, before = 'sip.settings { late_answer = "forward" }' }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:invite(uri, { ack = false })
      net:run(7)
      assert.same({ 3.004, 3.504, 4.504, 6.504 }, wire.times(answers(call, 200)))
      net:run(40)
    end)

    -- RFC 3261 16.7 step 9
    it("is the last word: our 500 is repeated no more (RFC 6026 7.1)", function()
      open { handler = silent, before = 'sip.settings { late_answer = "forward" }' }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:invite(uri, { ack = false })
      net:run(5)
      alice:send(call.tx.bytes)
      net:run(40)
      assert.same({ 1.002, 1.502, 2.502 }, wire.times(answers(call, 500)))
      assert.same({ 3.004, 3.504, 4.504 }, { table.unpack(wire.times(answers(call, 200)), 1, 3) })
    end)

    it("after a 487 is hung up too", function()
      open { handler = wire.single }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:invite(uri)
      net:run(1)
      alice:cancel(call)
      net:run(40)
      assert.equal(487, call.code)
      assert.same({}, answers(call, 200))
      assert.equal("INVITE INVITE ACK BYE", wire.names(a.received))
      assert.equal(1, late "bye")
    end)
  end)

  describe("when the request is forgotten", function()
    local quick = [[
      local res = req:try(a, { timeout = 1 })
      res = req:try(b, { timeout = 1 })
      return res:forward()
    ]]

    it("goes up if the call is up: two branches answered 200 (checklist 3)", function()
      open { handler = quick }
      a:answer("INVITE", 200, nil, 3)
      local call = alice:call(uri)
      assert.equal("b", call.server)
      net:run(0.1)
      assert.equal(0, wire.alive(net).requests)
      net:run(10)
      assert.equal(1, call.extra)
      assert.equal(2, #answers(call, 200))
      assert.equal("INVITE INVITE ACK BYE", wire.names(a.received), "alice hangs it up")
      assert.equal("up", call.state)
      assert.equal(0, a.unacked)
      assert.equal(0, late "bye")
    end)

    it("is hung up if we refused", function()
      open { handler = quick }
      a:answer("INVITE", 200, nil, 10)
      b:answer("INVITE", 486)
      local call = alice:call(uri)
      assert.equal(486, call.code)
      net:run(5)
      assert.equal(0, wire.alive(net).requests)
      net:run(40)
      assert.same({}, answers(call, 200))
      assert.equal("ACK BYE", wire.names(a.received):sub(-7))
      assert.equal(1, late "bye")
    end)

    it("is hung up if the request was dropped", function()
      open { handler = "req:try(a, { timeout = 1 }) return req:drop 'bored'" }
      a:answer("INVITE", 200, nil, 1.2)
      local call = alice:invite(uri)
      net:run(1.4)
      assert.equal("INVITE INVITE ACK BYE", wire.names(a.received))
      assert.is_nil(call.code)
      a:answer("INVITE", 486)
      net:run(10)
    end)

    it("is absorbed for 64*T1 after the attempt was given up, no longer", function()
      open { handler = quick, before = "sip.settings { stateless_relay = false }" }
      a:on("INVITE", function(_, reply)
        a:after(33.5, function() reply(200) end) -- given up at 1.001
      end)
      alice:call(uri)
      net:run(33 - net.now)
      assert.equal(2, wire.alive(net).clients)
      net:run(0.9)
      assert.equal(0, wire.alive(net).clients)
      assert.equal(0, #a:got "ACK" + #a:got "BYE")
      assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_response" }))
    end)

    -- Whether it was this node's or another's nobody knows any more.
    it("is passed on after that, as that of another node would be", function()
      open { handler = quick }
      a:on("INVITE", function(_, reply)
        a:after(33.5, function() reply(200) end)
      end)
      alice:call(uri)
      net:run(33.4 - net.now)
      local before = #alice:got(200)
      net:run(0.4)
      local more = #alice:got(200) - before
      assert.is_true(more > 0)
      assert.equal(more, net:metric("tandem_takeover_messages_total", { kind = "answer" }))
      net:run(40)
    end)
  end)

  it("of the last candidate, given up after 32 s, is hung up as well", function()
    open { handler = "return req:relay(a)" }
    a:answer("INVITE", 200, nil, 40)
    local call = alice:call(uri)
    assert.equal(500, call.code)
    net:run(30)
    assert.equal("ACK BYE", wire.names(a.received):sub(-7))
    assert.equal(1, late "bye")
  end)

  describe("of a server that could not be reached for a moment", function()
    -- It has the INVITE; the second copy finds nobody.
    local function lose_second_copy(away, back)
      a:answer("INVITE", 200, nil, 5)
      b:ring(20)
      local call = alice:invite(uri)
      net:run(0.2)
      away()
      net:run(0.8)
      back()
      net:run(6)
      return call
    end

    it("goes up at once, and cancels the backup", function()
      open()
      local call = lose_second_copy(function() a:refuse() end, function() a:resume() end)
      assert.same({ "a", "b" }, call.tried)
      assert.equal("a", call.server)
      assert.equal(5.004, call.elapsed)
      assert.equal("INVITE CANCEL ACK", wire.names(b.received))
    end)

    it("and is hung up after our own final", function()
      open()
      b:refuse()
      local call = lose_second_copy(function() a:refuse() end, function() a:resume() end)
      assert.equal(500, call.code)
      assert.equal("INVITE ACK BYE", wire.names(a.received))
      assert.equal(1, late "bye")
    end)
  end)

  describe("of the other branch of a fork", function()
    local fork = [[
      local res, err = req:fork({ a, b }, { timeout = 10 })
      if res then return res:forward() end
      if err ~= "cancelled" then return req:reply(500) end
    ]]

    it("goes up after the first: two calls, two ACKs (checklist 3)", function()
      open { handler = fork }
      for _, server in ipairs { a, b } do
        server:on("INVITE", function(_, reply) server:after(1, function() reply(200) end) end)
        server:on("CANCEL", function(_, reply) reply(200) end)
      end
      local call = alice:call(uri)
      net:run(10)
      assert.equal("100 200 200", wire.names(call.responses))
      assert.equal(1, call.extra)
      assert.equal(0, a.unacked + b.unacked)
      assert.equal("up", call.state)
    end)

    it("is not hung up by the proxy", function()
      open { handler = fork }
      a:ring(1)
      b:on("INVITE", function(_, reply)
        reply(180)
        b:after(1.0005, function() reply(200) end) -- crosses the CANCEL
      end)
      local call = alice:call(uri)
      net:run(10)
      assert.equal(2, #answers(call, 200))
      assert.equal("a", call.server)
      assert.equal(0, late "bye")
      assert.equal("INVITE CANCEL ACK BYE", wire.names(b.received)) -- alice hangs up
    end)
  end)
end)
