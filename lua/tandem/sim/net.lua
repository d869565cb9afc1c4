-- The network of a simulation: virtual time, endpoints, proxies, faults, and what
-- happened.
local address = require "tandem.sim.address"
local dns = require "tandem.sim.dns"
local ladder = require "tandem.sim.ladder"
local message = require "tandem.sim.message"
local node = require "tandem.sim.node"
local resolver = require "tandem.sim.resolver"
local simcore = require "tandem.simcore"
local ua = require "tandem.sim.ua"
local assert, error, ipairs, math, pcall, string, table, type =
  assert, error, ipairs, math, pcall, string, table, type

local _ENV = nil

local net = {}

---@class tandem.sim.Net
local methods = {}
local properties = {}

local class = {
  __index = function(self, key)
    local property = properties[key]
    if property then
      return property(self)
    end
    return methods[key]
  end,
}

local function to_us(seconds)
  return math.floor(seconds * 1e6 + 0.5)
end

-- ---- making one ----------------------------------------------------------

local world_options = {
  seed = true, start = true, link = true, hosts = true, t1 = true, t2 = true,
  dns = true,
}
local node_options = {
  script = true, source = true, files = true, addr = true, workers = true,
  listen = true, key = true, name = true,
}

local function check_options(opts, ...)
  for name in message.sorted(opts) do
    local known = false
    for _, set in ipairs { ... } do
      known = known or set[name]
    end
    if not known then
      error("unknown option '" .. name .. "'", 4)
    end
  end
end

---@return tandem.sim.Net
function net.new(opts)
  opts = opts or {}
  check_options(opts, world_options, node_options)
  local seed = opts.seed or 1
  local self = message.class({
    seed = seed, name_server = resolver.new(opts.dns),
    world = simcore.new(seed, opts.start and to_us(opts.start)),
    hosts = opts.hosts or {}, t1 = opts.t1 or 0.5, t2 = opts.t2 or 4,
    endpoints = {}, timers = {}, nodes = {}, tags = {}, names = {},
    packet_list = {}, event_list = {}, log_list = {}, sent = {}, sent_up_to = 0,
  }, class)
  if opts.link then
    self.world:link_default(opts.link)
  end
  if opts.script or opts.source or opts.listen then
    local ok, why = pcall(self.node, self, opts)
    if not ok then
      self.world:close()
      error(why, 0)
    end
  end
  return self
end

