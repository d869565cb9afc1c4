-- The state of a server, read from its facts: two axes (health, admin), the holds,
-- and one word for all of it. Facts are shared by the workers; worker 0 alone
-- writes the ones read here (health.lua), except `trial`, which is a counter.
local core = require "tandem.core"
local math = math

local _ENV = nil

local state = {}

local health_word = { [0] = "unknown", "up", "falling", "down", "rising" }
local admin_word = { [0] = "ready", "drain", "maint" }

state.health_code = { unknown = 0, up = 1, falling = 2, down = 3, rising = 4 }
state.admin_code = { ready = 0, drain = 1, maint = 2 }

-- The end of a failback hold that has none: somebody has to release it.
state.endless = 1 << 62

local down, rising = state.health_code.down, state.health_code.rising

---@return "unknown"|"up"|"falling"|"down"|"rising"
function state.health(server)
  return health_word[server.facts:get "health"]
end

---@return "ready"|"drain"|"maint"
function state.admin(server)
  return admin_word[server.facts:get "admin"]
end

-- When DNS ceased to name it; nil as long as it does.
---@return number?
function state.left(server)
  local left = server.facts:get "left"
  return left ~= 0 and core.seconds(left) or nil
end

-- Neither an operator nor DNS has taken it out.
---@return boolean
function state.is_ready(server)
  local admin, left = server.facts:get("admin", "left")
  return admin == 0 and left == 0
end

-- The end of the holds: of the failback hold, and of all the others.
---@return number others
---@return number failback
function state.held_until(server)
  local facts = server.facts
  return core.seconds(facts:get "hold_until"), core.seconds(facts:get "failback_until")
end

-- Is it held back until somebody says so?
---@return boolean
function state.is_endless(server)
  return server.facts:get "failback_until" == state.endless
end

-- The first that applies.
---@return "maint"|"drain"|"down"|"held"|"up" status
---@return boolean failback_only held, and only because it came back recently
---@return boolean on_trial after a passive fall without checks one request at a time
---  is the trial: the fact is 1 when a trial is wanted, more when one is under way
function state.status(server, now)
  local admin, health, others, failback, trial, left =
    server.facts:get("admin", "health", "hold_until", "failback_until", "trial", "left")
  local on_trial = trial > 1
  if admin ~= 0 or left ~= 0 then
    return admin_word[admin ~= 0 and admin or 1], false, on_trial
  elseif health == down or health == rising then
    return "down", false, on_trial
  elseif others > 0 and core.seconds(others) > now then
    return "held", false, on_trial
  elseif failback > 0 and core.seconds(failback) > now then
    return "held", true, on_trial
  end
  return "up", false, on_trial
end

-- May take this new request.
---@return boolean
function state.usable(server, now)
  local status, _, on_trial = state.status(server, now)
  return status == "up" and not on_trial
end

-- May take this new request if nothing else may.
---@return boolean
function state.on_failback(server, now)
  local _, failback_only, on_trial = state.status(server, now)
  return failback_only and not on_trial
end

-- Is there for new requests in general, if need be in spite of a failback hold.
---@return boolean
function state.available(server, now)
  local status, failback_only = state.status(server, now)
  return status == "up" or failback_only
end

-- Goes through the servers of a pool.
---@param pool table
---@param is fun(server: table, now: number): boolean
---@return table? first the first of the lowest tier
---@return integer count
function state.find(pool, is, now)
  local first, count = nil, 0
  for i = 1, #pool.servers do
    local server = pool.servers[i]
    if is(server, now) then
      count = count + 1
      if not first or server.tier < first.tier then
        first = server
      end
    end
  end
  return first, count
end

-- The earlier of an end and another, if that is still to come.
local function earlier(ends, time, now)
  return time > now and time < ends and time or ends
end

local function look(pool, now)
  local up, available, left, ends = nil, nil, 0, math.huge
  for i = 1, #pool.servers do
    local server = pool.servers[i]
    local status, failback_only = state.status(server, now)
    if status == "up" and (not up or server.tier < up.tier) then
      up = server
    end
    if status == "up" or failback_only then
      left = left + 1
      available = available and available.tier <= server.tier and available or server
    end
    local others, failback = state.held_until(server)
    ends = earlier(earlier(ends, others, now), failback, now)
  end
  return { up = up, available = available, left = left, ends = ends }
end

-- What one look at all servers tells; looked at again when a state has changed or
-- time has ended a hold, and then it is another table.
---@param pool table
---@param now number
---@return { up: table?, available: table?, left: integer, ends: number } summary the
---  first that is up and that is available, how many are, the next end of a hold
function state.summary(pool, now)
  local summary, changes = pool.summary, core.changes()
  if not summary or summary.changes ~= changes or now >= summary.ends then
    -- The number was read first: what changes meanwhile is seen the next time.
    summary = look(pool, now)
    summary.changes = changes
    pool.summary = summary
  end
  return summary
end

-- What the pool is as a whole, and the tier that takes new requests now.
---@return "up"|"backup"|"down" word
---@return integer? tier
function state.pool(pool, now)
  local summary = state.summary(pool, now)
  local first = summary.up or summary.available
  if not first then
    return "down", nil
  end
  return first.tier == pool.first_tier and "up" or "backup", first.tier
end

return state
