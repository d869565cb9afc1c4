-- Watches what pools are as a whole, in worker 0: tells of pool.state and pool.tier
-- when they change, also when that is because a hold ended; and lets a server that is
-- held back take over when there is no other.
local core = require "tandem.core"
local events = require "tandem.events"
local holds = require "tandem.health.holds"
local pool_state = require "tandem.health.state"
local stand_in = require "tandem.choice.stand_in"
local tally = require "tandem.tally"
local ipairs, math, pcall, tostring = ipairs, math, pcall, tostring

local _ENV = nil

local watch = {}

-- The next end of a hold, nil when there is none.
local function next_end(pool, now)
  local least
  for _, server in ipairs(pool.servers) do
    local time = holds.next_end(server, now)
    least = time and math.min(time, least or time) or least
  end
  return least
end

---@param pool table
function watch.stop(pool)
  if pool.hold_timer then
    pool.hold_timer:cancel()
    pool.hold_timer = nil
  end
end

local function arm(pool, now)
  watch.stop(pool)
  local time = next_end(pool, now)
  if time then
    pool.hold_timer = core.after(math.max(time - now, 0), function()
      pool.hold_timer = nil
      local ended = core.now()
      holds.expire(pool, ended)
      watch.update(pool, "hold ended", ended)
    end)
  end
end

-- ---- what was told last, also by the generation before ----

local function store()
  return core.shared "tandem.pool"
end

-- Nil and nil of a pool that there has not been.
local function recall(pool)
  local text = store():get(pool.name)
  local told = text and core.json_decode(text) or {}
  pool.last_served = told.served
  return told.state, told.tier
end

local function write(pool)
  store():set(pool.name, core.json_encode {
    state = pool.last_state, tier = pool.last_tier, served = pool.last_served,
  })
end

-- `is_first`: handlers of this generation hear of what is, the log of what has changed.
local function report(pool, name, from, to, reason, is_first)
  if from == to and not is_first then
    return
  elseif from == to then
    from = nil
  elseif from ~= nil or pool.is_new then
    reason = is_first and from ~= nil and "reload" or reason
    core.event(to == "down" and "warn" or "info", name, {
      { "pool", pool.name }, { "from", from and tostring(from) or "none" },
      { "to", tostring(to) }, { "reason", reason },
    })
  end
  events.emit { event = name, pool = pool.handle, from = from, to = to, reason = reason }
end

-- With nothing else left, those that wait for the end of their failback hold take
-- over, and keep what they took: without that the calls would hop to the backup and
-- back once more.
local function take_over(pool, now)
  local summary = pool_state.summary(pool, now)
  local first = not summary.up and summary.available
  for _, server in ipairs(first and pool.servers or {}) do
    local _, failback_only = pool_state.status(server, now)
    if failback_only and server.tier == first.tier then
      holds.release(server, "need", now)
    end
  end
end

-- Looks at the pool again, if a state has changed or a hold has ended since the last
-- time, and tells what has changed; the first time, what is.
---@param pool table
---@param reason string why it may have
---@param now number
function watch.update(pool, reason, now)
  local summary = pool_state.summary(pool, now)
  if summary == pool.watched then
    return
  end
  pool.watched = summary
  take_over(pool, now)
  local was, was_tier = pool.last_state, pool.last_tier
  local is_first = was == nil
  if is_first then
    was, was_tier = recall(pool)
  end
  local state, tier = pool_state.pool(pool, now)
  tier = tier or 0
  pool.last_state, pool.last_tier = state, tier
  if tier > (pool.last_served or tier) then
    tally.add(pool, "failovers")
  end
  pool.last_served = tier > 0 and tier or pool.last_served
  report(pool, "pool.state", was, state, reason, is_first)
  report(pool, "pool.tier", was_tier, tier, reason, is_first)
  if is_first or state ~= was or tier ~= was_tier then
    pcall(write, pool) -- without room for it the next generation knows less
  end
  stand_in.publish(pool, now)
  arm(pool, now)
  if pool.on_update then
    pool.on_update(pool, now)
  end
end

return watch
