-- What specs under virtual time share. Require it instead of tandem.sim: it has
-- the same `new`, and finish() for after_each.
local sim = require "tandem.sim"
require "support.ladder"
local describe = require("busted").describe
local error, ipairs, pcall = error, ipairs, pcall

local _ENV = nil

local support = { parse = sim.parse }
local open = {}

-- The network of a spec: sim.new, remembered for finish().
function support.new(opts)
  local net = sim.new(opts)
  open[#open + 1] = net
  return net
end

-- after_each(support.finish): every network of the test ends clean.
function support.finish()
  local nets, failed = open, nil
  open = {}
  for _, net in ipairs(nets) do
    local ok, why = pcall(net.finish, net)
    failed = failed or (not ok and why)
  end
  if failed then
    error(failed, 0)
  end
end

-- Runs the describe block with nodes of one worker and of two: until workers are
-- threads of their own, every behaviour has to hold for both.
---@param name string
---@param body fun(workers: integer)
function support.for_workers(name, body)
  for _, workers in ipairs { 1, 2 } do
    describe(("%s, %d worker%s"):format(name, workers, workers > 1 and "s" or ""), function()
      body(workers)
    end)
  end
end

-- When the messages came, in seconds.
function support.seconds(list)
  local times = {}
  for i, message in ipairs(list) do
    times[i] = message.time
  end
  return times
end

-- A primary and a backup, as in examples/failover.lua, without checks.
support.failover = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  },
  check = false,
})
sip.route(function(req)
  for server in pbx:each(req) do
    local res, err = req:try(server, { timeout = 2 })
    if err == "cancelled" then return end
    if res and res.code ~= 503 then return res:forward() end
  end
  return req:reply(500, "No PBX available")
end)
]]

return support
