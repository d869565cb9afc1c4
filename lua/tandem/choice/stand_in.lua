-- Who takes over from a server that is known to be down (semantics 16).
local core = require "tandem.core"
local pool_state = require "tandem.health.state"
local ipairs = ipairs

local _ENV = nil

local stand_in = {}

-- Nobody has to try it to find out: a check says so, or passive evidence without
-- checks, until a trial.
---@param server table
---@param now number
---@return boolean
function stand_in.is_down(server, now)
  local health = pool_state.health(server)
  local trial, held = server.facts:get("trial", "hold_until")
  return health == "down" or health == "rising" or (trial > 0 and core.seconds(held) > now)
end

-- The first other server; nil when none is usable. No policy is asked, which may be the
-- script's and want to see a request: there is none.
local function first_other(server, now)
  local function find(is)
    return (pool_state.find(server.pool, function(other)
      return other ~= server and #other.places > 0 and is(other, now)
    end, now))
  end
  return find(pool_state.usable) or find(pool_state.on_failback)
end

-- Tells the core who takes the ACKs of calls with servers that are down: those
-- never reach Lua. In worker 0, whenever something about the pool has changed.
---@param pool table
---@param now number
function stand_in.publish(pool, now)
  if not pool.shared_dialogs then
    return
  end
  for _, server in ipairs(pool.servers) do
    local other = stand_in.is_down(server, now) and first_other(server, now)
    server.facts:set("stand_in", other and other.facts:id() or 0)
  end
end

return stand_in
