-- An endpoint: a user agent on one address of the simulated network. Every
-- endpoint can call and be called; `net:uas` and `net:uac` differ in what they
-- say about it, not in what they make.
local address = require "tandem.sim.address"
local message = require "tandem.sim.message"
local stream = require "tandem.sim.stream"
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
  self.clients, self.servers, self.dialogs, self.streams = {}, {}, {}, {}
end

-- "sip:alice@192.0.2.7:5060"; host is the address as a URI has it.
local function describe(self)
  self.user = self.name:gsub("[^%w%-_.]", "-")
  self.host = self.addr:gsub(":5060$", "")
  self.contact = nil
  self.contact = self:contact_by(self.transport) -- a spec may set another
  self.aor = string.format("sip:%s@%s", self.user, self.host)
end

-- One socket per transport; that of TLS has a port of its own.
local function attach(self, at, transports)
  for _, transport in ipairs(transports) do
    local port = at.port
    if transport == "tls" and #transports > 1 then
      port = port + 1
    end
    local one = address.parse(at.addr:gsub("%d+$", "") .. ("%d"):format(port), transport)
    local id, machine = self.net.world:attach(transport, one.addr)
    if not id then
      error("the address " .. one.addr .. " is taken", 4)
    end
    self.sockets[transport] = { id = id, addr = one.addr }
    self.net.endpoints[id], self.machine = self, machine
    self.id = self.id or id
  end
end

