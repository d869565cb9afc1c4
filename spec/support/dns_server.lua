-- A real DNS server for e2e specs: dnsmasq in the foreground, on a loopback port, with
-- nothing but what a test says. (The package dnsmasq-base has the program only; a server
-- that comes with a service of the system would be in the way of whoever runs specs.)
--
--   local dns = dns_server.start { port = 5353, records = { ... } }
--   dns:change { ... }      -- another zone
--   dns:kill()              -- nobody answers any more, and ICMP says so
--
-- A record is a table whose first word is its kind:
--   { "srv", "_sip._udp.trunk.example", "gw1.trunk.example", port, priority, weight }
--   { "naptr", "trunk.example", order, preference, "SIP+D2U", "_sip._udp.trunk.example" }
--   { "host", "gw1.trunk.example", "127.0.0.1", ... }
local process = require "support.process"
local ipairs, setmetatable, string, table = ipairs, setmetatable, string, table

local _ENV = nil

local dns_server = {}
local Server = {}
Server.__index = Server

local write = {}

function write.srv(name, target, port, priority, weight)
  return string.format("srv-host=%s,%s,%d,%d,%d", name, target, port, priority, weight)
end

function write.naptr(name, order, preference, service, replacement)
  return string.format("naptr-record=%s,%d,%d,s,%s,,%s", name, order, preference, service,
    replacement)
end

function write.host(name, ...)
  return string.format("host-record=%s,%s", name, table.concat({ ... }, ","))
end

-- `local` of a domain: what is not said there does not exist.
local function config(self, records)
  local lines = {
    "port=" .. self.port, "listen-address=" .. self.address, "bind-interfaces", "no-resolv",
    "no-hosts", "local=/example/", "local-ttl=" .. self.ttl, "log-queries", "log-facility=-",
    "user=root", "group=root", "pid-file=",
  }
  for _, record in ipairs(records) do
    lines[#lines + 1] = write[record[1]](table.unpack(record, 2))
  end
  return table.concat(lines, "\n") .. "\n"
end

local function run(self, records)
  self.process = process.start {
    name = "dns", limit = self.limit, inside = self.inside,
    argv = { "dnsmasq", "-k", "-C", process.write("dns.conf", config(self, records)) },
  }
  self.process:wait_bound(self.port)
end

-- Options: port, ttl (seconds, 1), records; address (127.0.0.1), inside (a
-- support.netns), limit (seconds, 60).
function dns_server.start(options)
  local self = setmetatable({
    port = options.port, ttl = options.ttl or 1, address = options.address or "127.0.0.1",
    inside = options.inside, limit = options.limit or 60,
  }, Server)
  run(self, options.records)
  return self
end

function Server:kill()
  self.process:kill()
end

-- It reads its zone at the start only.
function Server:change(records)
  self:kill()
  run(self, records)
end

-- How often a type was asked for: "SRV", "NAPTR".
function Server:asked(kind)
  local _, n = string.gsub(self.process:output(), "query%[" .. kind .. "%]", "")
  return n
end

return dns_server
