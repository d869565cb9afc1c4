-- What operators ask of a running proxy, as the control API puts it to a worker.
local sim = require "support.sim"
local policy = require "support.policy"

local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("answers", function(workers)
  after_each(sim.finish)

  local node

  before_each(function()
    node = policy.world({ workers = workers, source = source }).net.nodes[1]
  end)

  it("show the pools, from every worker", function()
    for worker = 1, workers do
      local pools = node:ask("pools", nil, worker)
      assert.equal("pbx", pools[1].name)
      assert.equal("sip:10.0.0.1", pools[1].servers[1].uri)
    end
  end)

  it("say when nobody knows", function()
    local value, why = node:ask "weather"
    assert.is_nil(value)
    assert.equal("nobody answers 'weather'", why)
  end)
end)
