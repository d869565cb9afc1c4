-- Tells of what has changed at a server, in worker 0: a line in the log, an event
-- for sip.on and an entry of its history. Each says what, why and who: "check",
-- "calls" (passive evidence), "failback" (its function), "need" (nothing else is
-- usable), "timer", "start", or "script FILE:LINE".
local core = require "tandem.core"
local events = require "tandem.events"
local history = require "tandem.health.history"
local pool_state = require "tandem.health.state"

local _ENV = nil

local report = {}

-- How many verdicts of a kind in a row, of how many it takes.
local function checks(server, to)
  local good = to == "rising" or to == "up"
  return ("%d/%d"):format(server.facts:get "streak",
    good and server.check.rise or server.check.fall)
end

-- The fields of a log line about a server. `change`: from, to, why, who.
local function fields(server, change, now)
  local pool = server.pool
  local left = pool_state.summary(pool, now).left
  local _, tier = pool_state.pool(pool, now)
  local list = { { "pool", pool.name }, { "server", server.name } }
  local function add(name, value)
    if value then
      list[#list + 1] = { name, value }
    end
  end
  add("from", change.from or "none")
  add("to", change.to)
  add("reason", change.why)
  add("who", change.who)
  add("checks", server.check and checks(server, change.to))
  add("left", ("%d/%d"):format(left, #pool.servers))
  add("tier", tier or 0)
  add("calls", server.facts:get "calls")
  return list
end

local function emit(name, server, change)
  events.emit {
    event = name, pool = server.pool.handle, server = server.handle,
    from = change.from, to = change.to, reason = change.why, who = change.who,
    seconds = change.seconds,
  }
end

local function remember(server, what, change)
  history.add(server, {
    what = what, from = change.from, to = change.to, seconds = change.seconds,
    why = change.why, who = change.who,
  })
end

-- `change.hold`: for how long it is held back now, or what it waits for.
---@param server table
---@param change { from: string, to: string, why: string, who: string, hold: number|string|nil }
---@param now number
function report.health(server, change, now)
  local line = fields(server, change, now)
  if change.hold then
    line[#line + 1] = { "hold", change.hold }
  end
  core.event(change.to == "down" and "warn" or "info", "server.health", line)
  remember(server, "health", change)
  emit("server.health", server, change)
end

-- `change.seconds`: for how long; nil for good.
---@param server table
---@param change { from: string, to: string, why: string, who: string, seconds: number? }
---@param now number
function report.admin(server, change, now)
  local line = fields(server, change, now)
  if change.seconds then
    line[#line + 1] = { "for", change.seconds }
  end
  core.event("warn", "server.admin", line)
  remember(server, "admin", change)
  emit("server.admin", server, change)
end

-- A hold began or was made longer (`is_new`: nothing of that reason held it before),
-- or has ended.
---@param server table
---@param change { why: string, who: string, seconds: number }
---@param is_new boolean
function report.hold(server, change, is_new)
  core.event("info", "server.hold", {
    { "pool", server.pool.name }, { "server", server.name }, { "reason", change.why },
    { "who", change.who }, { "hold", change.seconds },
  })
  if is_new or change.seconds == 0 then
    remember(server, "hold", change)
  end
  emit("server.hold", server, change)
end

-- What a server is when the script begins to look: an event for its handlers, and a
-- line when nobody has looked before.
---@param server table
---@param is_new boolean
---@param now number
function report.start(server, is_new, now)
  local change = {
    to = pool_state.health(server), who = "start",
    why = server.is_restored and "as before the restart" or "start",
  }
  if is_new then
    core.event("info", "server.health", fields(server, change, now))
  end
  emit("server.health", server, change)
end

return report
