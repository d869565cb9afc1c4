-- Single operations of scripts, so many times over: what spec/bench/instructions counts.
--
--   lua5.4 spec/bench/micro.lua CASE TIMES
--
-- A node of the simulator with a script whose timer does it, 50 times each time it fires.
local sim = require "tandem.sim"
local arg, assert, string, tonumber = arg, assert, string, tonumber

local _ENV = nil

local per_tick = 50 -- well within what a script may do at a time

local pool = [[
local sip = require "tandem"
local core = require "tandem.core"
local registry = require "tandem.registry"
local select = require "tandem.choice.select"
sip.listen { "udp:0.0.0.0:5060" }
core.note = function() end -- what is no request has no trace
local servers = {}
for i = 1, %d do
  servers[i] = { name = "s" .. i, uri = ("sip:10.1.0.%%d"):format(i) }
end
sip.pool("gw", { servers = servers, check = false, policy = "%s" })
local pool, req = registry.pool "gw", { method = "INVITE" }
local n = 0
local function once(now)
  n = n + 1
  return select.next(select.cursor(pool, "call-" .. n %% 256 .. "@192.0.2.7", req), now)
end
sip.every(0.01, function()
  local now = core.now()
  for _ = 1, %d do
    once(now)
  end
end)
]]

local timer = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local n = 0
sip.every(0.01, function() n = n + 1 end)
]]

-- Per case: the script, and how often its timer has to fire.
local function case(name, times)
  if name == "timer" then
    return timer, times
  end
  local policy, servers = string.match(name, "^pick:([%l_]+):(%d+)$")
  return pool:format(tonumber(servers), policy, per_tick), times // per_tick
end

local source, ticks = case(assert(arg[1]), assert(tonumber(arg[2])))
local net = sim.new { source = source }
net:run(0.1 + 0.01 * ticks)
net:finish()
