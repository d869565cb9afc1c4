-- Non-INVITE transactions on the wire: RFC 3261 17.1.2 and 17.2.2, RFC 4320,
-- semantics 7.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

-- Timer E as 17.1.2.2 has it, from the first copy on.
local timer_e = { 0.002, 0.502, 1.502, 3.502, 7.502, 11.502, 15.502, 19.502, 23.502, 27.502,
  31.502 }

sim.for_workers("a non-INVITE request", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  local function again(call, at)
    net:run(at - net.now)
    alice:send(call.tx.bytes)
    net:run(0.01)
  end

  describe("on its way down", function()
    it("is retransmitted at T1, doubling up to T2, until Timer F (17.1.2.2)", function()
      open { handler = wire.single }
      a:silence()
      alice:request("MESSAGE", uri)
      net:run(100)
      assert.same(timer_e, wire.times(a:got "MESSAGE"))
      for _, copy in ipairs(a:got "MESSAGE") do
        assert.equal(a.received[1].bytes, copy.bytes)
      end
    end)

    it("is retransmitted every T2 once a provisional came (17.1.2.2)", function()
      open { handler = wire.single }
      a:on("MESSAGE", function(_, reply)
        reply(100)
        a:after(20, function() reply(200) end)
      end)
      local call = alice:ask("MESSAGE", uri)
      assert.equal(200, call.code)
      assert.same({ 0.002, 0.502, 4.502, 8.502, 12.502, 16.502 },
        wire.times(a:got "MESSAGE"))
    end)

    it("follows the timers of the settings", function()
      open {
        handler = wire.single, t1 = 30,
        before = "sip.settings { timers = { t1 = 0.1, t2 = 0.3 } }",
      }
      a:silence()
      alice:request("MESSAGE", uri)
      net:run(20)
      local times = wire.times(a:got "MESSAGE")
      assert.same({ 0.002, 0.102, 0.302, 0.602, 0.902 }, { table.unpack(times, 1, 5) })
      assert.equal(6.302, times[#times]) -- Timer F: 6.4
    end)

    it("has its final forwarded once; Timer K absorbs the repetitions", function()
      open { handler = wire.single }
      local call = alice:ask("MESSAGE", uri)
      local final = net:packets()[3].bytes
      a:send(final)
      net:run(4.9)
      a:send(final)
      net:run(0.01)
      assert.equal(1, #alice:got(200))
      assert.equal(200, call.code)
      assert.equal(2, net:metric("tandem_retransmissions_total", { direction = "in" }))
      net:run(1)
      assert.equal(0, wire.alive(net).clients)
      a:send(final)
      net:run(1)
      assert.equal(1, #alice:got(200))
      assert.equal(1, net:metric("tandem_takeover_messages_total", { kind = "absorbed" }))
    end)

    it("is another transaction for every method, also unknown ones", function()
      open { handler = wire.single }
      for _, method in ipairs { "MESSAGE", "PUBLISH", "NONSENSE", "SUBSCRIBE" } do
        assert.equal(200, alice:ask(method, uri).code)
        assert.equal(1, #a:got(method))
      end
    end)
  end)

  describe("on its way up", function()
    it("has its final repeated for retransmissions until Timer J (17.2.2)", function()
      open { handler = "sip.log.info('run') " .. wire.single }
      local call = alice:ask("MESSAGE", uri)
      again(call, 1)
      again(call, 20)
      again(call, 31.9)
      local list = alice:got(200)
      assert.equal(4, #list)
      for i = 2, 4 do
        assert.equal(list[1].bytes, list[i].bytes)
      end
      assert.equal(1, #a:got "MESSAGE")
      assert.equal(1, wire.said(net, "run"))
      assert.equal(1, wire.alive(net).servers)
      net:run(0.2) -- 64*T1 after the final
      assert.equal(0, wire.alive(net).servers)
    end)

    it("is not repeated by the proxy on its own (17.2.2)", function()
      open { handler = "return req:reply(404)" }
      alice:request("MESSAGE", uri)
      net:run(40)
      assert.equal(1, #alice:got(404))
    end)

    it("absorbs retransmissions while the script fails over (checklist 33)", function()
      open { handler = "sip.log.info('run') " .. wire.failover }
      a:silence()
      b:answer("MESSAGE", 200, nil, 1)
      local call = alice:ask("MESSAGE", uri)
      assert.equal("b", call.server)
      assert.equal(1, wire.said(net, "run"))
      assert.ladder(call, [[
        0.000 alice MESSAGE -> proxy
        0.001 proxy MESSAGE -> a
        0.500 alice MESSAGE -> proxy
        0.501 proxy MESSAGE -> a
        1.500 alice MESSAGE -> proxy
        1.501 proxy MESSAGE -> a
        2.001 proxy MESSAGE -> b
        2.501 proxy MESSAGE -> b
        3.002 b     200     -> proxy
        3.003 proxy 200     -> alice
      ]])
    end)
  end)

  describe("that nobody answers (RFC 4320, checklist 29)", function()
    it("is never answered after 64*T1, neither 408 nor 500", function()
      open { handler = wire.single }
      a:silence()
      local call = alice:ask("MESSAGE", uri)
      net:run(60)
      assert.equal("timeout", call.error)
      assert.equal(0, #alice:got(408) + #alice:got(500))
      assert.equal(1, net:metric("tandem_dropped_total", { reason = "noninvite_timeout" }))
      assert.equal(0, wire.alive(net).servers)
    end)

    it("is not decided again when it is repeated after a 408 of its server", function()
      open { handler = wire.single }
      a:answer("MESSAGE", 408, nil, 0.6)
      local call = alice:ask("MESSAGE", uri)
      net:run(60)
      assert.equal("timeout", call.error)
      assert.equal(0, #alice:got(408))
      assert.equal(1, #wire.branches(a:got "MESSAGE"))
      assert.equal(1, net:count("request", { method = "MESSAGE", code = 0 }))
      assert.equal(0, wire.alive(net).servers)
    end)

    it("is answered 500 when there is time left", function()
      open {}
      a:silence()
      b:silence()
      local call = alice:ask("MESSAGE", uri)
      assert.equal(500, call.code)
      assert.equal(4.002, call.elapsed)
    end)

    it("gets no 408 from a script: that is an error", function()
      open { handler = "return req:reply(408)" }
      local call = alice:ask("MESSAGE", uri)
      assert.equal(500, call.code)
      assert.matches("408 is no answer to MESSAGE", table.concat(net.logs, "\n"))
      net:finish { errors = 1 }
    end)

    it("gets no final that comes after 64*T1", function()
      open { handler = wire.single, before = 'sip.settings { stateless_relay = "invite" }' }
      a:answer("MESSAGE", 200, nil, 33)
      alice:request("MESSAGE", uri)
      net:run(60)
      assert.equal(0, #alice:got(200))
      assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_response" }))
    end)

    -- Semantics 20: a deviation from RFC 4320 4.2. It may be another node's.
    it("gets such a final all the same while those of other nodes are passed on", function()
      open { handler = wire.single }
      a:answer("MESSAGE", 200, nil, 33)
      alice:request("MESSAGE", uri)
      net:run(60)
      assert.equal(1, #alice:got(200))
      assert.equal(1, net:metric("tandem_takeover_messages_total", { kind = "noninvite" }))
    end)
  end)

  it("takes the first final only; that of the one given up is absorbed", function()
    open {}
    a:answer("MESSAGE", 200, nil, 2.5)
    b:answer("MESSAGE", 404, nil, 1)
    local call = alice:ask("MESSAGE", uri)
    net:run(10)
    assert.equal(404, call.code)
    assert.equal(0, #alice:got(200))
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "late_final" }))
  end)

  it("has no provisional forwarded (RFC 4320 4.1)", function()
    open { handler = wire.single }
    a:on("MESSAGE", function(_, reply)
      reply(100)
      reply(180)
      a:after(1, function() reply(200) end)
    end)
    alice:ask("MESSAGE", uri)
    assert.equal("200", wire.names(alice.received))
  end)

  it("hears 100 when Timer E would have reached T2, not before (semantics 7)", function()
    open { handler = wire.single }
    a:answer("MESSAGE", 200, nil, 5)
    alice:ask("MESSAGE", uri)
    assert.equal("100 100 200", wire.names(alice.received))
    -- the one of the timer, and the answer to the copy alice sent at 3.5 s
    assert.same({ 3.502, 3.502, 5.004 }, wire.times(alice.received))
  end)

  it("lets the proxy forget at once when it is not answered by choice", function()
    open { handler = "return req:drop 'spam'" }
    alice:request("MESSAGE", uri)
    net:run(0.1)
    assert.equal(0, wire.alive(net).servers)
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "script" }))
    net:run(40)
    assert.same({}, alice.received)
  end)
end)
