-- req:relay(target[, opts]): try one server after the other until an answer is
-- worth passing on, and answer the caller. It is ordinary Lua over req:try: copy
-- it when you want it otherwise.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local options = require "tandem.config.options"
local candidates = require "tandem.choice.candidates"
local try = require "tandem.verbs.try"
local ipairs, math = ipairs, math

local _ENV = nil

local relay = {}

local hold_most = 60 -- seconds a Retry-After may keep a server away
local default_retry = { "local", 503 }

local function retries(list, what)
  for _, item in ipairs(list) do
    if item == what then
      return true
    end
  end
  return false
end

-- Options of the call, else of the pool, else the defaults.
local function settle(req, opts, pool)
  local theirs, timers = pool and pool.attempt or {}, declare.setting "timers"
  timers = timers or {}
  return {
    t1 = timers.t1 or 0.5, t2 = timers.t2 or 4,
    attempts = opts.attempts or theirs.attempts or 2,
    budget = opts.budget or theirs.budget or (req.method == "INVITE" and 60 or 20),
    last_timeout = opts.last_timeout or theirs.last_timeout
      or 64 * (timers.t1 or 0.5),
    retry_on = opts.retry_on or (pool and pool.retry_on) or default_retry,
  }
end

-- How long it takes until so many retransmissions were not answered and the next
-- is due.
local function retransmits_time(count, method, plan)
  local time, gap = 0, plan.t1
  for _ = 0, count do
    time = time + gap
    gap = method == "INVITE" and 2 * gap or math.min(2 * gap, plan.t2)
  end
  return time
end

-- The limits of one attempt: the last candidate may take longer, nobody longer
-- than what is left. Ringing is not cut: nobody else is tried after it.
local function limits_for(req, opts, pool, plan, is_last, rest)
  local limits = try.limits(opts, pool)
  if is_last then
    limits.timeout, limits.retransmits = plan.last_timeout, nil
  end
  if limits.retransmits and retransmits_time(limits.retransmits, req.method, plan) > rest then
    limits.timeout, limits.retransmits = rest, nil
  end
  limits.timeout = limits.timeout and math.min(limits.timeout, rest)
  limits.progress_timeout = math.min(limits.progress_timeout, rest)
  if req.method ~= "INVITE" then
    limits.ring_timeout = math.min(limits.ring_timeout, rest)
  end
  return limits
end

-- Is this an answer for the caller, or a reason to try another server?
local function is_final(res, err, plan)
  if res then
    return res.is_local or not retries(plan.retry_on, res.code)
  end
  return err == "cancelled" or not retries(plan.retry_on, "local")
end

-- A 503 moves the call; only its Retry-After (RFC 3261 20.33) keeps others away from the
-- server.
local function obey(res, server)
  if res and res.code == 503 and res.retry_after and server then
    server.handle:hold(math.min(res.retry_after, hold_most), "retry_after")
  end
end

-- Goes through candidates that there are, and answers the caller.
---@param req tandem.Request
---@param walk table as candidates.lua makes them
---@param pool? table
---@param opts tandem.RelayOptions checked; `unreached`: function(req) -> the code when
--- nobody has answered
---@return true
function relay.run(req, walk, pool, opts)
  local plan, best, err, stopped = settle(req, opts, pool), nil, nil, "attempts"
  for attempt = 1, plan.attempts do
    local now, rest = core.now(), plan.budget - req:age()
    if rest <= 0 then
      stopped = "budget"
      break
    end
    local raw, server = walk:take(now)
    if not raw then
      stopped = "candidates"
      break
    end
    local is_last = attempt == plan.attempts or not walk:peek(now)
    local limits = limits_for(req, opts, server and server.pool, plan,
      is_last and not walk:is_last_resort(), rest)
    local res
    res, err = try.run(req, raw, server, limits, opts.key)
    obey(res, server)
    best = res and best and core.better(best, res) or res or best
    if is_final(res, err, plan) then
      best = res or best
      stopped = best and best.code >= 300 and "final"
      break
    end
  end
  if stopped then
    core.note(req, "relay", stopped, best and best.code or err or "")
  end
  if best then
    best:forward()
  elseif err ~= "cancelled" then
    req:reply(opts.unreached and opts.unreached(req) or 500)
  end
  return true
end

---@param req tandem.Request
---@param target tandem.Pool|tandem.Server|tandem.Contact|string|table
---@param opts? tandem.RelayOptions
---@return true?
---@return "full"|"down"|"empty"|nil why then nothing was sent, and no answer either
function relay.method(req, target, opts)
  opts = try.options("req:relay", options.relay, opts)
  local walk, pool = candidates(target, req, opts)
  local now = core.now()
  if not walk:peek(now) then
    return nil, walk:give_up(now)
  end
  return relay.run(req, walk, pool, opts)
end

return relay