local function address_list(self, addr)
  if type(addr) == "table" then
    return addr
  end
  return { addr or ("10.0.0.%d"):format(100 + #self.nodes) }
end

-- Another proxy on the same network. Without script or source it runs what the
-- first one runs; it has the key of the cluster unless it is given another.
function methods:node(opts)
  opts = message.copy(opts)
  check_options(opts, world_options, node_options)
  local first = self.nodes[1]
  if first and not (opts.script or opts.source or opts.listen) then
    for name in message.sorted(first.opts) do
      if opts[name] == nil and (name == "script" or name == "source" or name == "files"
        or name == "workers" or name == "path" or name == "listen") then
        opts[name] = first.opts[name]
      end
    end
  end
  opts.path = opts.script or opts.path or "script.lua"
  opts.own_listeners = opts.addr == nil
  opts.addrs = address_list(self, opts.addr)
  opts.name = opts.name or (first and "proxy" .. #self.nodes + 1 or "proxy")
  local made = node.new(self, opts)
  table.insert(self.nodes, made)
  self.proxy = self.proxy or made.addr
  return made
end

local function add_endpoint(self, addr, opts)
  local made = ua.new(self, addr, opts)
  for transport in message.sorted(made.sockets) do
    self.names[made.sockets[transport].addr] = made.name
  end
  return made
end

-- A server: it answers what it is sent, 200 unless told otherwise.
---@param addr string "10.0.0.1:5060", "tcp:10.0.0.1", "tls:10.0.0.1:5061"
---@param opts string|table|nil its name, or { name =, proxy =, from =, ... }
---@return tandem.sim.Endpoint
function methods:uas(addr, opts)
  return add_endpoint(self, addr, opts)
end

-- A phone. It answers too.
methods.uac = methods.uas

-- Where endpoints send what is for the proxy: the listener of that transport of the
-- node net.proxy is an address of; else that address.
function methods:proxy_for(transport, ip)
  for _, proxy in ipairs(self.nodes) do
    if proxy.addr == self.proxy then
      return proxy:listener(transport, ip) or self.proxy
    end
  end
  return self.proxy
end

-- The address endpoints take a host of a URI for; nil when they know none.
function methods:ip_of_name(host)
  host = self.hosts[host] or host
  return address.is_ip(host) and host or dns.address(self.name_server.zone, host)
end

-- ---- time ----------------------------------------------------------------

function properties.now(self)
  return self.world:now() / 1e6
end

-- Calls fn in that many seconds. The result can be cancelled: timer:cancel().
function methods:after(seconds, fn)
  local timer = { fn = fn }
  function timer.cancel()
    timer.fn = nil
  end
  self.timers[self.world:timer(self.world:now() + to_us(seconds))] = timer
  return timer
end

local function dispatch(self, kind, id, ...)
  if kind == "timer" then
    local timer = self.timers[id]
    self.timers[id] = nil
    if timer.fn then
      timer.fn()
    end
  elseif kind == "query" then
    self.name_server:on_query(self.world, self.now, id, ...)
  elseif kind == "packet" then
    self.endpoints[id]:deliver(...)
  elseif kind == "icmp" then
    self.endpoints[id]:deliver_icmp(...)
  else
    self.endpoints[id]:on_stream(id, kind, ...)
  end
end

-- One event for an endpoint, or the time `until_us`: then false.
local function step(self, until_us)
  local kind, id, a, b, c = self.world:next(until_us)
  if not kind then
    return false
  end
  assert(not self.running, "the network runs already: not from inside a handler")
  self.running = true
  local ok, why = pcall(dispatch, self, kind, id, a, b, c)
  self.running = false
  if not ok then
    error(why, 0)
  end
  return true
end

local function check_not_running(self)
  if self.running then
    error("the network runs already: use net:after or endpoint:after in a handler", 3)
  end
end

-- Moves virtual time.
---@param seconds number
function methods:run(seconds)
  check_not_running(self)
  local target = self.world:now() + to_us(seconds)
  while step(self, target) do end -- luacheck: ignore 542
end

-- Runs until pred() is true, asked after every event an endpoint sees and at least
-- every `slice` seconds (0.01). False when `max` seconds (60) did not do.
---@param pred fun(): any
---@param max number?
---@param slice number?
---@return boolean
function methods:run_until(pred, max, slice)
  check_not_running(self)
  local target = self.world:now() + to_us(max or 60)
  slice = math.min(slice or 0.01, 1e6)
  while not pred() do
    if self.world:now() >= target then
      return false
    end
    step(self, math.min(target, self.world:now() + to_us(slice)))
  end
  return true
end

-- ---- faults --------------------------------------------------------------

local function ip_of(what)
  return type(what) == "string" and address.parse(what).ip or what.ip
end

-- Addresses may move, machines stay.
local function machine(what)
  return type(what) == "table" and what.machine or ip_of(what)
end

-- What the link between two machines does, in both directions, from now on:
-- { loss, delay, jitter, duplicate, reorder, mtu, oneway }. net:link { ... } is for
-- all that have no link of their own. Machines: endpoints, nodes or addresses.
function methods:link(a, b, opts)
  if b == nil then
    return self.world:link_default(a)
  end
  self.world:link(machine(a), machine(b), opts)
  if not opts.oneway then
    self.world:link(machine(b), machine(a), opts)
  end
end

-- Nothing passes between them; { oneway = true }: from a to b.
function methods:partition(a, b, opts)
  self.world:cut(machine(a), machine(b), true)
  if not (opts and opts.oneway) then
    self.world:cut(machine(b), machine(a), true)
  end
end

-- Ends every partition, or the one between the two.
function methods:heal(a, b)
  if not a then
    return self.world:heal()
  end
  self.world:cut(machine(a), machine(b), false)
  self.world:cut(machine(b), machine(a), false)
end

-- Split brain: all these nodes have the address and send from it, until one of them
-- takes it. What is sent to it reaches all of them; with opts.switch one, and after so
-- many seconds the next; with opts.random any. opts.from: only what that machine sends.
---@param ip string
---@param nodes tandem.sim.Node[]
---@param opts { switch: number?, random: boolean?, from: tandem.sim.Machine? }?
function methods:split(ip, nodes, opts)
  opts = opts or {}
  local ids = {}
  for i, one in ipairs(nodes) do
    ids[i] = one.id
  end
  local mode = opts.switch and "turns" or opts.random and "random" or "all"
  self.world:split(ip, mode, to_us(opts.switch or 0), opts.from and machine(opts.from) or 0,
    table.unpack(ids))
end

-- What DNS says of a name from now on (see dns.lua); nil: it does not exist. Caches
-- keep what they have.
---@param name string
---@param records string|table|nil
function methods:dns(name, records)
  dns.set(self.name_server.zone, name, records)
end

-- How the resolver is from now on: "ok"; "slow", answering after so many seconds;
-- "silent"; "refuse", nobody listens there; "servfail"; "garbage".
---@param mode string
---@param seconds number?
function methods:resolver(mode, seconds)
  self.name_server:set_mode(mode, seconds)
end

-- The questions it was asked: name, type, time, node.
function methods:queries()
  return self.name_server.asked
end

-- ---- what happened -------------------------------------------------------

-- Every datagram, message on a connection and ICMP error ever sent, oldest first:
-- time, from, to, bytes, fate, transport, node, icmp.
function methods:packets()
  local list, world = self.packet_list, self.world
  local settled = self.settled or 0
  for i = settled + 1, world:packets() do
    local time, from, to, bytes, fate, by, icmp, from_host, to_host, transport =
      world:packet(i)
    list[i] = {
      time = time / 1e6, from = from, to = to, bytes = bytes, fate = fate,
      node = by > 0 and by or nil, icmp = icmp, from_machine = from_host, to_machine = to_host,
      transport = transport,
    }
    if settled == i - 1 and fate ~= "flying" then
      settled = i
    end
  end
  self.settled = settled
  return list
end

-- The requests nodes sent with a Call-ID.
function methods:sent_by_nodes(call_id)
  local packets = self:packets()
  for i = self.sent_up_to + 1, #packets do
    local packet = packets[i]
    local what = packet.node and not packet.icmp and ladder.read(packet.bytes)
    if what and what.method and what.call_id then
      what.to = packet.to
      self.sent[what.call_id] = self.sent[what.call_id] or {}
      table.insert(self.sent[what.call_id], what)
    end
  end
  self.sent_up_to = #packets
  return self.sent[call_id] or {}
end

-- Log events as tables: time, level, event, node, worker, and their fields.
function properties.events(self)
  local list, world = self.event_list, self.world
  for i = #list + 1, world:logs() do
    local time, by, worker, level, key, event = world:log(i)
    event.time, event.node, event.worker = time / 1e6, by, worker
    event.level, event.event = level, key
    list[i] = event
  end
  return list
end

-- The same as the lines an operator sees.
function properties.logs(self)
  local list, world = self.log_list, self.world
  for i = #list + 1, world:logs() do
    list[i] = world:log_line(i)
  end
  return list
end

local function matches(event, match)
  for name in message.sorted(match) do
    local wanted = match[name]
    if type(wanted) == "function" then
      if not wanted(event[name]) then
        return false
      end
    elseif event[name] ~= wanted then
      return false
    end
  end
  return true
end

-- How many log events of that key there were, with these fields.
---@param event string
---@param match table?
function methods:count(event, match)
  local n = 0
  for _, e in ipairs(self.events) do
    if e.event == event and matches(e, match or {}) then
      n = n + 1
    end
  end
  return n
end

-- 16 hex digits of all that happened: equal runs, equal hashes.
function methods:trace_hash()
  return self.world:hash()
end

-- The call flow of one call, or of a table of options (see ladder.lua), or of
-- everything but OPTIONS.
---@return string
function methods:ladder(what)
  if type(what) == "table" and what.id then
    what = { call = what }
  end
  return ladder.text(self, what)
end

local function server_name(self, addr)
  for _, proxy in ipairs(self.nodes) do
    local name = self.world:member_at(proxy.id, addr)
    if name then
      self.names[addr] = name:match "/(.*)$"
    end
  end
  return self.names[addr]
end

-- The name of what has an address: the pool's server, the endpoint, the node, or
-- the address itself. `owner`: the machine that had it at the time.
function methods:name_of(addr, owner)
  local name = server_name(self, addr)
  if name then
    return name
  end
  local ip = ip_of(addr)
  for _, list in ipairs { self.nodes, self.endpoints } do
    for _, one in ipairs(list) do
      if one.machine == owner or (not owner and (one.ip == ip)) then
        return one.name
      end
    end
  end
  return addr
end

-- Hex digits, different every time and the same for the same seed.
function methods:token(digits)
  return string.format("%016x", self.world:random()):sub(1, digits)
end

-- ---- the first proxy, for short ------------------------------------------

local function first(self)
  return self.nodes[1] or error("this network has no proxy", 3)
end

function properties.pools(self)
  return first(self).pools
end

function methods:metric(name, labels)
  return first(self):metric(name, labels)
end

function methods:reload(what)
  return first(self):reload(what)
end

function methods:write(name, bytes)
  first(self):write(name, bytes)
end

-- ---- the end -------------------------------------------------------------

local function problems(self)
  local list = {}
  for _, proxy in ipairs(self.nodes) do
    for _, problem in ipairs(proxy:leftovers()) do
      list[#list + 1] = problem
    end
  end
  return list
end

-- Until nothing is left, but no longer than Timer C and 64*T1 take.
local function settle(self)
  for _ = 1, 300 do
    for _, proxy in ipairs(self.nodes) do
      proxy:let_go()
    end
    if #problems(self) == 0 then
      return
    end
    self:run(1)
  end
end

local function script_errors(self)
  local sum = 0
  for _, proxy in ipairs(self.nodes) do
    sum = sum + proxy:errors()
  end
  return sum
end

local function check_errors(self, expected, list)
  local errors = script_errors(self)
  if errors == expected then
    return
  end
  table.insert(list, ("%d script errors, %d expected"):format(errors, expected))
  for _, line in ipairs(self.logs) do
    if line:find "level=error" then
      table.insert(list, line)
    end
  end
end

-- Ends the simulation: stops checks and script timers, forgets the calls that nobody
-- hung up, closes the connections of endpoints, lets what absorbs run out, and fails
-- when anything is left, a server still counts something or a script failed. opts:
-- errors = how many script errors the test meant to cause.
function methods:finish(opts)
  if self.finished then
    return
  end
  self.finished, self.running = true, false
  for _, proxy in ipairs(self.nodes) do
    proxy:resume()
    proxy:quiesce()
  end
  for _, endpoint in ipairs(self.endpoints) do
    endpoint:close()
  end
  settle(self)
  local list = problems(self)
  check_errors(self, opts and opts.errors or 0, list)
  local logs = #list > 0 and self.logs or {}
  self.world:close()
  if #list > 0 then
    error(("not clean at the end (seed %d):\n  %s\n%s"):format(self.seed,
      table.concat(list, "\n  "), table.concat(logs, "\n", math.max(1, #logs - 20))), 2)
  end
end

return net
