-- When servers are checked, from worker 0 (what is asked: probe.lua): a server as a
-- whole, or each of its addresses when it has several. One check of each is in flight at
-- most, and what arrives after the server was ordered about, or taken out, is dropped:
-- server.evidence has then been counted on.
--
-- The functions here are about a probe: what is asked, and when. Its `place` is nil for
-- that of a whole server.
local core = require "tandem.core"
local address = require "tandem.health.address"
local health = require "tandem.health.health"
local pool_state = require "tandem.health.state"
local asking = require "tandem.health.probe"
local ipairs, math, type = ipairs, math, type

local _ENV = nil

local check = {}

local run

local function health_of(probe)
  return probe.place and probe.place.health or pool_state.health(probe.server)
end

local function streak_of(probe)
  return probe.place and probe.place.streak or probe.server.facts:get "streak"
end

-- Is there an address to ask, or a function that needs none?
local function can_ask(server)
  return #server.places > 0 or type(server.check.method) == "function"
end

-- Is it to be checked at all, now? Who is down always is: nothing else takes it up
-- again. With when = "backup" also the servers that would take the calls back from who
-- has them, or all when nobody has them.
local function is_due(probe, now)
  local server, now_is = probe.server, health_of(probe)
  local conf = server.check
  if not conf or not can_ask(server) or pool_state.admin(server) == "maint" then
    return false
  elseif conf.when == "always" or now_is == "down" or now_is == "rising" then
    return true
  elseif conf.when == "backup" then
    local _, tier = pool_state.pool(server.pool, now)
    return not tier or server.tier < tier
  end
  return false
end

-- Seconds between checks of what is down: doubled each time, if asked for.
local function down_period(probe)
  local conf = probe.server.check
  local steps = conf.down_interval
  if type(steps) ~= "table" then
    return steps or conf.interval
  end
  return math.min(steps[1] * 2 ^ math.min(probe.bad, 64), steps[2])
end

-- Seconds until the next, seen from the beginning of the last.
local function period(probe)
  local conf, now_is = probe.server.check, health_of(probe)
  if now_is == "down" then
    return down_period(probe)
  elseif now_is == "falling" or now_is == "rising"
    or (now_is == "unknown" and streak_of(probe) > 0) then
    return conf.fast_interval
  end
  return conf.interval
end

local function disarm(probe)
  if probe.timer then
    probe.timer:cancel()
    probe.timer = nil
  end
end

local function arm(probe, after)
  disarm(probe)
  after = math.max(after, 0)
  probe.due = core.now() + after
  probe.timer = core.after(after, function()
    probe.timer = nil
    run(probe)
  end)
end

-- Is there a next check? A timer whose time is over has lost its function: there was
-- no memory to run it.
local function is_armed(probe, now)
  return probe.timer ~= nil and now <= probe.due + 1
end

-- Varied, so that the checks of many servers do not stay in step.
local function varied(seconds, jitter)
  return seconds * (1 + jitter * (2 * core.random() - 1))
end

-- Bad ones in a row while down, for the steps of down_interval.
local function count_bad(probe, good)
  if good == false and health_of(probe) == "down" then
    probe.bad = probe.bad + 1
  elseif good then
    probe.bad = 0
  end
end

-- What the answer means, and when to ask again because of it.
local function finish(probe, began, good, why)
  local server, now = probe.server, core.now()
  if good ~= nil then
    server.facts:count(good and "check_ok" or "check_failed")
    count_bad(probe, good)
    health.check(server, probe.place, good, why, now)
  end
  if not is_due(probe, now) then
    return disarm(probe)
  end
  local wanted = period(probe)
  if probe.is_late then
    arm(probe, 0)
  elseif wanted ~= probe.period then
    probe.period = wanted
    arm(probe, began + varied(wanted, server.check.jitter) - now)
  end
end

