-- A server of a pool, as scripts see it. What changes its state goes to worker 0.
local core = require "tandem.core"
local cut = require "tandem.cut"
local frozen = require "tandem.config.frozen"
local history = require "tandem.health.history"
local limits = require "tandem.choice.limits"
local link = require "tandem.link"
local misuse = require "tandem.config.misuse"
local object = require "tandem.object"
local places = require "tandem.dns.places"
local pool_state = require "tandem.health.state"
local pairs, pcall, setmetatable, tostring = pairs, pcall, setmetatable, tostring
local type = type

local _ENV = nil

local server = {}

local methods, fields = {}, {}
local class = object.class("server", methods, fields)
server.class = class

-- Longer reasons would not fit into a line of the log.
local reason_most = 200

local function reason(verb, why, otherwise)
  if why ~= nil and type(why) ~= "string" then
    misuse("server:%s: why: a string expected, got %s", verb, type(why))
  end
  return why and cut(why, reason_most) or otherwise
end

local function who()
  return "script " .. (core.where() or "?")
end
server.who = who

local function check_seconds(verb, seconds, least)
  if type(seconds) ~= "number" or not (seconds >= least and seconds < 1e9) then
    misuse("server:%s: a number of seconds expected, got %s", verb, seconds)
  end
end

-- No new requests for so many seconds. Holds are kept by reason and the latest end
-- counts; 0 ends the hold of that reason.
function methods.hold(self, seconds, why)
  check_seconds("hold", seconds, 0)
  link.send("hold", self, { seconds = seconds, why = reason("hold", why, "script"), who = who() })
end

function methods.mark_down(self, why)
  link.send("mark", self, { to = "down", why = reason("mark_down", why, "script"), who = who() })
end

function methods.mark_up(self, why)
  link.send("mark", self, { to = "up", why = reason("mark_up", why, "script"), who = who() })
end

-- For good, or for so many seconds: then it is ready again.
local function admin(word)
  return function(self, why, seconds)
    if seconds ~= nil then
      check_seconds(word, seconds, 0.001)
    end
    link.send("admin", self, {
      to = word, why = reason(word, why, "script"), who = who(), seconds = seconds,
    })
  end
end

methods.drain = admin "drain"
methods.maint = admin "maint"

function methods.ready(self, why)
  link.send("admin", self, { to = "ready", why = reason("ready", why, "script"), who = who() })
end

function fields.name(self)
  return self.name
end

function fields.uri(self)
  return self.uri
end

function fields.tier(self)
  return self.tier
end

function fields.weight(self)
  return self.weight
end

function fields.max_calls(self)
  return self.max_calls
end

function fields.max_cps(self)
  return self.max_cps
end

-- Of each resource: what is in use, and how much there is.
function fields.resources(self)
  local list = {}
  for name, capacity in pairs(self.resources) do
    list[name] = { used = self.facts:used(name), capacity = capacity }
  end
  return list
end

function fields.inflight(self)
  return self.facts:get "inflight"
end

-- Calls that are up, as far as this node knows.
function fields.calls(self)
  return self.facts:get "calls"
end

fields.health = pool_state.health
fields.admin = pool_state.admin

function fields.status(self)
  return (pool_state.status(self, core.now()))
end

-- The last changes of health, admin state and holds, oldest first.
function fields.history(self)
  return frozen(history.load(self))
end

-- When the health last changed, as sip.now() counts.
function fields.since(self)
  return core.seconds(self.facts:get "since")
end

-- For how many seconds it has been up; 0 when it is not.
function fields.up_for(self)
  local health = pool_state.health(self)
  if health ~= "up" and health ~= "falling" then
    return 0
  end
  return core.now() - core.seconds(self.facts:get "up_since")
end

-- Smoothed time to a response, in seconds; nil before the first.
function fields.latency(self)
  local latency = self.facts:get "latency"
  return latency > 0 and core.seconds(latency) or nil
end

-- Where it is, as far as that is known: in the order in which it is tried.
function fields.addresses(self)
  return frozen(places.show(self))
end

