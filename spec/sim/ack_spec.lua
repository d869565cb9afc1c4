-- ACK: hop by hop for a refusal, a request of its own for a 2xx; checklist 11 to 4.1-13.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("an ACK", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  describe("for a refusal (17.1.1.3, checklist 11)", function()
    -- What must be in it, given the INVITE as it went out and the refusal.
    local function check(server, code)
      local invite, ack = server:got("INVITE")[1], server:got("ACK")[1]
      assert.equal(invite.uri, ack.uri)
      assert.same({ invite:list("Via")[1] }, ack:list "Via")
      assert.same(invite:list "Route", ack:list "Route")
      assert.equal(invite:header "From", ack:header "From")
      assert.equal(invite:header "To" .. ";tag=refusal" .. code, ack:header "To")
      assert.equal(invite.call_id, ack.call_id)
      assert.equal(("%d ACK"):format(invite.cseq), ack:header "CSeq")
      assert.equal(invite:header "Max-Forwards" and "70", ack:header "Max-Forwards")
      assert.same({}, ack:list "Record-Route")
      assert.same({}, ack:list "Contact")
      assert.equal("", ack.body)
    end

    local function refuses(server, code, after)
      server:on("INVITE", function(_, reply)
        server:after(after or 0, function() reply(code, { tag = "refusal" .. code }) end)
      end)
    end

    it("is the INVITE as it was sent on that branch", function()
      open { handler = wire.single }
      refuses(a, 486)
      local call = alice:call(uri)
      net:run(1)
      check(a, 486)
      assert.equal(486, call.code)
      assert.equal(1, #a:got "ACK")
    end)

    it("has the Request-URI this attempt was given", function()
      open { handler = [[
        local res = req:try "sip:carol@10.0.0.1;line=1"
        return res:forward() ]] }
      refuses(a, 404)
      alice:call(uri)
      net:run(1)
      assert.equal("sip:carol@10.0.0.1;line=1", a:got("INVITE")[1].uri)
      check(a, 404)
    end)

    it("has the Route the INVITE went out with", function()
      open {
        handler = wire.single,
        before = 'sip.settings { trust = sip.netset { "192.0.2.0/24" } }',
      }
      refuses(a, 486)
      alice:call(uri, { route = { "<sip:10.0.0.1;lr>", "<sip:x@10.9.9.9;lr>" }, proxy = net.proxy })
      net:run(1)
      assert.equal(2, #a:got("INVITE")[1]:list "Route")
      check(a, 486)
    end)

    it("is sent by every attempt on its own branch", function()
      open()
      refuses(a, 503)
      refuses(b, 404)
      alice:call(uri)
      net:run(1)
      check(a, 503)
      check(b, 404)
      assert.not_equal(a:got("ACK")[1].branch, b:got("ACK")[1].branch)
    end)

    it("is sent on a branch that was given up", function()
      open()
      refuses(a, 486, 5)
      local call = alice:call(uri)
      net:run(10)
      assert.equal("b", call.server)
      check(a, 486)
      assert.equal(0, a.unacked)
      assert.equal(1, net:metric("tandem_dropped_total", { reason = "late_final" }))
    end)

    it("is sent for every repetition, also on a branch that was given up", function()
      open()
      refuses(a, 486, 5)
      alice:call(uri)
      net:run(6 - net.now)
      for _ = 1, 3 do
        a:send(net:packets()[#net:packets() - 1].bytes)
        net:run(0.5)
      end
      local acks = a:got "ACK"
      assert.equal(4, #acks)
      assert.equal(acks[1].bytes, acks[4].bytes)
    end)

    it("is sent when the final comes after the request is forgotten", function()
      open { handler = "req:try(a, { timeout = 1 }) return req:reply(500)" }
      refuses(a, 500, 20)
      alice:call(uri)
      net:run(10)
      assert.equal(0, wire.alive(net).requests)
      net:run(40)
      check(a, 500)
      assert.equal(0, a.unacked)
    end)

    it("of the caller ends here (checklist 13)", function()
      open { handler = wire.single }
      refuses(a, 486)
      alice:call(uri)
      net:run(5)
      assert.equal(1, #a:got "ACK")
      for _, code in ipairs { 404, 500 } do
        open { handler = ("return req:reply(%d)"):format(code) }
        local call = alice:call(uri)
        net:run(40)
        assert.equal(code, call.code)
        assert.same({}, a.received)
        assert.equal(1, #alice:got(code), "so it is not repeated")
      end
    end)

    it("of what was refused without a transaction ends here as well", function()
      open { handler = wire.single }
      local call = alice:call(uri, { headers = { ["Proxy-Require"] = "magic" } })
      net:run(40)
      assert.equal(420, call.code)
      assert.same({}, a.received)
      assert.equal(0, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
    end)
  end)

  describe("for a 2xx (13.2.2.4, checklist 12)", function()
    it("goes along the route set as a request of its own", function()
      open { handler = wire.single }
      alice:call(uri)
      net:run(1)
      local invite, ack = a:got("INVITE")[1], a:got("ACK")[1]
      assert.equal("sip:a@10.0.0.1:5060", ack.uri)
      assert.same({}, ack:list "Route") -- ours was taken off
      assert.equal(2, #ack:list "Via")
      assert.not_equal(invite.branch, ack.branch)
      assert.equal("69", ack:header "Max-Forwards")
      assert.equal(invite.cseq, ack.cseq)
      assert.same({}, ack:list "Record-Route")
    end)

    it("keeps its body and its other headers", function()
      open { handler = wire.single }
      local call = alice:invite(uri, { ack = false })
      call:wait()
      alice:ack(call, {
        headers = { ["Content-Type"] = "application/sdp", ["X-Mine"] = "1" }, body = "v=0\r\n",
      })
      net:run(1)
      assert.equal("v=0\r\n", a:got("ACK")[1].body)
      assert.equal("1", a:got("ACK")[1]:header "X-Mine")
    end)

    it("has no state: it passes when the call is long forgotten", function()
      open { handler = wire.single }
      local call = alice:call(uri)
      net:run(3600)
      assert.same({ 0, 0 }, { wire.alive(net).servers, wire.alive(net).clients })
      alice:send(call.dialog.ack)
      net:run(1)
      assert.equal(2, #a:got "ACK")
      assert.same({ 0, 0 }, { wire.alive(net).servers, wire.alive(net).clients })
    end)

    it("passes through a node that never saw the INVITE", function()
      open { handler = wire.single, key = "0123456789abcdef" }
      local other = net:node()
      local call = alice:invite(uri, { ack = false })
      call:wait()
      net.nodes[1]:power_off()
      other:take "10.0.0.100"
      alice:ack(call)
      net:run(1)
      assert.equal("INVITE ACK", wire.names(a.received))
      assert.equal(0, a.unacked)
    end)

    it("goes where the dialog is, not where new calls go", function()
      open()
      a:answer("INVITE", 503)
      local call = alice:invite(uri, { ack = false })
      call:wait()
      a:answer("INVITE", 200)
      alice:ack(call)
      net:run(1)
      assert.equal("INVITE ACK", wire.names(a.received)) -- that of the 503
      assert.equal("INVITE ACK", wire.names(b.received))
    end)

    it("from the called side passes to the caller", function()
      open { handler = wire.single }
      local call = alice:call(uri)
      net:run(1)
      alice.received = {}
      local again = a:reinvite(call)
      again:wait()
      net:run(1)
      assert.equal(200, again.code)
      assert.equal("INVITE ACK", wire.names(alice.received))
      assert.equal(0, alice.unacked)
    end)

    it("stays here when it may go nowhere, and nobody is told (17)", function()
      open { handler = wire.single }
      alice:send(wire.bytes [[
        ACK sip:bob@198.51.100.9 SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKstray
        From: <sip:alice@192.0.2.7>;tag=1
        To: <sip:bob@example.com>;tag=2
        Call-ID: stray
        CSeq: 1 ACK
        Content-Length: 0
      ]])
      net:run(1)
      assert.same({}, alice.received)
      assert.same({}, a.received)
      assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
    end)

    it("with Max-Forwards 0 goes no further", function()
      open { handler = wire.single }
      local call = alice:call(uri)
      net:run(1)
      alice:send((call.dialog.ack:gsub("Max%-Forwards: 70", "Max-Forwards: 0")))
      net:run(1)
      assert.equal(1, #a:got "ACK")
    end)
  end)
end)
