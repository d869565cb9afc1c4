-- Servers that are known by name are looked up ahead of the calls, by worker 0: at
-- start, when what was found has run out, and again when nothing was. A call never
-- waits for that, and what was known stays until something better is.
local core = require "tandem.core"
local check = require "tandem.check"
local health = require "tandem.health"
local places = require "tandem.places"
local math, table = math, table

local _ENV = nil

local ahead = {}

local first_retry, last_retry = 2, 30 -- seconds; doubled from one to the other
local grace = 60 -- longer than any look-up; then its task has died
local least, most = 1, 86400 -- seconds between two look-ups, whatever DNS says

local function found(server, list, ttl, is_first, now)
  local change = places.update(server, list)
  if server.untold then
    health.addresses(server, change ~= nil and change.is_other, now)
    check.retarget(server, now)
    places.tell(server)
  end
  if change or is_first then
    core.event("info", "server.resolved", {
      { "pool", server.pool.name }, { "server", server.name }, { "uri", server.uri },
      { "addresses", table.concat(places.addresses(server.places), ",") }, { "ttl", ttl },
    })
  end
end

-- Once, until it is found again.
local function lost(server, why)
  local state = server.ahead
  if state.failures == 0 then
    core.event("warn", "server.unresolved", {
      { "pool", server.pool.name }, { "server", server.name }, { "uri", server.uri },
      { "reason", why }, { "known", #server.places },
    })
  end
  state.failures = state.failures + 1
  return math.min(first_retry * 2 ^ math.min(state.failures - 1, 16), last_retry)
end

local look

local function arm(server, seconds)
  local state = server.ahead
  if state.timer then
    state.timer:cancel()
  end
  state.due = core.now() + seconds
  state.timer = core.after(seconds, function()
    state.timer = nil
    look(server)
  end)
end

-- An answer that is stale is better than none, and no sign that somebody answers.
function look(server)
  local state = server.ahead
  arm(server, grace) -- so that nothing that happens here can be the end
  local list, why = core.locate(server.uri)
  if state.stopped then
    return
  end
  local ttl = list and math.floor(math.min(math.max(list.ttl, least), most))
  local is_lost = not list or list.stale
  if list then
    found(server, list, ttl, state.failures > 0 and not is_lost, core.now())
  end
  if is_lost then
    arm(server, lost(server, why or "stale"))
  else
    state.failures = 0
    arm(server, ttl)
  end
end

---@param server table
function ahead.start(server)
  if server.is_named then
    server.ahead = { failures = 0, stopped = false, timer = nil, due = 0 }
    arm(server, 0)
  end
end

-- Where memory ran out the timer may be missing, or have lost its function.
---@param server table
---@param now number
function ahead.tend(server, now)
  local state = server.ahead
  if state and (not state.timer or state.due + 1 < now) then
    arm(server, 0)
  end
end

---@param server table
function ahead.stop(server)
  local state = server.ahead
  if state then
    state.stopped = true
    if state.timer then
      state.timer:cancel()
    end
  end
end

return ahead
