-- Decides, in worker 0, what a server is: takes verdicts of checks, passive
-- evidence, holds and orders, writes the facts, and says what has changed.
local core = require "tandem.core"
local events = require "tandem.events"
local failback = require "tandem.failback"
local link = require "tandem.link"
local pool_state = require "tandem.state"
local record = require "tandem.record"
local watch = require "tandem.watch"
local math, pairs = math, pairs

local _ENV = nil

local health = {}

local health_code, admin_code = pool_state.health_code, pool_state.admin_code

-- The health after one more verdict of a check, and how many of its kind there
-- have been in a row. The first good one after `unknown` is enough: nothing says
-- that the server was ever away.
---@param from "unknown"|"up"|"falling"|"down"|"rising"
---@param streak integer
---@param good boolean
---@param fall integer
---@param rise integer
---@return "unknown"|"up"|"falling"|"down"|"rising" to
---@return integer streak
function health.step(from, streak, good, fall, rise)
  local is_down = from == "down" or from == "rising"
  if good then
    if not is_down then
      return "up", from == "up" and streak or 1
    end
    streak = from == "rising" and streak + 1 or 1
    return streak < rise and "rising" or "up", streak
  end
  if is_down then
    return "down", from == "down" and streak or 0
  end
  streak = from == "up" and 1 or streak + 1
  if streak < fall then
    return from == "unknown" and "unknown" or "falling", streak
  end
  return "down", streak
end

