-- What users of a load balancer with resources and probing know, point by point: two
-- gateways and a conference server, probed every 5 s.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local gw = sip.pool("gw", {
  policy = "least_calls",
  servers = {
    { name = "gw1", uri = "sip:10.0.0.1", resources = { pstn = 20, conf = 2 } },
    { name = "gw2", uri = "sip:10.0.0.2", resources = { pstn = 10 } },
    { name = "conf", uri = "sip:10.0.0.3", resources = { conf = 10 } },
  },
  check = { interval = 5, fast_interval = 5, timeout = 1, fall = 2, rise = 1, jitter = 0 },
  passive = false, failback = { hold = 0 },
})
sip.route("INVITE", function(req)
  local takes = { pstn = { "pstn" }, conf = { "conf" }, both = { "pstn", "conf" } }
  local ok, why = req:relay(gw, { resources = takes[req.ruri.user], timeout = 2 })
  if ok then return end
  return req:reply(503, "No " .. why .. " gateway")
end)
sip.route(function(req) return req:relay(gw) end)
]]

sim.for_workers("a load balancer", function(workers)
  after_each(sim.finish)

  local net, gw1, gw2, conf, alice, calls

  before_each(function()
    net = sim.new { source = frame, workers = workers }
    gw1, gw2 = net:uas("10.0.0.1", "gw1"), net:uas("10.0.0.2", "gw2")
    conf, alice, calls = net:uas("10.0.0.3", "conf"), net:uac "192.0.2.7", {}
    for _, server in ipairs { gw1, gw2, conf } do
      server:ring()
    end
    net:run(1)
  end)

  -- A call that takes this and rings: its server, or the code.
  local function ring(what)
    local call = alice:invite(("sip:%s@example.com"):format(what))
    net:run(0.1)
    calls[#calls + 1] = not call.done and call or nil
    return call.done and call.code or call.tried[#call.tried], call
  end

  local function hang_up()
    for _, call in ipairs(calls) do
      alice:cancel(call)
    end
    net:run(1)
    calls = {}
  end

  local function used(server, resource)
    return net.pools.gw[server].resources[resource].used
  end

  describe("probes", function()
    it("with OPTIONS every 5 s", function()
      net:run(15)
      local times = wire.times(gw1:got "OPTIONS")
      assert.equal(4, #times)
      for i = 2, 4 do
        assert.near(5, times[i] - times[i - 1], 0.01)
      end
    end)

    it("and two that fail take a server out; the next answer takes it back in", function()
      gw1:silence()
      net:run(6)
      assert.equal("falling", net.pools.gw.gw1.health)
      assert.equal("up", net.pools.gw.gw1.status)
      net:run(5)
      assert.equal("down", net.pools.gw.gw1.status)
      for _ = 1, 5 do
        assert.equal("gw2", (ring "pstn"))
      end
      gw1:resume()
      net:run(5)
      assert.equal("up", net.pools.gw.gw1.status)
      assert.equal("gw1", (ring "pstn"))
      hang_up()
    end)

    it("tells the world", function()
      gw1:refuse()
      net:run(12)
      gw1:resume()
      net:run(5)
      assert.equal(1, net:count("server.health", { server = "gw1", to = "down" }))
      assert.equal(1, net:count("server.health", { server = "gw1", to = "up", from = "down" }))
    end)
  end)

  it("takes the one with the largest share of the resource left", function()
    local list = {}
    for i = 1, 9 do
      list[i] = ring "pstn"
    end
    local counts = {}
    for _, name in ipairs(list) do
      counts[name] = (counts[name] or 0) + 1
    end
    assert.same({ gw1 = 6, gw2 = 3 }, counts) -- 20 and 10
    assert.equal("gw1", list[1])
    assert.same({ 6, 3 }, { used("gw1", "pstn"), used("gw2", "pstn") })
    hang_up()
    assert.same({ 0, 0 }, { used("gw1", "pstn"), used("gw2", "pstn") })
  end)

  it("looks at the scarcest of those that the call takes, and who has all of them", function()
    assert.equal("conf", (ring "conf"))
    assert.equal("gw1", (ring "both"))
    assert.equal("conf", (ring "conf")) -- 8 of 10 left there, 1 of 2 here
    assert.same({ 1, 1 }, { used("gw1", "pstn"), used("gw1", "conf") })
    assert.equal("gw1", (ring "both"))
    assert.equal(503, (ring "both"))
    assert.equal("gw2", (ring "pstn")) -- 9 of 10 against 17 of 20
    hang_up()
  end)

  it("says 503 when all are full, and takes calls again when one has ended", function()
    for _ = 1, 30 do
      assert.is_string((ring "pstn"))
    end
    local code, call = ring "pstn"
    assert.equal(503, code)
    assert.equal("No full gateway", call.reason)
    assert.same({}, call.tried)
    assert.equal("conf", (ring "conf")) -- another resource
    alice:cancel(table.remove(calls, 1))
    net:run(0.5)
    assert.is_string((ring "pstn"))
    assert.equal(503, (ring "pstn"))
    hang_up()
  end)

  it("goes on to the next within a call, and gives back what the first one had", function()
    gw1:answer("INVITE", 503)
    local name, call = ring "pstn"
    assert.equal("gw2", name)
    assert.same({ "gw1", "gw2" }, call.tried)
    assert.same({ 0, 1 }, { used("gw1", "pstn"), used("gw2", "pstn") })
    hang_up()
  end)

  it("does not limit what is no call", function()
    for _ = 1, 30 do
      ring "pstn"
    end
    assert.equal(200, alice:ask("OPTIONS", uri).code)
    assert.equal(200, alice:ask("REGISTER", uri).code)
    hang_up()
  end)
end)

describe("weights", function()
  after_each(sim.finish)

  local weights = { a = 40, b = 30, c = 20, d = 10 }

  local source = [[
  local sip = require "tandem"
  sip.listen { "udp:0.0.0.0:5060" }
  local gw = sip.pool("gw", { policy = "weighted", check = false, servers = {
    { name = "a", uri = "sip:10.0.0.1", weight = 40 },
    { name = "b", uri = "sip:10.0.0.2", weight = 30 },
    { name = "c", uri = "sip:10.0.0.3", weight = 20 },
    { name = "d", uri = "sip:10.0.0.4", weight = 10 },
  } })
  sip.on("start", function()
    local counts = { a = 0, b = 0, c = 0, d = 0 }
    for _ = 1, 10000 do
      local call_id = ("%08x%08x@192.0.2.7"):format(math.random(0, 2 ^ 32 - 1),
        math.random(0, 2 ^ 32 - 1))
      local name = gw:pick(nil, { key = call_id }).name
      counts[name] = counts[name] + 1
    end
    sip.log.info(("%d %d %d %d"):format(counts.a, counts.b, counts.c, counts.d))
  end)
  ]]

  it("are kept within 2 percentage points, over 10 000 Call-IDs and 20 seeds", function()
    local seen = {}
    for seed = 1, 20 do
      local net = sim.new { source = source, seed = seed }
      net:run(0.1)
      local said = policy.said(net)[1]
      local counts = table.pack(said:match "^(%d+) (%d+) (%d+) (%d+)$")
      for i, name in ipairs { "a", "b", "c", "d" } do
        assert.near(weights[name], tonumber(counts[i]) / 100, 2)
      end
      assert.is_nil(seen[said])
      seen[said] = true
    end
  end)
end)
