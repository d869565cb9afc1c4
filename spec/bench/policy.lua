-- What spec/bench/policy runs.
local sim = require "tandem.sim"

local per_tick = 50 -- choices in one go, well within what a script may do at a time

local function setting(name, default)
  return os.getenv(name) or default
end

local sizes = setting("SERVERS", "10 100 1000")
-- "+limits": with max_calls everywhere, reached nowhere; "+full": reached by all but one.
local names = setting("POLICIES", "ordered round_robin weighted latency least_calls hash "
  .. "least_calls+resource hash+bound weighted+limits weighted+full")
local choices = tonumber(setting("CHOICES", "20000"))

local frame = [[
local core = require "tandem.core"
core.note = function() end -- what is no request has no trace
local sip = require "tandem"
local registry = require "tandem.registry"
local select = require "tandem.choice.select"
sip.listen { "udp:0.0.0.0:5060" }
local servers = {}
for i = 1, %d do
  servers[i] = {
    name = "s" .. i, uri = ("sip:10.1.%%d.%%d"):format(i // 250, i %% 250 + 1),
    weight = 1 + i %% 3, resources = { pstn = 100 },
    max_calls = %s,
  }
end
sip.pool("gw", { servers = servers, check = false, policy = "%s", bound = %s })
local pool, keys, resources, req = registry.pool "gw", {}, %s, { method = "INVITE" }
for i = 1, 256 do
  keys[i] = ("%%08x-%%08x@192.0.2.7"):format(i * 2654435761 %% 2 ^ 32, i * 40503)
end
local function choose(key, now)
  %s
end
local at = 0
sip.every(0.01, function()
  local now = core.now()
  for _ = 1, %d do
    at = at %% 256 + 1
    choose(keys[at], now)
  end
end)
]]

local limits = { limits = "1000", full = "i == 1 and 1 or 0" }

-- Seconds of processor time for so many choices, or so many of the loop alone.
local function run(policy, servers, is_empty)
  local name, more = policy:match "^([%l_]+)%+?(%l*)$"
  local net = sim.new {
    source = frame:format(servers, limits[more] or "nil", name, more == "bound" and "1.25" or "nil",
      more == "resource" and "{ pstn = 1 }" or "nil",
      is_empty and "return key, now, select, pool, resources, req"
        or "return select.next(select.cursor(pool, key, req, resources), now)", per_tick),
  }
  net:run(0.1) -- the views are there
  local began = os.clock()
  net:run(0.01 * choices / per_tick)
  local took = os.clock() - began
  net:finish()
  return took
end

-- The least of three.
local function cost(policy, servers)
  local least = math.huge
  for _ = 1, 3 do
    least = math.min(least, run(policy, servers) - run(policy, servers, true))
  end
  return least / choices * 1e6
end

for size in sizes:gmatch "%d+" do
  local servers, ordered = tonumber(size), nil
  print(("among %d servers, microseconds per choice (times ordered):"):format(servers))
  for policy in names:gmatch "%S+" do
    local us = cost(policy, servers)
    ordered = ordered or us
    print(("  %-22s %8.2f  (%.1f)"):format(policy, us, us / ordered))
  end
end