-- The fields of a log line about a server.
local function fields(server, from, to, reason, now)
  local pool, facts = server.pool, server.facts
  local _, left = pool_state.find(pool, pool_state.available, now)
  local _, tier = pool_state.pool(pool, now)
  local list = {
    { "pool", pool.name }, { "server", server.name }, { "from", from }, { "to", to },
    { "reason", reason },
  }
  if pool.check then
    local good = to == "rising" or to == "up"
    list[#list + 1] = { "checks", ("%d/%d"):format(facts:get "streak",
      good and pool.check.rise or pool.check.fall) }
  end
  list[#list + 1] = { "left", ("%d/%d"):format(left, #pool.servers) }
  list[#list + 1] = { "tier", tier or 0 }
  list[#list + 1] = { "calls", facts:get "calls" }
  return list
end

local function emit(name, server, from, to, reason)
  events.emit {
    event = name, pool = server.pool.handle, server = server.handle,
    from = from, to = to, reason = reason,
  }
end

local function note_fall(server, now)
  local conf = server.pool.failback
  local falls = failback.recent(server.record.falls, conf.hold_max, now)
  falls[#falls + 1] = now
  server.record.falls = falls
  server.facts:set("falls", #falls)
end

-- The hold that a server earns which has fallen this often lately.
local function earned(server, hold, now)
  local conf = server.pool.failback
  local falls = failback.recent(server.record.falls, conf.hold_max, now)
  server.facts:set("falls", #falls)
  return failback.duration(#falls, hold, math.max(conf.hold_max, hold))
end

local function comes_up(server, from, now)
  local facts = server.facts
  facts:set("up_since", core.us(now))
  facts:set("failures", 0)
  facts:set("trial", 0)
  local hold = 0
  if from ~= "unknown" then -- that would be no failback but a first verdict
    hold = earned(server, server.pool.failback.hold, now)
  end
  facts:set("failback_until", hold > 0 and core.us(now + hold) or 0)
  return hold
end

-- Writes a new health and tells of it.
---@param by "check"|"passive"|"script"|"admin"
local function set(server, to, streak, reason, by, now)
  local facts, from = server.facts, pool_state.health(server)
  facts:set("streak", streak)
  if from == to then
    return
  end
  facts:set("health", health_code[to])
  facts:set("since", core.us(now))
  local hold = 0
  if to == "up" and from ~= "falling" then
    hold = comes_up(server, from, now)
  elseif to == "down" and from ~= "rising" then
    facts:set("failback_until", 0)
    note_fall(server, now)
  end
  server.record.health = { why = reason, by = by, when = core.wall() }
  record.save(server)
  local line = fields(server, from, to, reason, now)
  if hold > 0 then
    line[#line + 1] = { "hold", hold }
  end
  core.event(to == "down" and "warn" or "info", "server.health", line)
  emit("server.health", server, from, to, reason)
end

-- A check has ended.
---@param server table
---@param good boolean
---@param reason string
---@param now number
function health.check(server, good, reason, now)
  local check = server.pool.check
  local to, streak = health.step(pool_state.health(server), server.facts:get "streak",
    good, check.fall, check.rise)
  set(server, to, streak, reason, "check", now)
  watch.update(server.pool, reason, now)
end

-- Forgets the holds that have ended; the latest end of the others counts.
local function write_holds(server, now)
  local holds, latest = server.record.holds, 0
  for why, finish in pairs(holds) do
    if finish <= now then
      holds[why] = nil
    else
      latest = math.max(latest, finish)
    end
  end
  server.facts:set("hold_until", latest > 0 and core.us(latest) or 0)
  record.save(server)
end

-- For one reason the latest end counts too; 0 seconds end it.
local function set_hold(server, reason, seconds, now)
  local holds = server.record.holds
  holds[reason] = seconds > 0 and math.max(holds[reason] or 0, now + seconds) or nil
  write_holds(server, now)
end

local function hold(server, seconds, reason, now)
  set_hold(server, reason, seconds, now)
  core.event("info", "server.hold", {
    { "pool", server.pool.name }, { "server", server.name }, { "reason", reason },
    { "hold", seconds },
  })
  emit("server.hold", server, nil, nil, reason)
end

link.command("hold", function(server, args, now)
  hold(server, args.seconds, args.why, now)
  watch.update(server.pool, args.why, now)
end)

-- An order of the script or an operator; not a failback, so no failback hold.
link.command("mark", function(server, args, now)
  server.evidence = server.evidence + 1
  set(server, args.to, 0, args.why, "script", now)
  if args.to == "up" then
    server.facts:set("failback_until", 0)
    server.facts:set("failures", 0)
    server.facts:set("trial", 0)
    set_hold(server, "passive", 0, now)
  end
  watch.update(server.pool, args.why, now)
end)

-- Are there enough others, so that passive evidence may take this one?
local function can_spare(server, now)
  local _, left = pool_state.find(server.pool, pool_state.available, now)
  if pool_state.available(server, now) then
    left = left - 1
  end
  return left >= server.pool.keep
end

-- Requests have failed in a row without an answer. What a check says is then not
-- enough: the hold has to end too. Without checks the hold alone ends it, and then
-- one request at a time is the trial.
link.command("fall", function(server, args, now)
  local passive, facts = server.pool.passive, server.facts
  local status = pool_state.status(server, now)
  facts:set("failures", 0)
  if status == "down" or (server.record.holds.passive or 0) > now then
    return -- known already
  elseif not can_spare(server, now) then
    core.event("warn", "server.kept", {
      { "pool", server.pool.name }, { "server", server.name }, { "reason", args.why },
      { "failures", args.failures }, { "keep", server.pool.keep },
    })
    return
  end
  local reason = "passive " .. args.why
  if server.pool.check then
    server.evidence = server.evidence + 1
    set(server, "down", 0, reason, "passive", now)
  else
    note_fall(server, now)
    facts:set("trial", 1)
  end
  hold(server, earned(server, passive.hold, now), "passive", now)
  watch.update(server.pool, reason, now)
end)

link.command("admin", function(server, args, now)
  local from = pool_state.admin(server)
  server.record.admin = { why = args.why, who = args.who, when = core.wall() }
  record.save(server)
  if from == args.to then
    return
  end
  server.facts:set("admin", admin_code[args.to])
  server.evidence = server.evidence + 1
  local line = fields(server, from, args.to, args.why, now)
  line[#line + 1] = { "who", args.who }
  core.event("warn", "server.admin", line)
  emit("server.admin", server, from, args.to, args.why)
  if from == "maint" then -- nobody looked meanwhile
    server.facts:set("failures", 0)
    server.facts:set("trial", 0)
    server.facts:set("failback_until", 0)
    set(server, "unknown", 0, "was in maint", "admin", now)
  end
  watch.update(server.pool, args.why, now)
end)

-- Takes up what is known from before a reload. Without checks nobody would end
-- what checks began.
---@param server table
---@param now number
function health.start(server, now)
  server.record = record.load(server)
  local facts, by = server.facts, server.record.health.by
  if facts:get "since" == 0 then
    facts:set("since", core.us(now))
  end
  if server.pool.check then
    facts:set("trial", 0)
  elseif pool_state.health(server) ~= "unknown" and by ~= "script" then
    facts:set("health", health_code.unknown)
    facts:set("failback_until", 0)
  end
  write_holds(server, now)
end

return health