function run(probe)
  local server, began = probe.server, core.now()
  local conf, evidence = server.check, server.evidence
  if not is_due(probe, began) then
    return
  end
  -- First of all the next one, so that nothing that happens here can be the end.
  probe.period = period(probe)
  arm(probe, varied(probe.period, conf.jitter))
  -- The second of grace is for a check whose task died.
  probe.is_late = probe.began and began < probe.began + conf.timeout + 1
  if probe.is_late then
    return
  end
  probe.began, probe.last = began, began
  local good, why, answered = asking.ask(server, conf, probe.place and probe.place.addr,
    function(task)
      probe.task = task
    end)
  probe.began = nil
  if probe.stopped or evidence ~= server.evidence then
    return
  end
  if answered then
    core.observe("check", core.now() - began)
    server.facts:took(core.us(core.now() - began))
  end
  finish(probe, began, good, why)
end

-- Seconds until the first check of a server. What is checked all the time is checked at
-- once, the others after their interval: they have just failed. A reload is no reason to
-- wait once more.
local function first_wait(probe, now)
  local server = probe.server
  local conf, health_is, since = server.check, pool_state.health(server), now
  if conf.when == "always" then
    return 0
  end
  if probe.is_new and (health_is == "down" or health_is == "rising") then
    since = core.seconds(server.facts:get "since")
  end
  return since + varied(probe.period, conf.jitter) - now
end

local function each_probe(pool, act, now)
  for _, server in ipairs(pool.servers) do
    for _, probe in ipairs(server.probes) do
      act(probe, now)
    end
  end
end

-- Something has changed in the pool: who is to be checked from now on, and who no
-- longer.
local function refresh(probe, now)
  if not is_due(probe, now) then
    disarm(probe)
  elseif not is_armed(probe, now) and not probe.stopped then
    probe.period = period(probe)
    arm(probe, first_wait(probe, now))
  end
  probe.is_new = false
end

-- Nobody is left for the requests but servers that do not answer them: who is down is
-- asked now, and not when its interval is over.
local function hurry(probe, now)
  if is_due(probe, now) and health_of(probe) == "down" then
    local soonest = (probe.last or 0) + probe.server.check.fast_interval
    if not is_armed(probe, now) or probe.due > soonest then
      arm(probe, soonest - now)
    end
  end
end

local function on_update(pool, now)
  each_probe(pool, refresh, now)
end

local function on_need(pool, now)
  each_probe(pool, hurry, now)
end

-- What a function of the script still does would be about a server that is gone.
local function stop(probe)
  probe.stopped = true
  disarm(probe)
  if probe.task then
    probe.task:cancel()
  end
end

-- That of an address which was asked before goes on.
local function probe_of(server, before, place)
  for _, probe in ipairs(place and before or {}) do
    if probe.place == place then
      return probe
    end
  end
  return { server = server, place = place, bad = 0, is_new = true }
end

local function probes_of(server, before)
  if not address.is_asked(server) then
    return { probe_of(server, before) }
  end
  local probes = {}
  for i, place in ipairs(server.places) do
    probes[i] = probe_of(server, before, place)
  end
  return probes
end

-- The first check comes at once, but not everybody's together.
local function begin(probe, now)
  local conf = probe.server.check
  if conf and conf.when == "always" and is_due(probe, now) then
    arm(probe, core.random() * conf.jitter * conf.interval)
  end
end

-- The server has other addresses now. What allocates comes first and last: a probe that
-- then has no timer gets it at the next refresh.
---@param server table
---@param now number
function check.retarget(server, now)
  local before, goes_on = server.probes, {}
  local probes = probes_of(server, before)
  for _, probe in ipairs(probes) do
    goes_on[probe] = true
  end
  server.probes = probes
  for _, probe in ipairs(before) do
    if not goes_on[probe] then
      stop(probe)
    end
  end
  for _, probe in ipairs(probes) do
    if not probe.timer then
      begin(probe, now)
    end
    refresh(probe, now)
  end
end

-- Begins to check.
---@param server table
---@param now number
function check.start(server, now)
  server.pool.on_update, server.pool.on_need = on_update, on_need
  server.probes = probes_of(server, {})
  for _, probe in ipairs(server.probes) do
    begin(probe, now)
  end
end

---@param server table
function check.stop(server)
  for _, probe in ipairs(server.probes) do
    stop(probe)
  end
end

return check
