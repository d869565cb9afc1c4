-- The INVITE server transaction on the wire: RFC 3261 17.2.1.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("the INVITE server", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  -- A copy of what alice sent, from her, after some seconds.
  local function again(call, at)
    net:run(at - net.now)
    alice:send(call.tx.bytes)
    net:run(0.01)
  end

  describe("while it proceeds (17.2.1)", function()
    it("answers a retransmission with the last provisional, nobody else hears it", function()
      open { handler = wire.single }
      a:ring()
      local call = alice:invite(uri)
      again(call, 1)
      again(call, 5)
      assert.equal("100 180 180 180", wire.names(alice.received))
      assert.equal(alice.received[2].bytes, alice.received[4].bytes)
      assert.equal(1, #a:got "INVITE")
      assert.equal(2, net:metric("tandem_retransmissions_total", { direction = "in" }))
      alice:cancel(call)
    end)

    it("says nothing to a retransmission as long as nothing was said", function()
      open { handler = "sip.sleep(3) return req:reply(486)" }
      local call = alice:invite(uri)
      net:run(2.9)
      assert.same({}, alice.received)
      call:wait()
      assert.equal("486", wire.names(alice.received))
    end)

    it("is one run of the handler, also while that sleeps (checklist 14)", function()
      open { handler = "sip.log.info('run') sip.sleep(10) " .. wire.single }
      local call = alice:invite(uri)
      net:run(9)
      assert.equal("100", wire.names({ alice.received[1] }))
      call:wait()
      assert.equal(200, call.code)
      assert.equal(1, wire.said(net, "run"))
      assert.equal(1, #a:got "INVITE")
    end)

    it("is one run of the handler when the handler fails over (checklist 14)", function()
      open { handler = "sip.log.info('run') " .. wire.failover }
      a:silence()
      b:ring(3)
      local call = alice:invite(uri)
      again(call, 1)
      again(call, 1.9)
      again(call, 2.1)
      again(call, 4)
      call:wait()
      assert.equal("b", call.server)
      assert.equal(1, wire.said(net, "run"))
      assert.same({ "a", "b" }, call.tried)
      assert.equal(1, #b:got "INVITE")
      assert.equal("100 100 100 180 180 180 200", wire.names(alice.received))
    end)
  end)

  describe("when it has refused", function()
    it("repeats a refusal at T1, doubling up to T2, until Timer H (17.2.1)", function()
      open { handler = "return req:reply(486)" }
      alice:invite(uri, { ack = false })
      net:run(40)
      local list = alice:got(486)
      assert.same({ 0.002, 0.502, 1.502, 3.502, 7.502, 11.502, 15.502, 19.502, 23.502,
        27.502, 31.502 }, wire.times(list))
      for i = 2, #list do
        assert.equal(list[1].bytes, list[i].bytes)
      end
      assert.equal(0, wire.alive(net).servers)
    end)

    it("repeats by the timers of the settings", function()
      open {
        handler = "return req:reply(486)",
        before = "sip.settings { timers = { t1 = 0.2, t2 = 0.5, t4 = 1 } }",
      }
      alice:invite(uri, { ack = false })
      net:run(20)
      local times = wire.times(alice:got(486))
      assert.same({ 0.002, 0.202, 0.602, 1.102, 1.602 }, { table.unpack(times, 1, 5) })
      assert.equal(12.602, times[#times]) -- Timer H: 64 * 0.2 = 12.8
    end)

    it("repeats it at once for a retransmission (17.2.1)", function()
      open { handler = "return req:reply(486)" }
      local call = alice:invite(uri, { ack = false })
      again(call, 0.1)
      again(call, 0.2)
      assert.same({ 0.002, 0.102, 0.202 }, wire.times(alice:got(486)))
    end)

    it("stops with the ACK, which goes no further (checklist 13)", function()
      open { handler = wire.single }
      a:answer("INVITE", 486)
      local call = alice:invite(uri, { ack = false })
      net:run(2)
      assert.equal(3, #alice:got(486))
      -- what the transaction of a phone sends: same branch, the To tag of the refusal
      alice:send((call.tx.bytes:gsub("^INVITE", "ACK"):gsub("1 INVITE", "1 ACK")
        :gsub("\r\n\r\n.*", "\r\n\r\n"):gsub("Content%-%a+: [^\r]*\r\n", "")
        :gsub("\r\nTo: [^\r]*", "\r\nTo: " .. call.response:header "To")))
      net:run(20)
      assert.equal(3, #alice:got(486))
      assert.equal(1, #a:got "ACK") -- the proxy's own
    end)

    it("absorbs further ACKs and INVITEs until Timer I is over", function()
      open { handler = "sip.log.info('run') return req:reply(486)" }
      local call = alice:call(uri)
      net:run(0.1)
      assert.equal(1, wire.alive(net).servers)
      alice:send(call.tx.ack)
      again(call, 1)
      again(call, 4.9)
      assert.equal(1, #alice:got(486))
      assert.equal(1, wire.said(net, "run"))
      net:run(5.1 - net.now) -- T4 after the ACK
      assert.equal(0, wire.alive(net).servers)
    end)
  end)

  it("drops an ACK that belongs to nothing", function()
    open { handler = wire.single }
    local call = alice:call(uri)
    net:run(100)
    a.received = {}
    alice:send((call.dialog.ack:gsub("\r\nRoute: [^\r]*", "")
      :gsub("^ACK %S+", "ACK sip:bob@example.com")))
    net:run(1)
    assert.same({}, a.received)
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
  end)
end)
