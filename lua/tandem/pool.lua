-- A pool: servers in tiers, and the way to go through them for a request.
local core = require "tandem.core"
local custom = require "tandem.policy.custom"
local declare = require "tandem.config.declare"
local frozen = require "tandem.config.frozen"
local grouped = require "tandem.grouped"
local link = require "tandem.link"
local misuse = require "tandem.config.misuse"
local object = require "tandem.object"
local limits = require "tandem.choice.limits"
local naming = require "tandem.dns.naming"
local options = require "tandem.config.options"
local pool_state = require "tandem.health.state"
local select = require "tandem.choice.select"
local server = require "tandem.server"
local ipairs, table, type = ipairs, table, type

local policies = {
  ordered = require "tandem.policy.ordered",
  round_robin = require "tandem.policy.round_robin",
  weighted = require "tandem.policy.weighted",
  least_calls = require "tandem.policy.least_calls",
  latency = require "tandem.policy.latency",
  hash = require "tandem.policy.hash",
}

local _ENV = nil

local pool = {}

local methods, fields = {}, {}
local class = object.class("pool", methods, fields)
pool.class = class

-- A key stays with the request: whoever challenges it is remembered for that (try.lua).
local function cursor(self, verb, req, opts)
  local key, resources
  if opts ~= nil then
    opts = declare.check(verb, options.each, opts)
    key, resources = opts.key, opts.resources
  end
  local kept = req and core.state(req, verb)
  if req and (key or (kept and kept.keys)) then
    local keys = req._state.keys or {}
    keys[self.name], req._state.keys = key, keys
  end
  return select.cursor(self, key or (req and req.call_id) or "", req, resources)
end

-- The usable servers, best first, for a loop. Looks again before every step.
function methods.each(self, req, opts)
  local walk = cursor(self, "pool:each", req, opts)
  return function()
    local found = select.next(walk, core.now())
    return found and found.handle
  end
end

-- The best server, or nil, "full"|"down"|"empty".
function methods.pick(self, req, opts)
  local walk = cursor(self, "pool:pick", req, opts)
  local found = select.next(walk, core.now())
  if not found then
    return nil, select.why(walk)
  end
  return found.handle
end

-- The server of that name, or nil.
function methods.server(self, name)
  local found = self.by_name[name]
  return found and found.handle
end

-- Ends the failback hold of one server, or of all of the pool.
function methods.failback(self, which)
  local one = server.class.state(which)
  if which ~= nil and (not one or one.pool ~= self) then
    misuse("pool:failback: a server of pool '%s' expected", self.name)
  end
  for _, item in ipairs(one and { one } or self.servers) do
    link.send("release", item, { who = server.who() })
  end
end

function fields.name(self)
  return self.name
end

function fields.servers(self)
  return self.view
end

function fields.state(self)
  return (pool_state.pool(self, core.now()))
end

-- The tier that takes new requests; nil when the state is "down".
function fields.active_tier(self)
  local _, tier = pool_state.pool(self, core.now())
  return tier
end

-- Within a tier as declared, or by name (of who was found: by address).
local function by_tier(servers, by_name)
  local tiers = grouped(servers, "tier")
  for _, tier in ipairs(by_name and tiers or {}) do
    table.sort(tier, function(a, b)
      return a.rank_key < b.rank_key
    end)
  end
  return tiers
end

local function policy_of(conf, name)
  local choice = conf.policy
  if type(choice) == "function" then
    return custom.new(choice, name)
  end
  local module = policies[choice] or choice
  return module.new { name = name, bound = conf.bound }
end

-- As an operator knows it.
local function policy_name(conf)
  return type(conf.policy) == "string" and conf.policy or type(conf.policy)
end

-- A check may only leave from a listener of ours, wherever in the script that is.
local function check_socket(name, check)
  local socket = check and check.socket
  if not socket then
    return
  end
  local address, why = core.parse_addr(socket)
  if not address then
    misuse("pool '%s': check.socket: '%s': %s", name, socket, why)
  end
  declare.at_end(function()
    if not declare.listens(address) then
      misuse("pool '%s': check.socket: '%s' is no listener of ours; add it to sip.listen", name,
        socket)
    end
  end)
end

-- What goes to a server leaves through a listener of that transport. Which that is DNS
-- may say. `what`: "server 'a'".
local function check_transport(name, what, text, is_named)
  local uri = core.parse_uri(text)
  local transport = uri.scheme == "sips" and "tls" or uri.transport
    or (not is_named and "udp")
  if not transport then
    return
  end
  declare.at_end(function()
    if not declare.speaks(transport) then
      misuse("pool '%s': %s is reached by %s, and nothing listens there that it "
        .. "could be reached from: add \"%s:...\" to sip.listen", name, what,
        transport:upper(), transport)
    end
  end)
end

-- These are its servers now.
---@param self table
---@param servers table[]
function pool.arrange(self, servers)
  local handles, by_name = {}, {}
  for i, item in ipairs(servers) do
    item.index, handles[i] = i, item.handle
    by_name[item.name] = item
  end
  local view, tiers = frozen(handles), by_tier(servers, self.policy.by_name)
  local resources = limits.known(servers)
  -- All of it, or nothing: from here on nothing can fail.
  self.servers, self.by_name, self.view, self.tiers = servers, by_name, view, tiers
  self.resources, self.limited = resources, limits.any(servers)
  self.first_tier = tiers[1] and tiers[1].number
  self.seen, self.summary = nil, nil -- view.lua's and state.lua's
end

-- Room for those that DNS names and for those that have left it.
local function make_room(self)
  if #self.name > naming.pool_most then
    misuse("pool '%s': with discover a name of at most %d characters expected", self.name,
      naming.pool_most)
  end
  local traits, is_fixed = server.traits(self), true
  for _, uri in ipairs(self.discover.names) do
    is_fixed = is_fixed and core.parse_uri(uri).transport ~= nil
    check_transport(self.name, ("what '%s' leads to"):format(uri), uri, true)
  end
  traits.fixed_transport = is_fixed
  core.room(self.name, 2 * self.discover.max, traits)
end

local function declared_servers(self, list)
  local servers = {}
  for i, item in ipairs(list) do
    check_socket(self.name, item.check)
    servers[i] = server.new(item, self)
    check_transport(self.name, ("server '%s'"):format(item.name), item.uri, servers[i].is_named)
  end
  return servers
end

-- Makes the state of a pool of its checked options.
---@param name string
---@param conf table
function pool.new(name, conf)
  local self = {
    name = name, full = name,
    check = conf.check, passive = conf.passive, failback = conf.failback,
    keep = conf.keep, all_down = conf.all_down,
    attempt = conf.attempt, retry_on = conf.retry_on, record_route = conf.record_route,
    path = conf.path, shared_dialogs = conf.shared_dialogs,
    policy = policy_of(conf, name), policy_name = policy_name(conf), slow_start = conf.slow_start,
    max_duration = conf.max_duration,
    is_ordered = conf.policy == "ordered", -- then the first server is the one to go back to
    discover = conf.discover,
  }
  if self.discover then
    check_socket(name, conf.check)
    make_room(self)
  end
  pool.arrange(self, declared_servers(self, conf.servers or {}))
  class.new(self)
  return self
end

return pool