-- What the server means to the core as the target of an attempt. With `rewrite` the
-- Request-URI of that attempt becomes its own, or gets its host and port.
local function target(own, rewrite, facts)
  local uri, made = core.parse_uri(own), { facts = facts }
  if rewrite == "uri" then
    made.uri = own
  elseif rewrite == "host" then
    made.host = places.host(uri) .. (uri.port and ":" .. uri.port or "")
  end
  return made
end

-- A value for <close>: a trial that was counted in is counted out however it ends.
local on_trial = {
  __close = function(server_of)
    if server_of.facts:get "trial" > 1 then -- it may have been decided meanwhile
      server_of.facts:add("trial", -1)
    end
  end,
}

-- What the pool says of all its servers, for the core.
---@param pool table
---@return table
function server.traits(pool)
  return {
    record_route = pool.record_route,
    path = pool.path or nil,
    shared_dialogs = pool.shared_dialogs or nil,
    max_duration = pool.max_duration,
    judged = pool.passive and pool.passive.codes ~= nil or nil,
    tls = pool.tls,
  }
end

-- Who a server has to be is, unless told otherwise, the host of its URI (RFC 5922 4),
-- whatever addresses or other names DNS has for it.
---@param given table? its TLS options
---@param uri string
---@return string
function server.identity(given, uri)
  local name = given and given.name or places.host(core.parse_uri(uri))
  return name:match "^%[(.*)%]$" or name
end

-- TLS options for the core; it would ask for nothing by itself.
local function tls(options)
  local given = options.tls or { verify = true }
  return {
    cert = given.cert, key = given.key, ca = given.ca, verify = given.verify,
    name = server.identity(given, options.uri),
  }
end

-- Who a server is to others: for checks, `rewrite` and TLS.
local function set_name(self, uri, rewrite)
  self.known_as, self.host = uri, places.host(core.parse_uri(uri))
  self.target = target(uri, rewrite, self.facts)
end

local function make(options, pool, facts, uri, list, at)
  local self = {
    name = options.name,
    index = 0, -- its place in the pool, which arranges them
    check = options.check,
    full = pool.name .. "/" .. options.name,
    rank_key = pool.name .. "/" .. options.name, -- of policies: the same on every node
    pool = pool,
    uri = options.uri,
    tier = options.tier,
    weight = options.weight,
    configured_admin = options.admin or "ready",
    max_calls = options.max_calls, max_cps = options.max_cps,
    resources = options.resources or {},
    facts = facts,
    on_trial = setmetatable({ facts = facts }, on_trial),
    record = nil, -- what is remembered (record.lua); in worker 0
    evidence = 0, -- a check that began under an older number says nothing
    at = at, places = list, untold = false, -- places.lua's
    is_named = false, is_found = false, -- by a name of the script's; in DNS
    probes = {}, -- check.lua's
    rows = {}, -- passive.lua's
    is_held_back = false, -- by a failback hold whose end nobody has told of yet
  }
  set_name(self, uri, options.rewrite)
  class.new(self)
  return self
end

-- Makes the state of a server of its checked options.
---@param options table
---@param pool table state of the pool, with name and record_route
function server.new(options, pool)
  local list, at, is_named = places.declared(options)
  local traits = server.traits(pool)
  traits.resources = options.resources and limits.names(options.resources)
  traits.addr = places.addresses(list)
  traits.tls = tls(options)
  traits.fixed_transport = core.parse_uri(options.uri).transport ~= nil or nil
  local ok, facts = pcall(core.member, pool.name, options.name, traits)
  if not ok then
    misuse("%s", (tostring(facts):gsub("^[^%s:]+:%d+: ", "")))
  end
  local self = make(options, pool, facts, options.uri, list, at)
  self.is_named = is_named
  return self
end

-- One that was found in DNS has another name now.
---@param self table
---@param uri string
---@param rewrite "host"|"uri"|nil
function server.rename(self, uri, rewrite)
  set_name(self, uri, rewrite)
  self.facts:identify(server.identity(self.pool.tls, uri))
end

-- The same of one that was found in DNS, under a name that is options.domain.
---@param options table
---@param pool table
---@param facts table
function server.found(options, pool, facts)
  local list, at = places.declared(options)
  local self = make(options, pool, facts, options.domain, list, at)
  self.is_found = true
  -- Its name depends on what this node has seen before.
  self.rank_key = pool.name .. "/" .. options.uri
  return self
end

return server
