-- req:try(target[, opts]): one attempt. Beside the outcome it does the accounts of
-- the server: trials, latency, and who challenged the caller. (What is in flight and
-- which calls are up the core counts.)
local core = require "tandem.core"
local events = require "tandem.events"
local misuse = require "tandem.config.misuse"
local options = require "tandem.config.options"
local passive = require "tandem.health.passive"
local registry = require "tandem.registry"
local schema = require "tandem.config.schema"
local tally = require "tandem.tally"
local server_class = require("tandem.server").class
local getmetatable, type = getmetatable, type

local answered, goes_on = core.answered, core.Request._goes_on

local _ENV = nil

local try = {}

local defaults = { timeout = 4, progress_timeout = 12, ring_timeout = 185 }
local sticky_ttl = 60 -- seconds after a 401 or 407

-- Checks the options of a verb; raises with the line of the script.
---@param verb string "req:try"
---@param item table a type of schema.lua
---@param opts? table
function try.options(verb, item, opts)
  local result, message = schema.validate(verb, item, opts or {})
  if message then
    misuse("%s", message)
  end
  return result
end

-- The limits for the core: what was given, else what the pool says, else the
-- defaults. timeout and retransmits stand in for each other.
---@param opts table checked
---@param pool? table
function try.limits(opts, pool)
  local theirs = pool and pool.attempt or {}
  local own = (opts.timeout or opts.retransmits) and opts or theirs
  return {
    timeout = own.timeout or (not own.retransmits and defaults.timeout) or nil,
    retransmits = own.retransmits,
    progress_timeout = opts.progress_timeout or theirs.progress_timeout
      or defaults.progress_timeout,
    ring_timeout = opts.ring_timeout or theirs.ring_timeout or defaults.ring_timeout,
    on_response = opts.on_response, resources = opts.resources, key = opts.key,
  }
end

-- Most scripts give a timeout and nothing else, or nothing. The limits that follow from
-- it in a pool are kept, so that they are not checked and made for each request; nobody
-- changes them.
local no_options, no_pool = {}, {} -- keys for what is not there
local kept, n_kept = {}, 0 -- by pool, by timeout
local kept_most = 256 -- of a script that reckons its timeouts

local function keep(pool, timeout, limits)
  if n_kept == kept_most then
    kept, n_kept = {}, 0
  end
  kept[pool] = kept[pool] or {}
  kept[pool][timeout], n_kept = limits, n_kept + 1
end

---@param opts? table as the script gave them
---@param pool? table
---@return table limits
---@return string? key
local function limits_of(opts, pool)
  local of_pool = kept[pool or no_pool]
  local timeout = opts == nil and no_options or core.lone(opts, "timeout")
  if of_pool and of_pool[timeout] then
    return of_pool[timeout]
  end
  opts = try.options("req:try", options.try, opts)
  local limits = try.limits(opts, pool)
  if timeout then
    keep(pool or no_pool, timeout, limits)
  end
  return limits, opts.key
end

-- A table of the script or of sip.data, not one of our objects.
function try.is_plain(value)
  local meta = type(value) == "table" and getmetatable(value)
  return meta == nil or meta == "read-only"
end

-- What a target means to the core, and the state of the server if it is one.
---@param verb string
---@param target any a Server, a URI or an item of res.contacts
---@return table raw
---@return table? server
function try.target(verb, target)
  local server = server_class.state(target)
  if server then
    return server.target, server
  elseif type(target) == "string" then
    local uri, why = core.parse_uri(target)
    if not uri then
      misuse("%s: '%s' is no SIP URI: %s", verb, target, why)
    end
    return { uri = target }
  elseif try.is_plain(target) and type(target.uri) == "string" then
    return { uri = target.uri, route = target.path }
  end
  misuse("%s: a server or a SIP URI expected, got %s", verb, type(target))
end

-- What is kept of an answer: who challenged this key; and a late answer speaks for
-- the server that gave it while another one was being tried.
---@param req tandem.Request
---@param res tandem.Response
---@param key? string
---@param tried? table server
---@return boolean from_tried
---@return boolean? to_invite
function try.answered(req, res, key, tried)
  local facts, code, to_invite = answered(res)
  local server = registry.of(facts)
  if not server then
    return false
  end
  if server ~= tried then
    passive.answered(server)
  end
  if code == 401 or code == 407 then
    local pool, keys = server.pool.name, req._state.keys
    core.sticky_set(pool, key or (keys and keys[pool]) or req.call_id, server.name, sticky_ttl)
  end
  return server == tried, to_invite
end

-- Tells of a local failure, if anybody wants to know.
function try.failed(req, server, err, detail)
  if err ~= "cancelled" and events.heard "branch.failed" then
    events.emit {
      event = "branch.failed", method = req.method, call_id = req.call_id,
      pool = server and server.pool.handle, server = server and server.handle,
      reason = err, cause = detail and detail.cause, address = detail and detail.address,
    }
  end
end

-- A trial is counted in and out, also when the task is cancelled.
local function on_trial(req, server, raw, limits)
  server.facts:add("trial", 1)
  local _ <close> = server.on_trial
  return req:_try(raw, limits)
end

-- The attempt itself.
local function at_server(req, server, raw, limits)
  local again, trial = goes_on(req, server.facts)
  if again then
    tally.add(server.pool, "retries")
  end
  if trial ~= 0 then
    return on_trial(req, server, raw, limits)
  end
  return req:_try(raw, limits)
end

-- One attempt, with limits that were checked before.
---@return tandem.Response?
---@return "timeout"|"transport"|"cancelled"|nil
---@return tandem.Detail?
function try.run(req, raw, server, limits, key)
  local began = core.now()
  local res, err, detail
  if server then
    res, err, detail = at_server(req, server, raw, limits)
  else
    res, err, detail = req:_try(raw, limits)
  end
  if not res then
    try.failed(req, server, err, detail)
    return nil, err, detail
  end
  local from_tried, to_invite = try.answered(req, res, key, server)
  if from_tried and not to_invite then -- there a final says how fast people are
    server.facts:took(core.us(core.now() - began))
  end
  return res
end

---@param req tandem.Request
---@param target tandem.Server|tandem.Contact|string
---@param opts? tandem.TryOptions
---@return tandem.Response?
---@return "timeout"|"transport"|"cancelled"|nil
---@return tandem.Detail?
function try.method(req, target, opts)
  local raw, server = try.target("req:try", target)
  local limits, key = limits_of(opts, server and server.pool)
  return try.run(req, raw, server, limits, key)
end

return try
