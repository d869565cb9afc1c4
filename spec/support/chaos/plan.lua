-- What one seed is about: which machines there are, what runs on them, what goes wrong
-- and how often. A seed takes a part of all that may happen and not a little of
-- everything (swarm testing): what is rare together becomes common in some seeds.
local policies = require "support.chaos.policies"
local random = require "support.chaos.random"
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local plan = {}

local names = { "a", "b", "c", "d" }

-- Where the servers are: most often UDP, sometimes others, sometimes a name.
local function servers(self, rnd, policy)
  local list = {}
  local n = rnd:int(3) + 1
  local mixed, named = rnd:chance(0.35), rnd:chance(0.2)
  local tiers = rnd:chance(0.5)
  for i = 1, n do
    local transport = mixed and rnd:pick { "udp", "tcp", "tls" } or "udp"
    local ip = "10.0.0." .. i
    local host = ip
    if named and rnd:chance(0.5) then
      host = names[i] .. ".example.com"
      self.dns[host] = { ip, ttl = rnd:int(20) }
    end
    local params = transport == "udp" and "" or ";transport=" .. transport
    list[i] = {
      name = names[i], ip = ip, transport = transport, host = host,
      uri = "sip:" .. host .. params, tier = tiers and i or 1, weight = rnd:int(3),
      addr = (transport == "udp" and "" or transport .. ":") .. ip,
    }
  end
  if policy.shares then
    for _, server in ipairs(list) do
      server.transport, server.addr, server.host = "udp", server.ip, server.ip
      server.uri = "sip:" .. server.ip
    end
  end
  return list
end

local function example_servers(example)
  local list = {}
  for i, ip in ipairs(example.servers) do
    list[i] = { name = names[i], ip = ip, transport = "udp", addr = ip, host = ip }
  end
  return list
end

local listeners = '"udp:%s:5060", "tcp:%s:5060", '
  .. '{ "tls:%s:5061", cert = "sip.pem", key = "sip.key" }'

-- One proxy; two with a virtual address; or several side by side.
local function layout(self, rnd)
  local kind = rnd:pick { "one", "one", "pair", "pair", "pair", "cluster" }
  self.layout = kind
  self.vip = "10.0.0.100"
  if kind == "pair" then
    local all = {}
    for _, ip in ipairs { self.vip, "10.0.0.101", "10.0.0.102" } do
      all[#all + 1] = listeners:format(ip, ip, ip)
    end
    self.listen = table.concat(all, ", ")
    self.nodes = { { self.vip, "10.0.0.101" }, { "10.0.0.102" } }
    return
  end
  self.listen = listeners:format("0.0.0.0", "0.0.0.0", "0.0.0.0")
  self.nodes = {}
  for i = 1, kind == "one" and 1 or rnd:int(3) + 1 do
    self.nodes[i] = { "10.0.0." .. 99 + i }
  end
end

local function phones(rnd, udp_only)
  local list = {}
  for i = 1, 4 + rnd:int(3) do
    list[i] = { name = "p" .. i, addr = "192.0.2." .. i }
  end
  if not udp_only and rnd:chance(0.5) then
    table.insert(list, { name = "tcp1", addr = "tcp:192.0.2.21" })
    table.insert(list, { name = "tcp2", addr = "tcp:192.0.2.22" })
    table.insert(list, { name = "tls1", addr = "tls:192.0.2.23" })
    table.insert(list, { name = "nat1", addr = "tcp:192.0.2.24", private = "192.168.0.2" })
  end
  return list
end

-- The network as it always is in this seed.
local function link(rnd)
  local function some(p, most)
    return rnd:chance(p) and most * rnd:unit() ^ 2 or 0
  end
  return {
    delay = 0.001 + some(0.5, 0.05), jitter = some(0.6, 0.05), loss = some(0.6, 0.15),
    duplicate = some(0.5, 0.1), reorder = some(0.5, 0.1),
  }
end

-- Kinds of fault, which may happen in this seed; each so many seconds on average.
local function swarm(self, rnd, kinds)
  self.faults = {}
  if rnd:chance(0.05) then
    return -- and now and then nothing at all
  end
  for _, kind in ipairs(kinds) do
    if rnd:chance(0.3) then
      table.insert(self.faults, { kind = kind, every = math.exp(rnd:between(1.5, 4)) })
    end
  end
end

-- kinds: names of all faults, in an order that does not change.
---@param seed integer
---@param kinds string[]
---@param opts table? calls, span
function plan.new(seed, kinds, opts)
  opts = opts or {}
  local rnd = random.new(seed, "plan")
  local self = {
    seed = seed, dns = {}, calls = opts.calls or 500, workers = rnd:int(4),
    interval = rnd:pick { 2, 2, 5 }, settings = rnd:chance(0.5)
      and 'state_dir = "/var/lib/tandem",' or "",
  }
  self.span = opts.span or self.calls * rnd:between(0.1, 0.5)
  if rnd:chance(0.12) then
    self.example = rnd:pick(policies.examples)
    self.policy, self.layout = self.example, "one"
    self.nodes = { { "10.0.0.100" } }
    self.servers = example_servers(self.example)
    self.phones = phones(rnd, true)
  else
    self.policy = rnd:pick(policies.list)
    self.servers = servers(self, rnd, self.policy)
    layout(self, rnd)
    self.phones = phones(rnd)
  end
  self.link = link(rnd)
  swarm(self, rnd, kinds)
  return self
end

return plan
