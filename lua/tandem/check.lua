-- When servers are checked, from worker 0 (what is asked: probe.lua). One check of a
-- server is in flight at most, and what arrives after the server was ordered about,
-- or taken out, is dropped: server.evidence has then been counted on.
local core = require "tandem.core"
local health = require "tandem.health"
local pool_state = require "tandem.state"
local probe = require "tandem.probe"
local ipairs, math, type = ipairs, math, type

local _ENV = nil

local check = {}

local run

-- Is it to be checked at all, now? Who is down always is: nothing else takes it up
-- again. With when = "backup" also the servers that would take the calls back from who
-- has them, or all when nobody has them.
local function is_due(server, now)
  local conf, now_is = server.check, pool_state.health(server)
  if not conf or pool_state.admin(server) == "maint" then
    return false
  elseif conf.when == "always" or now_is == "down" or now_is == "rising" then
    return true
  elseif conf.when == "backup" then
    local _, tier = pool_state.pool(server.pool, now)
    return not tier or server.tier < tier
  end
  return false
end

-- Seconds between checks of a server that is down: doubled each time, if asked for.
local function down_period(server)
  local conf = server.check
  local steps = conf.down_interval
  if type(steps) ~= "table" then
    return steps or conf.interval
  end
  return math.min(steps[1] * 2 ^ math.min(server.probe.bad, 64), steps[2])
end

-- Seconds until the next, seen from the beginning of the last.
local function period(server)
  local conf, now_is = server.check, pool_state.health(server)
  if now_is == "down" then
    return down_period(server)
  elseif now_is == "falling" or now_is == "rising"
    or (now_is == "unknown" and server.facts:get "streak" > 0) then
    return conf.fast_interval
  end
  return conf.interval
end

local function disarm(server)
  local timer = server.probe.timer
  if timer then
    timer:cancel()
    server.probe.timer = nil
  end
end

local function arm(server, after)
  local state = server.probe
  disarm(server)
  after = math.max(after, 0)
  state.due = core.now() + after
  state.timer = core.after(after, function()
    state.timer = nil
    run(server)
  end)
end

-- Is there a next check? A timer whose time is over has lost its function: there was
-- no memory to run it.
local function is_armed(server, now)
  local state = server.probe
  return state.timer ~= nil and now <= state.due + 1
end

-- Varied, so that the checks of many servers do not stay in step.
local function varied(seconds, jitter)
  return seconds * (1 + jitter * (2 * core.random() - 1))
end

local function note_latency(server, took)
  local facts = server.facts
  local before = facts:get "latency"
  facts:set("latency", before == 0 and took or before + (took - before) // 8)
end

-- Bad ones in a row while down, for the steps of down_interval.
local function count_bad(server, good)
  local state = server.probe
  if good == false and pool_state.health(server) == "down" then
    state.bad = state.bad + 1
  elseif good then
    state.bad = 0
  end
end

-- What the answer means, and when to ask again because of it.
local function finish(server, began, good, why)
  local state, conf, now = server.probe, server.check, core.now()
  if good ~= nil then
    count_bad(server, good)
    health.check(server, good, why, now)
  end
  if not is_due(server, now) then
    return disarm(server)
  end
  local wanted = period(server)
  if state.is_late then
    arm(server, 0)
  elseif wanted ~= state.period then
    state.period = wanted
    arm(server, began + varied(wanted, conf.jitter) - now)
  end
end

function run(server)
  local state, conf = server.probe, server.check
  local began, evidence = core.now(), server.evidence
  if not is_due(server, began) then
    return
  end
  -- First of all the next one, so that nothing that happens here can be the end.
  state.period = period(server)
  arm(server, varied(state.period, conf.jitter))
  -- The second of grace is for a check whose task died.
  state.is_late = state.began and began < state.began + conf.timeout + 1
  if state.is_late then
    return
  end
  state.began, state.last = began, began
  local good, why, answered = probe.ask(server, conf)
  state.began = nil
  if state.stopped or evidence ~= server.evidence then
    return
  end
  if answered then
    note_latency(server, core.us(core.now() - began))
  end
  finish(server, began, good, why)
end

-- Seconds until the first check of a server. What is checked all the time is checked at
-- once, the others after their interval: they have just failed. A reload is no reason to
-- wait once more.
local function first_wait(server, now)
  local state, conf = server.probe, server.check
  if conf.when == "always" then
    return 0
  end
  local health_is, since = pool_state.health(server), now
  if state.is_new and (health_is == "down" or health_is == "rising") then
    since = core.seconds(server.facts:get "since")
  end
  return since + varied(state.period, conf.jitter) - now
end

-- Something has changed in the pool: who is to be checked from now on, and who no
-- longer.
local function refresh(pool, now)
  for _, server in ipairs(pool.servers) do
    local state = server.probe
    if not is_due(server, now) then
      disarm(server)
    elseif not is_armed(server, now) and not state.stopped then
      state.period = period(server)
      arm(server, first_wait(server, now))
    end
    state.is_new = false
  end
end

-- Nobody is left for the requests but servers that do not answer them: who is down is
-- asked now, and not when its interval is over.
local function hurry(pool, now)
  for _, server in ipairs(pool.servers) do
    local state = server.probe
    if is_due(server, now) and pool_state.health(server) == "down" then
      local soonest = (state.last or 0) + server.check.fast_interval
      if not is_armed(server, now) or state.due > soonest then
        arm(server, soonest - now)
      end
    end
  end
end

-- Begins to check; the first check comes at once, but not everybody's together.
---@param server table
---@param now number
function check.start(server, now)
  local state, conf = server.probe, server.check
  state.bad, state.is_new = 0, true
  server.pool.on_update, server.pool.on_need = refresh, hurry
  if conf and conf.when == "always" and is_due(server, now) then
    arm(server, core.random() * conf.jitter * conf.interval)
  end
end

---@param server table
function check.stop(server)
  server.probe.stopped = true
  disarm(server)
end

return check
