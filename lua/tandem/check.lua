-- The active check: OPTIONS to every server, from worker 0. An answer is any final
-- response the server sent; what we made ourselves is none. One check of a server
-- is in flight at most, and what arrives after the server was ordered about, or
-- taken out, is dropped: server.evidence has then been counted on.
local core = require "tandem.core"
local declare = require "tandem.declare"
local health = require "tandem.health"
local pool_state = require "tandem.state"
local ipairs, math, type = ipairs, math, type

local _ENV = nil

local check = {}

local run

-- Seconds until the next, seen from the beginning of the last.
local function period(server)
  local conf, now_is = server.pool.check, pool_state.health(server)
  if pool_state.admin(server) == "maint" then
    return conf.fast_interval -- nothing is sent; to see soon when that is over
  elseif now_is == "falling" or now_is == "rising"
    or (now_is == "unknown" and server.facts:get "streak" > 0) then
    return conf.fast_interval
  end
  return conf.interval
end

local function arm(server, after)
  local probe = server.probe
  if probe.timer then
    probe.timer:cancel()
  end
  probe.timer = core.after(math.max(after, 0), function()
    probe.timer = nil
    run(server)
  end)
end

-- Varied, so that the checks of many servers do not stay in step.
local function varied(seconds, jitter)
  return seconds * (1 + jitter * (2 * core.random() - 1))
end

-- Did the server say what we want to hear?
---@param expect "any"|integer[]|fun(res: tandem.Response): boolean
---@param res tandem.Response
---@return boolean
function check.is_good(expect, res)
  if expect == "any" then
    return res.code < 500 or res.code > 599
  elseif type(expect) == "function" then
    return core.steady("expect", expect, res) and true or false
  end
  for _, code in ipairs(expect) do
    if res.code == code then
      return true
    end
  end
  return false
end

-- What a check has shown: true, false, or nil for nothing; and in a word why.
local function verdict(conf, res, err, detail)
  if res and not res.is_local then
    return check.is_good(conf.expect, res), ("%d"):format(res.code)
  end
  local cause = detail and detail.cause
  if cause == "no_source" then -- we have no address to send from
    return nil, cause
  elseif cause and cause ~= "silent" then
    return false, cause
  end
  return false, err or "timeout"
end

local function note_latency(server, took)
  local facts = server.facts
  local before = facts:get "latency"
  facts:set("latency", before == 0 and took or before + (took - before) // 8)
end

local function from(conf)
  if conf.from then
    return conf.from
  end
  local domains = declare.setting "domains"
  return domains and domains[1] and "sip:tandem@" .. domains[1] or nil
end

-- What the answer means, and when to ask again because of it.
local function finish(server, began, res, err, detail)
  local probe, conf, now = server.probe, server.pool.check, core.now()
  if res and not res.is_local then
    note_latency(server, core.us(now - began))
  end
  local good, why = verdict(conf, res, err, detail)
  if good ~= nil then
    health.check(server, good, why, now)
  end
  local wanted = period(server)
  if probe.is_late then
    arm(server, 0)
  elseif wanted ~= probe.period then
    probe.period = wanted
    arm(server, began + varied(wanted, conf.jitter) - now)
  end
end

function run(server)
  local probe, conf = server.probe, server.pool.check
  local began, evidence = core.now(), server.evidence
  -- First of all the next one, so that nothing that happens here can be the end.
  probe.period = period(server)
  arm(server, varied(probe.period, conf.jitter))
  -- The second of grace is for a check whose task died.
  probe.is_late = probe.began and began < probe.began + conf.timeout + 1
  if probe.is_late or pool_state.admin(server) == "maint" then
    return
  end
  probe.began = began
  local res, err, detail = core.request {
    method = conf.method, uri = server.uri, facts = server.facts,
    from = from(conf), timeout = conf.timeout,
  }
  probe.began = nil
  if not probe.stopped and evidence == server.evidence then
    finish(server, began, res, err, detail)
  end
end

-- Begins to check; the first check comes at once, but not everybody's together.
---@param server table
function check.start(server)
  local conf = server.pool.check
  if conf then
    arm(server, core.random() * conf.jitter * conf.interval)
  end
end

---@param server table
function check.stop(server)
  local probe = server.probe
  probe.stopped = true
  if probe.timer then
    probe.timer:cancel()
    probe.timer = nil
  end
end

return check
