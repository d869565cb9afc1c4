-- What of a choice depends on the state of the servers only: made when that has
-- changed, and used by all choices until then. It is a list of stages, first those
-- that come first. A stage holds servers between which the policy chooses:
--   "usable"    of one tier; with checks those never heard of after the others, and
--               those of weight 0 last
--   "slow"      on slow start, for the keys that they have refused before
--   "failback"  whose failback hold is not over
-- Those of which nobody knows yet where they are have a list of their own.
local core = require "tandem.core"
local pool_state = require "tandem.health.state"
local slow_start = require "tandem.choice.slow_start"
local ipairs, math = ipairs, math

local _ENV = nil

local view = {}

-- Adds a stage of the servers of a tier that `is` is true of.
local function add(stages, kind, tier, is, now)
  local servers = {}
  for _, server in ipairs(tier) do
    if is(server, now) then
      servers[#servers + 1] = server
    end
  end
  if #servers > 0 then
    stages[#stages + 1] = { kind = kind, servers = servers, prepared = nil }
  end
end

-- Checks all the time would know by now.
local function is_unknown(server)
  return server.check and server.check.when == "always" and pool_state.health(server) == "unknown"
end

local function is_usable(server, now)
  return #server.places > 0 and pool_state.usable(server, now)
end

local function is_known(server, now)
  return server.weight > 0 and not is_unknown(server) and is_usable(server, now)
end

local function is_new(server, now)
  return server.weight > 0 and is_unknown(server) and is_usable(server, now)
end

local function is_spare(server, now)
  return server.weight == 0 and is_usable(server, now)
end

-- An attempt would fail at once.
local function is_nowhere(server, now)
  return #server.places == 0 and pool_state.usable(server, now)
end

local function is_slow(server, now)
  return slow_start.ends(server, now) and pool_state.usable(server, now)
end

local function stages_of(pool, now)
  local stages = {}
  for _, tier in ipairs(pool.tiers) do
    add(stages, "usable", tier, is_known, now)
    add(stages, "usable", tier, is_new, now)
    add(stages, "usable", tier, is_spare, now)
  end
  if pool.slow_start then
    for _, tier in ipairs(pool.tiers) do
      add(stages, "slow", tier, is_slow, now)
    end
  end
  for _, tier in ipairs(pool.tiers) do
    add(stages, "failback", tier, pool_state.on_failback, now)
  end
  return stages
end

local function nowhere_of(pool, now)
  local stages = {}
  for _, tier in ipairs(pool.tiers) do
    add(stages, "usable", tier, is_nowhere, now)
  end
  return stages
end

-- Until when it stays like that if nobody changes anything: a hold or a slow start
-- ends by itself.
local function ends_of(pool, now)
  local ends = math.huge
  for _, server in ipairs(pool.servers) do
    local others, failback = pool_state.held_until(server)
    for _, time in ipairs { others, failback, slow_start.ends(server, now) or 0 } do
      if time > now and time < ends then
        ends = time
      end
    end
  end
  return ends
end

-- The stages of a pool as they are now.
---@param pool table
---@param now number
---@return { stages: table[], nowhere: table[], changes: integer, ends: number }
function view.of(pool, now)
  local seen, changes = pool.seen, core.changes()
  if not seen or seen.changes ~= changes or now >= seen.ends then
    -- The number was read first: what changes meanwhile is seen the next time.
    seen = {
      changes = changes, stages = stages_of(pool, now), nowhere = nowhere_of(pool, now),
      ends = ends_of(pool, now),
    }
    pool.seen = seen
  end
  return seen
end

return view
