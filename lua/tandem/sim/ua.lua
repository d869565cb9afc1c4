-- An endpoint: a user agent on one address of the simulated network. Every
-- endpoint can call and be called; `net:uas` and `net:uac` differ in what they
-- say about it, not in what they make.
local message = require "tandem.sim.message"
local uac = require "tandem.sim.uac"
local uas = require "tandem.sim.uas"
local error, ipairs, string, table, type = error, ipairs, string, table, type

local _ENV = nil

local ua = {}

---@class tandem.sim.Endpoint
local methods = {}
methods.__index = methods

for _, half in ipairs { uac, uas } do
  for name in message.sorted(half.methods) do
    methods[name] = half.methods[name]
  end
end

-- What is lost when the process dies.
local function forget(self)
  self.epoch = self.epoch + 1
  self.clients, self.servers, self.dialogs = {}, {}, {}
end

local function split_addr(addr)
  local ip, port = addr:match "^%[(.-)%]:(%d+)$"
  if not ip then
    ip, port = addr:match "^([^:]+):(%d+)$"
  end
  return ip, port
end

local function with_port(addr)
  if split_addr(addr) then
    return addr
  elseif addr:find ":" and not addr:find "^%[" then
    return "[" .. addr .. "]:5060"
  end
  return addr .. ":5060"
end

-- "sip:alice@192.0.2.7:5060"; host is the address as a URI has it.
local function describe(self)
  local user = self.name:gsub("[^%w%-_.]", "-")
  self.host = self.addr:gsub(":5060$", "")
  self.contact = string.format("<sip:%s@%s>", user, self.private or self.addr)
  self.aor = string.format("sip:%s@%s", user, self.host)
end

---@return tandem.sim.Endpoint
function ua.new(net, addr, opts)
  if type(opts) == "string" then
    opts = { name = opts }
  end
  opts = opts or {}
  addr = with_port(addr)
  local self = {
    net = net, addr = addr, ip = split_addr(addr), name = opts.name,
    proxy = opts.proxy, from = opts.from, epoch = 0,
    private = opts.private and with_port(opts.private), mode = "open",
    received = {}, garbage = {}, icmp = {}, calls = {},
    rules = {}, queued = {}, unacked = 0,
  }
  forget(self)
  self.id, self.machine = net.world:attach(addr)
  if not self.id then
    error("the address " .. addr .. " is taken", 3)
  end
  self.name = self.name or self.ip
  describe(self)
  self.aor = opts.from or self.aor
  return message.class(self, methods)
end

-- ---- on the wire ---------------------------------------------------------

-- Sends bytes as they are, whatever the endpoint is in the mood for.
---@param bytes string
---@param to string? address; the proxy
function methods:send(bytes, to)
  self.net.world:send(self.id, with_port(to or self:next_hop()), bytes)
end

-- What its transactions send: nothing while it is silent or dead.
function methods:transmit(bytes, to)
  if self.mode == "open" then
    self.net.world:send(self.id, to, bytes)
  end
end

-- Calls fn later, unless the process has died by then.
function methods:after(seconds, fn)
  local epoch = self.epoch
  return self.net:after(seconds, function()
    if epoch == self.epoch then
      fn()
    end
  end)
end

-- Where requests go: the proxy, or without one where the URI says.
---@param uri string?
---@return string address
function methods:next_hop(uri)
  local hop = self.proxy or self.net.proxy
  if hop then
    return with_port(hop)
  end
  return self:resolve(uri)
end

-- The address a URI names.
function methods:resolve(uri)
  local parsed = message.uri(uri)
  if not parsed then
    error("no address for " .. (uri or "nothing") .. ": no proxy is there", 0)
  end
  local host = self.net.hosts[parsed.host] or parsed.host
  if not host:find "^[%d.]+$" and not host:find "^%[" then
    return self:next_hop(nil)
  end
  return host .. ":" .. (parsed.port or 5060)
end

local function remember(self, msg, from)
  msg.time, msg.source = self.net.now, from
  table.insert(self.received, msg)
end

-- A datagram came.
function methods:deliver(from, bytes)
  local msg, why = message.parse(bytes)
  if not msg then
    table.insert(self.garbage, { bytes = bytes, why = why, time = self.net.now })
    return
  end
  remember(self, msg, from)
  if self.mode ~= "open" then
    return
  elseif msg.method then
    self:on_request(msg)
  else
    self:on_response(msg)
  end
end

-- An ICMP error came. Like most phones it takes no notice but notes it down.
function methods:deliver_icmp(from, quoted)
  table.insert(self.icmp, { time = self.net.now, from = from, quoted = quoted })
end

-- What it was sent: requests of a method, or responses with a code. Every
-- retransmission counts.
---@param what string|integer
---@return tandem.sim.Message[]
function methods:got(what)
  local list = {}
  for _, msg in ipairs(self.received) do
    if what == msg.method or what == msg.code then
      list[#list + 1] = msg
    end
  end
  return list
end

-- ---- faults --------------------------------------------------------------

local function set_mode(self, mode)
  self.mode = mode
  self.net.world:refuse(self.id, mode == "refuse")
  self.net.world:power(self.machine, mode ~= "off")
end

-- It hears and does not answer, like a process that hangs.
function methods:silence()
  set_mode(self, "silent")
end

-- Nobody listens on the port any more: ICMP port unreachable.
function methods:refuse()
  set_mode(self, "refuse")
end

-- The process died: the same, and it has forgotten its calls.
function methods:crash()
  forget(self)
  set_mode(self, "refuse")
end

-- The whole machine went: silence, and no call is remembered.
function methods:power_off()
  forget(self)
  set_mode(self, "off")
end

function methods:resume()
  set_mode(self, "open")
end

return ua
