-- Watches what pools are as a whole, in worker 0: tells of pool.state and pool.tier
-- when they change, also when that is because a hold ended.
local core = require "tandem.core"
local events = require "tandem.events"
local pool_state = require "tandem.state"
local ipairs, math, tostring = ipairs, math, tostring

local _ENV = nil

local watch = {}

-- The next end of a hold, nil when there is none.
local function next_end(pool, now)
  local least = math.huge
  for _, server in ipairs(pool.servers) do
    local others, failback = pool_state.held_until(server)
    for _, time in ipairs { others, failback } do
      if time > now and time < least then
        least = time
      end
    end
  end
  return least < math.huge and least or nil
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
    pool.hold_timer = core.after(time - now, function()
      pool.hold_timer = nil
      watch.update(pool, "hold ended", core.now())
    end)
  end
end

local function report(pool, name, from, to, reason)
  core.event(to == "down" and "warn" or "info", name, {
    { "pool", pool.name }, { "from", tostring(from) }, { "to", tostring(to) },
    { "reason", reason },
  })
  events.emit { event = name, pool = pool.handle, from = from, to = to, reason = reason }
end

-- Looks at the pool again, and tells what has changed.
---@param pool table
---@param reason string why it may have
---@param now number
function watch.update(pool, reason, now)
  local was, was_tier = pool.last_state, pool.last_tier
  local state, tier = pool_state.pool(pool, now)
  pool.last_state, pool.last_tier = state, tier
  if was and state ~= was then
    report(pool, "pool.state", was, state, reason)
  end
  if was and tier ~= was_tier then
    report(pool, "pool.tier", was_tier or 0, tier or 0, reason)
  end
  arm(pool, now)
end

return watch
