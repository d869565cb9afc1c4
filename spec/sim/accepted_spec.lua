-- What follows a 2xx to INVITE: RFC 6026, the Accepted states with Timers L and M.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("an accepted INVITE", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  it("has every repetition of its 2xx forwarded, none made (checklist 3)", function()
    open { handler = wire.single }
    local call = alice:invite(uri, { ack = false })
    net:run(30)
    local sent, heard = {}, alice:got(200)
    for _, packet in ipairs(net:packets()) do
      if packet.from == a.addr and packet.bytes:find "^SIP/2.0 200" then
        sent[#sent + 1] = (packet.time * 1e6 + 0.5) // 1 / 1e6 + 0.002
      end
    end
    assert.equal(10, #heard)
    assert.same(wire.times(heard), wire.times((function()
      local list = {}
      for i, time in ipairs(sent) do list[i] = { time = time } end
      return list
    end)()))
    for i = 2, #heard do
      assert.equal(heard[1].bytes, heard[i].bytes)
    end
    assert.equal(0, #a:got "ACK") -- the proxy never ACKs a 2xx
    alice:ack(call)
    net:run(4)
    assert.equal(1, #a:got "ACK")
  end)

  -- RFC 6026 7.1
  it("absorbs retransmissions of the INVITE until Timer L (checklist 30)", function()
    open { handler = "sip.log.info('run') " .. wire.single }
    local call = alice:call(uri)
    for _, at in ipairs { 0.5, 6, 20, 32 } do
      net:run(at - net.now)
      alice:send(call.tx.bytes)
    end
    net:run(0.001)
    assert.equal(1, #a:got "INVITE")
    assert.equal(1, #alice:got(200), "and nothing is said to them (RFC 6026 7.1)")
    assert.equal(1, wire.said(net, "run"))
    assert.equal(1, wire.alive(net).servers)
    net:run(0.01)
    assert.equal(0, wire.alive(net).servers)
  end)

  it("forwards 2xx until Timer M and none after it (RFC 6026 7.2, 8.9)", function()
    open { handler = wire.single, before = "sip.settings { stateless_relay = false }" }
    local call = alice:call(uri)
    local answer
    for _, packet in ipairs(net:packets()) do
      answer = packet.from == a.addr and packet.bytes or answer
    end
    net:run(32 - net.now)
    a:send(answer)
    net:run(0.01)
    assert.equal(2, #alice:got(200))
    a:send(answer)
    net:run(0.01)
    assert.equal(2, #alice:got(200))
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_response" }))
    assert.equal(0, wire.alive(net).clients)
    assert.equal(200, call.code)
  end)

  it("counts Timers L and M from the first 2xx, by the settings", function()
    open {
      handler = wire.single, before = "sip.settings { timers = { t1 = 0.1 } }",
    }
    alice:invite(uri, { ack = false })
    net:run(6.4)
    assert.same({ 1, 1 }, { wire.alive(net).servers, wire.alive(net).clients })
    net:run(0.01)
    assert.same({ 0, 0 }, { wire.alive(net).servers, wire.alive(net).clients })
  end)

  it("passes on ACKs of repeated 2xx, each of them (RFC 6026 7.1)", function()
    open { handler = wire.single }
    local call = alice:call(uri)
    net:run(1)
    alice:send(call.dialog.ack)
    alice:send(call.dialog.ack)
    net:run(1)
    assert.equal(3, #a:got "ACK")
    assert.equal(0, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
  end)

  it("passes on an ACK that reuses the branch of the INVITE", function()
    open { handler = wire.single }
    a:ring(1) -- whose 180 has the To tag of the 200
    local call = alice:invite(uri, { ack = false })
    call:wait()
    local via = call.tx.bytes:match "\r\nVia: ([^\r]*)"
    alice:ack(call)
    net:run(0.1)
    alice:send((call.dialog.ack:gsub("\r\nVia: [^\r]*", "\r\nVia: " .. via)))
    net:run(1)
    assert.equal(2, #a:got "ACK")
  end)

  it("has nothing but 2xx and ACK to do with the server that refused before", function()
    open {}
    a:answer("INVITE", 503)
    local call = alice:call(uri)
    net:run(40)
    assert.equal("b", call.server)
    assert.equal("INVITE ACK", wire.names(a.received))
    assert.equal("INVITE ACK", wire.names(b.received))
  end)
end)
