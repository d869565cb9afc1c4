-- What the simulated network does to the connections of a proxy: the host half, by
-- what its core says of them and what endpoints see.
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen { "tcp:0.0.0.0:5060", { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" } }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1;transport=tcp" } }, check = false,
})
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("a connection of a proxy", function(workers)
  after_each(sim.finish)

  local net, proxy, a, alice

  before_each(function()
    net = sim.new { seed = 5, workers = workers, source = script }
    proxy = net.nodes[1]
    a, alice = net:uas("tcp:10.0.0.1", "a"), net:uac("tcp:192.0.2.7", "alice")
  end)

  local function call()
    return alice:call "sip:bob@example.com"
  end

  it("is opened by who needs it, and kept", function()
    local first = call()
    assert.equal(200, first.code)
    assert.equal(0.008, first.elapsed)
    net:run(0.1)
    assert.ladder(first, [[
      0.000 alice INVITE TCP-> proxy
      0.003 proxy INVITE TCP-> a
      0.004 a     200    TCP-> proxy
      0.005 proxy 200    TCP-> alice
      0.006 alice ACK    TCP-> proxy
      0.007 proxy ACK    TCP-> a
    ]])
    assert.equal(1, net:count("flow.up", { direction = "in", transport = "tcp" }))
    assert.equal(1, net:count("flow.up", { direction = "out", peer = "10.0.0.1:5060" }))
    assert.equal(1, #a:connections())
    assert.same({ "a" }, first.tried)
    assert.equal("a", first.server)
  end)

  it("is closed at the end, or given up when it is half open", function()
    call()
    net:run(0.1)
    local flows = 0
    for worker = 1, workers do
      flows = flows + proxy:stats(worker).flows
    end
    assert.equal(2, flows)
    a:power_off()
    net:finish()
  end)

  it("belongs to one worker, as many as there are", function()
    for i = 1, 20 do
      net:uac("tcp:192.0.2." .. 20 + i):connect()
    end
    net:run(1)
    local seen = {}
    for _, event in ipairs(net.events) do
      if event.event == "flow.up" then
        seen[event.worker] = (seen[event.worker] or 0) + 1
      end
    end
    for worker = 0, workers - 1 do
      assert(seen[worker] > 5)
    end
  end)

  it("comes in pieces and goes in pieces", function()
    net:link(alice, proxy, { chunk = 1 })
    net:link(a, proxy, { chunk = 13 })
    local made = call()
    assert.equal(200, made.code)
    assert.equal(200, alice:bye(made):wait().code)
  end)

  it("is refused, and what waited for it comes back", function()
    a:refuse()
    local made = call()
    assert.equal(500, made.code)
    assert.equal(1, net:count("flow.down", { cause = "refused", was_up = false }))
    local unsent
    for _, packet in ipairs(net:packets()) do
      unsent = packet.fate == "unsent" and packet or unsent
    end
    assert.matches("^INVITE", unsent.bytes)
    assert.equal("tcp", unsent.transport)
  end)

  it("is given up by the core when nobody takes it", function()
    a:stall()
    local made = call()
    assert.equal(500, made.code)
    assert.equal(1, net:count("flow.down", { cause = "connect_timeout" }))
    assert(made.elapsed < 10)
  end)

  it("ends when the process does", function()
    call()
    net:run(0.1)
    proxy:stop()
    net:run(0.1)
    assert.equal("closed", alice.ended[1].cause)
    assert.equal("closed", a.ended[1].cause)
    proxy:start()
    call()
    proxy:crash()
    assert.equal("transport", call().error)
    assert.equal("reset", alice.ended[2].cause)
    call()
    assert.equal("refused", alice.ended[3].cause)
  end)

  it("is half open when the machine dies, and reset when it is back", function()
    call()
    net:run(0.1)
    proxy:power_off()
    net:run(5)
    assert.same({}, alice.ended)
    proxy:start()
    assert.equal("transport", call().error)
    assert.equal("reset", alice.ended[1].cause)
    assert.equal(200, call().code)
  end)

  it("ends with the address it was made from", function()
    call()
    net:run(0.1)
    proxy:drop "10.0.0.100"
    net:run(0.1)
    assert.equal(2, net:count("flow.down", {
      cause = "no_source", why = "our address has gone", was_up = true,
    }))
    assert.same({}, alice.ended)
    local other = net:node { addr = "10.0.0.200" }
    other:take "10.0.0.100"
    assert.equal("transport", call().error)
    assert.equal("reset", alice.ended[1].cause)
    assert.equal(200, call().code)
  end)

  it("is reset when too much waits for a peer that takes nothing", function()
    local made = call()
    a:stall()
    for _ = 1, 40 do
      alice:in_dialog(made, "MESSAGE", { body = ("x"):rep(10000) })
    end
    net:run(1)
    assert.equal(1, net:count("flow.down", { peer = "10.0.0.1:5060", cause = "reset" }))
    assert.matches("does not read what it is sent", table.concat(net.logs, "\n"))
  end)

  it("over TLS has so long for the handshake", function()
    local mallory = net:uac("tcp:192.0.2.9", { name = "mallory", proxy = "10.0.0.100:5061" })
    mallory:connect()
    net:run(6)
    assert.equal("reset", mallory.ended[1].cause)
    assert.equal(5.002, mallory.ended[1].time)
    assert.equal(1, net:count("flow.down", {
      cause = "tls_handshake", why = "the handshake took too long", direction = "in",
    }))
    mallory:raw "OPTIONS sip:x SIP/2.0\r\n\r\n"
    net:run(1)
    assert.equal(1, net:count("flow.down", { why = "the peer does not speak TLS" }))
    assert.equal(0, net:count("flow.up", { transport = "tls" }))
  end)

  it("over plain TCP makes nothing of TLS", function()
    local erin = net:uac("tls:192.0.2.9", { name = "erin", proxy = "10.0.0.100:5060" })
    assert.equal("transport", erin:call("sip:bob@example.com").error)
    assert.equal("tls_handshake", erin.ended[1].cause)
  end)
end)