---@return tandem.sim.Endpoint
function ua.new(net, addr, opts)
  if type(opts) == "string" then
    opts = { name = opts }
  end
  opts = opts or {}
  local transports = opts.transports
  local at = address.parse(addr, transports and #transports == 1 and transports[1])
  transports = transports or { at.transport }
  local self = message.class({
    net = net, ip = at.ip, name = opts.name or at.ip,
    proxy = opts.proxy, from = opts.from, epoch = 0,
    private = opts.private and address.parse(opts.private, at.transport).addr,
    listens = opts.listen ~= false and not opts.private,
    transport = transports[1], sockets = {}, contacts = {}, ended = {},
    keepalives = 0,
    received = {}, garbage = {}, icmp = {}, calls = {},
    rules = {}, queued = {}, unacked = 0,
  }, methods)
  forget(self)
  attach(self, at, transports)
  self.addr = self.sockets[self.transport].addr
  describe(self)
  self.aor = opts.from or self.aor
  if opts.tls then
    self:identity(opts.tls)
  end
  self:resume()
  return self
end

-- Its Contact when it is reached by that transport.
function methods:contact_by(transport)
  local contact = transport == self.transport and self.contact or self.contacts[transport]
  if not contact then
    local param = transport == "udp" and "" or ";transport=" .. transport
    local addr = self.private or self.sockets[transport].addr
    contact = string.format("<sip:%s@%s%s>", self.user, addr, param)
    self.contacts[transport] = contact
  end
  return contact
end

-- ---- on the wire ---------------------------------------------------------

local function send_to(self, bytes, to)
  if address.transport(to) ~= "udp" then
    return stream.to(self, to):send(bytes)
  elseif not self.sockets.udp then
    error(("%s has no udp socket to reach %s"):format(self.name, to), 0)
  end
  self.net.world:send(self.sockets.udp.id, to, bytes)
end

-- Sends bytes as they are, whatever the endpoint is in the mood for.
---@param bytes string
---@param to string? address; the proxy
function methods:send(bytes, to)
  return send_to(self, bytes, to and self:hop(to) or self:next_hop())
end

-- What its transactions send: nothing while it is silent or dead. `to` is a hop, or
-- the way back of a request: the connection it came on, and where else.
---@return tandem.sim.Connection? that it uses
function methods:transmit(bytes, to)
  if self.mode ~= "open" then
    return
  elseif type(to) == "string" then
    return send_to(self, bytes, to)
  elseif to.conn.state == "closed" then
    return send_to(self, bytes, to.otherwise)
  end
  return to.conn:send(bytes)
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

-- "10.0.0.1", "tcp:10.0.0.1:5060" as a hop; by its own transport if none is said.
function methods:hop(text)
  return address.hop(address.parse(text, self.transport))
end

-- Where requests go: the proxy, or without one where the URI says.
---@param uri string?
---@return string hop
function methods:next_hop(uri)
  if self.proxy then
    return self:hop(self.proxy)
  elseif self.net.proxy then
    return self:hop(self.net:proxy_for(self.transport, self.ip))
  end
  return self:resolve(uri)
end

-- The hop a URI names. Without a transport it is the endpoint's own, but for a
-- route set that is UDP (RFC 3263 4.1).
---@param uri string?
---@param strict boolean?
---@return string hop
function methods:resolve(uri, strict)
  local parsed = message.uri(uri and (uri:find "<" and uri or "<" .. uri .. ">"))
  if not parsed then
    error("no address for " .. (uri or "nothing") .. ": no proxy is there", 0)
  end
  local host = self.net:ip_of_name(parsed.host)
  if not host then
    return self:next_hop(nil)
  end
  local transport = parsed.transport or (strict and "udp") or self.transport
  if parsed.port then
    host = host .. ":" .. ("%d"):format(parsed.port)
  end
  return address.hop(address.parse(host, transport))
end

-- ---- what comes ----------------------------------------------------------

-- A message came: a datagram, or on a connection.
---@param from string
---@param bytes string
---@param conn tandem.sim.Connection?
function methods:deliver(from, bytes, conn)
  local msg, why = message.parse(bytes)
  if not msg then
    table.insert(self.garbage, { bytes = bytes, why = why, time = self.net.now })
    return
  end
  msg.time, msg.source, msg.conn = self.net.now, from, conn
  msg.transport = conn and conn.transport or "udp"
  table.insert(self.received, msg)
  if self.mode ~= "open" then
    return
  elseif msg.method then
    self:on_request(msg)
  else
    self:on_response(msg)
  end
end

-- The world tells of one of its connections.
function methods:on_stream(id, kind, side, ...)
  for _, transport in ipairs { "tcp", "tls" } do
    local socket = self.sockets[transport]
    if socket and socket.id == id then
      stream.on_event(self, transport, kind, side, ...)
    end
  end
end

function methods:answer_ping(conn)
  if self.mode == "open" then
    conn:send "\r\n"
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

-- ---- connections ---------------------------------------------------------

-- Those that are open, oldest first.
---@return tandem.sim.Connection[]
function methods:connections()
  return stream.list(self)
end

-- Opens another one, and sends nothing.
---@param to string? address; the proxy
---@return tandem.sim.Connection
function methods:connect(to)
  return stream.connect(self, to and self:hop(to) or self:next_hop())
end

-- Sends bytes as they are on its connection to the proxy, which is opened if need be:
-- in pieces of n bytes, and these so many seconds apart.
---@param bytes string
---@param n integer?
---@param every number?
---@return tandem.sim.Connection
function methods:raw(bytes, n, every)
  return stream.to(self, self:next_hop()):send(bytes, n, every)
end

-- A keep-alive on that connection; endpoint.keepalives counts the answers.
function methods:ping()
  stream.to(self, self:next_hop()):ping()
end

-- Ends all its connections after what was sent on them.
function methods:close()
  for _, conn in ipairs(stream.list(self)) do
    conn:close()
  end
end

-- Resets them.
function methods:reset()
  for _, conn in ipairs(stream.list(self)) do
    conn:reset()
  end
end

-- What it shows to who speaks TLS with it from now on.
---@param tls table names, issuer, expired, wants_client
function methods:identity(tls)
  if not self.sockets.tls then
    error(self.name .. " does not speak TLS", 2)
  end
  self.net.world:tls(self.sockets.tls.id, tls)
end

-- ---- faults --------------------------------------------------------------

local of_world = { refuse = "refuse", stall = "stall" }

local function set_mode(self, mode)
  self.mode = mode
  for transport in message.sorted(self.sockets) do
    local known = of_world[mode] or "open"
    if transport == "udp" then
      known = known == "stall" and "open" or known
    elseif known == "open" and not self.listens then
      known = "refuse"
    end
    self.net.world:mode(self.sockets[transport].id, known)
  end
  self.net.world:power(self.machine, mode ~= "off")
end

-- It hears and does not answer, like a process that hangs.
function methods:silence()
  set_mode(self, "silent")
end

-- The same, and what is sent to it on connections, or to open one, is not taken
-- either.
function methods:stall()
  set_mode(self, "stall")
end

-- Nobody listens on the port any more: ICMP port unreachable, and connections are
-- reset.
function methods:refuse()
  self:reset()
  set_mode(self, "refuse")
end

-- The process died: the same, and it has forgotten its calls.
function methods:crash()
  self:refuse()
  forget(self)
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
