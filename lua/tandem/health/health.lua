-- Decides, in worker 0, what the health of a server is: takes verdicts of checks,
-- passive evidence and the word of scripts, writes the facts, and says what has
-- changed.
local core = require "tandem.core"
local address = require "tandem.health.address"
local asking = require "tandem.health.asking"
local downtime = require "tandem.health.downtime"
local failback = require "tandem.health.failback"
local holds = require "tandem.health.holds"
local link = require "tandem.link"
local places = require "tandem.dns.places"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local report = require "tandem.health.report"
local warm = require "tandem.health.warm"
local watch = require "tandem.health.watch"
local ipairs, type = ipairs, type

local _ENV = nil

local health = {}

local health_code = pool_state.health_code

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

local function note_fall(server, now)
  local conf = server.pool.failback
  local falls = failback.recent(server.record.falls, conf.hold_max, now)
  falls[#falls + 1] = now
  server.record.falls = falls
  server.facts:set("falls", #falls)
end

local function clear_evidence(server)
  server.facts:set("failures", 0)
  server.facts:set("trial", 0)
end

-- Gives how it is held back. A first verdict is no failback, and an order is obeyed.
local function comes_up(server, from, who, now)
  server.facts:set("up_since", core.us(now))
  clear_evidence(server)
  if from ~= "unknown" and who == "check" then
    return holds.back(server, now)
  end
  holds.forget_back(server)
  if from ~= "unknown" then
    server.facts:set("returned", core.us(now))
  end
end

-- Writes a new health and tells of it.
local function set(server, to, streak, why, who, now)
  local facts, from, hold = server.facts, pool_state.health(server), nil
  facts:set("streak", streak)
  if from == to then
    return
  end
  downtime.note(server, now)
  facts:count("to_" .. to)
  facts:set("health", health_code[to])
  facts:set("since", core.us(now))
  if to == "up" and from ~= "falling" then
    hold = comes_up(server, from, who, now)
  elseif to == "down" and from ~= "rising" then
    holds.forget_back(server)
    note_fall(server, now)
  end
  server.record.health = { why = why, who = who, when = core.wall() }
  record.save(server)
  report.health(server, { from = from, to = to, why = why, who = who, hold = hold }, now)
  asking.start(server)
end

-- A check has ended: of the server, or of one of its addresses.
---@param server table
---@param place table?
---@param good boolean
---@param why string
---@param now number
function health.check(server, place, good, why, now)
  local conf, facts = server.check, server.facts
  local from, streak = pool_state.health(server), facts:get "streak"
  if place then
    from, streak = place.health, place.streak
  end
  local to
  to, streak = health.step(from, streak, good, conf.fall, conf.rise)
  if place then
    address.set(server, place, to, streak, why, "check")
    places.tell(server)
    to, streak = address.best(server)
  end
  set(server, to, streak, why, "check", now)
  watch.update(server.pool, why, now)
end

-- Its name leads elsewhere now (places.update).
---@param server table
---@param is_other boolean it has none of its addresses of before
---@param now number
function health.addresses(server, is_other, now)
  if is_other then
    server.facts:set("failures", 0)
    server.evidence = server.evidence + 1
  end
  if server.check and type(server.check.method) ~= "function" then
    local to, streak = address.best(server)
    set(server, to, streak, "addresses changed", "dns", now)
    watch.update(server.pool, "addresses changed", now)
  end
end

-- Nobody looked for a while: what was known counts no more.
---@param server table
---@param why string
---@param who string
---@param now number
function health.forget(server, why, who, now)
  clear_evidence(server)
  address.set_all(server, "unknown", why, who)
  holds.forget_back(server)
  set(server, "unknown", 0, why, who, now)
end

-- The word of a script or an operator; not a failback, so no failback hold.
link.command("mark", function(server, args, now)
  server.evidence = server.evidence + 1
  address.set_all(server, args.to, args.why, args.who)
  set(server, args.to, 0, args.why, args.who, now)
  if args.to == "up" then
    clear_evidence(server)
    holds.forget_back(server)
    holds.set(server, "passive", 0, now)
  end
  watch.update(server.pool, args.why, now)
end)

-- Nobody's word any more: the next check decides.
link.command("forget", function(server, args, now)
  server.evidence = server.evidence + 1
  health.forget(server, args.why, args.who, now)
  watch.update(server.pool, args.why, now)
end)

-- Are there enough others, so that passive evidence may take this one? Who is nowhere
-- is none.
local function can_spare(server, now)
  local _, left = pool_state.find(server.pool, function(other)
    return other ~= server and #other.places > 0 and pool_state.available(other, now)
  end, now)
  return left >= server.pool.keep
end

-- Calls need the servers that are down: is one of them back?
local function need(pool, now)
  if pool.on_need then
    pool.on_need(pool, now)
  end
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
    return need(server.pool, now)
  end
  local why = "passive " .. args.why
  if server.check then
    server.evidence = server.evidence + 1
    address.set_all(server, "down", why, "calls")
    set(server, "down", 0, why, "calls", now)
  else
    note_fall(server, now)
    facts:set("trial", 1)
  end
  local seconds = holds.earned(server, passive.hold, now)
  if seconds > 0 then
    holds.put(server, "passive", seconds, "calls", now)
  end
  watch.update(server.pool, why, now)
  if pool_state.summary(server.pool, now).left == 0 then
    need(server.pool, now)
  end
end)

-- The same at one address of several, while there is another one: its checks take it up
-- again, or the time of the hold where it has none.
link.command("address", function(server, args, now)
  local place = places.find(server, args.addr)
  if not place or places.is_down(place) or not address.can_spare(server, place) then
    return
  end
  local why = "passive " .. args.why
  address.set(server, place, "down", 0, why, "calls")
  if address.is_asked(server) then
    server.evidence = server.evidence + 1
    local to, streak = address.best(server)
    set(server, to, streak, why, "calls", now)
    watch.update(server.pool, why, now)
  else
    place.ends = core.seconds(core.us(now + server.pool.passive.hold)) -- as exact as the timer
    address.arm(server, now)
  end
  places.tell(server)
  if server.pool.on_update then
    server.pool.on_update(server.pool, now) -- somebody is to be asked now
  end
end)

-- Who takes a server down whose checks are gone: only these would take it up again.
local by_itself = { check = true, calls = true }

-- The name means another machine now: what was known is not true of it.
local function forget(server, now)
  downtime.note(server, now)
  for _, fact in ipairs { "health", "since", "up_since", "returned", "streak", "failures", "falls",
    "hold_until", "failback_until", "trial", "latency" } do
    server.facts:set(fact, 0)
  end
  record.forget(server)
end

-- Takes up what is known from before a reload.
---@param server table
---@param now number
function health.start(server, now)
  local is_new
  local is_restored = warm.take(server)
  if is_restored then
    downtime.begin(server, now)
  end
  server.record, is_new = record.load(server)
  local facts = server.facts
  if not server.is_found then
    facts:set("left", 0) -- the script names it, whatever DNS said when it was found there
  end
  if places.load(server) then
    forget(server, now)
    is_new = true
  end
  if is_new then
    facts:set("since", core.us(now))
    record.save(server)
  end
  if server.check then
    facts:set("trial", 0)
  elseif by_itself[server.record.health.who] then
    downtime.note(server, now)
    facts:set("health", health_code.unknown)
    holds.forget_back(server)
  end
  holds.start(server, now)
  address.start(server, now)
  asking.start(server)
  server.is_new, server.is_restored = is_new or is_restored, is_restored and not is_new
  server.pool.is_new = server.pool.is_new or server.is_new
end

---@param server table
function health.stop(server)
  asking.stop(server)
end

return health
