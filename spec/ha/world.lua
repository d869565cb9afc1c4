-- Two machines with Tandem and keepalived, two servers, callers and an observer, each in a
-- network namespace of its own, on one wire:
--
--   local w, why = world.open { layout = "two-vips", advert = 0.1 }
--   w:start_machines()          -- proxy and keepalived on both
--   w:start_load { rate = 100, hold = 20 }
--   ... w:kill "sip1" ...
--   w:stop_load()
--   local calls, senders = w:read()
--
-- Script, keepalived's configuration and its scripts are those that Tandem comes with; of
-- the configuration only the lines are others that say whose machine it is.
local account = require "ha.account"
local http = require "support.http"
local netns = require "support.netns"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"
local socket = require "socket"
local assert, ipairs, pairs, setmetatable = assert, ipairs, pairs, setmetatable
local math, os, string, table, tonumber = math, os, string, table, tonumber

local _ENV = nil

local world = {}
local World = {}
World.__index = World

local here = os.getenv "PWD" .. "/"
local phone, probe = "192.0.2.7", "192.0.2.254"
local vips = { "192.0.2.100", "192.0.2.200" }
local machines = { "sip1", "sip2" }
local own = { sip1 = "192.0.2.11", sip2 = "192.0.2.12" }
local servers = { a = "10.0.0.1", b = "10.0.0.2" }

-- How callers behave: of a hundred calls so many.
local mix = { answer = 80, busy = 10, ring = 10 }

world.now = socket.gettime

-- ---- the wire ----

-- The shipped file; of the lines at its top that say whose it is, those have others values
-- that name paths, the user, and what a test wants.
local function configuration(layout, advert, changes)
  local text = assert(process.read("dist/keepalived/" .. layout .. ".conf"))
  local replace = { ADVERT = advert, USER = "root", SCRIPTS = here .. "dist/keepalived" }
  for key, value in pairs(replace) do
    local n
    text, n = text:gsub("\n%$" .. key .. "=[^\n]*", "\n$" .. key .. "=" .. value)
    assert(n == 1, key)
  end
  -- The folders above a work tree may be writable for others.
  text = text:gsub("\n *enable_script_security", "")
  for old, new in pairs(changes or {}) do
    text = text:gsub(old, new)
  end
  return process.write("keepalived.conf", text)
end

-- options: layout ("active-standby", "two-vips", "single"), advert (seconds), limit
-- (seconds that all of it may live, 60), binary (of the proxy), replace (of patterns in
-- keepalived's configuration), edit (a function: the script as it is to be).
-- nil and why not, when the kernel does not let us.
function world.open(options)
  local limit = options.limit or 60
  local lan, why = netns.lan({
    hub = probe .. "/24", phone = phone .. "/24",
    sip1 = own.sip1 .. "/24", sip2 = own.sip2 .. "/24",
    a = servers.a .. "/24", b = servers.b .. "/24",
  }, limit)
  if not lan then
    return nil, why
  end
  for _, name in ipairs(machines) do
    lan[name]:ip "route add 10.0.0.0/24 dev eth0"
    lan[name]:run "sysctl -qw net.ipv4.conf.all.arp_announce=2" -- docs/how-to/keepalived.md
  end
  for name in pairs(servers) do
    lan[name]:ip "route add 192.0.2.0/24 dev eth0"
  end
  local self = setmetatable({
    lan = lan, limit = limit, binary = options.binary, advert = options.advert or 0.1,
    layout = options.layout or "active-standby",
    edit = options.edit or function(text) return text end,
    proxies = {}, keepalived = {}, mac = {}, callers = {}, started = {},
  }, World)
  self.vips = self.layout == "two-vips" and vips or { vips[1] }
  for _, name in ipairs(machines) do
    local text = lan[name]:ip "link show dev eth0":match "link/ether (%S+)"
    self.mac[name] = text
  end
  sh.run("mkdir -p " .. process.path "sip1" .. " " .. process.path "sip2")
  process.write("key", string.rep("0123456789abcdef", 2))
  sh.run("chmod 600 " .. process.path "key")
  if self.layout ~= "single" then
    self.configuration = configuration(self.layout, self.advert, options.replace)
  end
  return self
end

function world.other(name)
  return name == "sip1" and "sip2" or "sip1"
end

-- Has this machine the n-th virtual address (1)?
function World:has(name, n)
  return self.lan[name]:ip "-br addr show dev eth0":find(self.vips[n or 1] .. "/", 1, true)
end

-- Who alone has it: a name; nil: nobody, or both.
function World:holder(n)
  if self:has("sip1", n) then
    return not self:has("sip2", n) and "sip1" or nil
  end
  return self:has("sip2", n) and "sip2" or nil
end

-- Waits until this machine alone has the address.
function World:await(name, n, seconds)
  assert(process.eventually(seconds or 20, function()
    return self:holder(n) == name
  end), name .. " does not get the address")
end

-- ---- machines ----

-- The observer at the bridge would see messages that leave together as one.
local function values(name)
  return { ["/etc/tandem/key"] = here .. process.path "key",
    ["/var/lib/tandem"] = here .. process.path(name),
    ["  drain_notice = 5,"] = "  udp = { gso = false },\n  drain_notice = 5," }
end

-- Tandem with the shipped script; the paths are ours. Returns when it serves.
function World:start_proxy(name)
  local n = (self.started[name] or 0) + 1
  self.started[name] = n
  local p = proxy.start {
    name = name .. "-" .. n, binary = self.binary, level = "info", limit = self.limit,
    inside = self.lan[name], source = self.edit(proxy.example("two-machines", values(name))),
    args = { "--ctl", process.path(name .. ".sock") },
  }
  self.proxies[name] = p
  return p
end

local function await_servers(p)
  for server in pairs(servers) do
    p:wait_logged("server.health", { server = server, to = "up" }, 10)
  end
end

function World:start_keepalived(name)
  local n = (self.started[name .. "-ka"] or 0) + 1
  self.started[name .. "-ka"] = n
  self.keepalived[name] = process.start {
    name = "keepalived-" .. name .. "-" .. n, inside = self.lan[name], limit = self.limit,
    env = ("TANDEM=%sbuild/tandem TANDEM_LUA=%slua TANDEM_VRRP_DIR=%s"):format(here, here,
      here .. process.path(name)),
    argv = { "keepalived", "-n", "-l", "-D", "-P", "-i", name, "-f", self.configuration,
      "-p", here .. process.path(name .. ".ka"), "-r", here .. process.path(name .. ".vrrp") },
  }
end

-- Both, and each address where it belongs: the first one on sip1.
function World:start_machines()
  for _, name in ipairs(machines) do
    self:start_proxy(name)
  end
  for i, name in ipairs(machines) do
    self:start_keepalived(name)
    if self.vips[i] and self.layout == "active-standby" then
      self:await(name, i)
    end
  end
  for i in ipairs(self.vips) do
    self:await(machines[i], i, 30)
  end
  for _, name in ipairs(machines) do
    await_servers(self.proxies[name])
  end
end

-- The proxy alone, on one machine that has the address for good.
function World:start_single(name)
  self.lan[name]:ip(("addr add %s/24 dev eth0"):format(self.vips[1]))
  await_servers(self:start_proxy(name))
end

-- ---- what befalls them ----

-- SIGKILL of the proxy.
function World:kill(name)
  local p = self.proxies[name]
  p.expected = 137
  sh.run("kill -s KILL " .. p:pid())
  p:wait()
end

-- As `systemctl restart`: TERM, and a new process when it has ended.
function World:restart_proxy(name)
  self.proxies[name]:signal "TERM"
  assert(self.proxies[name]:wait() == 0)
  self:start_proxy(name)
end

-- "POST": drains; "DELETE": no more.
function world.drain(name, method)
  assert((http.ask(process.path(name .. ".sock"), "/v1/drain", { method = method })) == 200)
end

-- Ends well: TERM, which gives the address away.
function World:stop_keepalived(name)
  self.keepalived[name]:signal "TERM"
  self.keepalived[name]:wait()
end

-- Where somebody believes an address to be; without a place he asks again.
local function point(self, who, address, mac)
  if mac then
    self.lan[who]:ip(("neigh replace %s lladdr %s dev eth0 nud permanent"):format(address, mac))
  else
    self.lan[who]:ip(("neigh del %s dev eth0"):format(address))
  end
end

-- The machines do not hear each other's adverts; nothing else is lost. On the wire
-- between them, so that both are deaf, and hear again, at the same moment.
local function deafen(self, yes)
  local nft = function(words) self.lan.hub:run("nft '" .. words .. "'") end
  if yes then
    nft "add table bridge deaf"
    nft "add chain bridge deaf forward { type filter hook forward priority 0; }"
    nft "add rule bridge deaf forward ip protocol vrrp drop"
  else
    nft "delete table bridge deaf"
  end
end

-- Split brain, for so many seconds: the machines do not hear each other, both have the
-- addresses. Twice a second callers and servers are made to see the other one, and not the
-- same one. The prober is left to what machines claim.
function World:split(seconds)
  local began = world.now()
  deafen(self, true)
  for n in ipairs(self.vips) do
    assert(process.eventually(20, function()
      return self:has("sip1", n) and self:has("sip2", n)
    end), "they hear each other")
  end
  for i = 1, seconds * 2 do
    for n, vip in ipairs(self.vips) do
      point(self, "phone", vip, self.mac[machines[(i + n) % 2 + 1]])
      point(self, "a", vip, self.mac[machines[(i // 2 + n) % 2 + 1]])
      point(self, "b", vip, self.mac[machines[(i // 3 + n) % 2 + 1]])
    end
    process.sleep(math.max(0, began + i * 0.5 - world.now()))
  end
  deafen(self, false)
  for n, vip in ipairs(self.vips) do
    assert(process.eventually(10, function() return self:holder(n) end), "nobody gives way")
    for _, who in ipairs { "phone", "a", "b" } do
      point(self, who, vip)
    end
  end
end

-- ---- callers, servers, observer ----

function World:start_servers(ring)
  self.ring = ring or 2
  for name, address in pairs(servers) do
    process.start {
      name = "server-" .. name, inside = self.lan[name], limit = self.limit,
      argv = { "lua5.4", "spec/ha/callee.lua", address, 5060, self.ring,
        process.path("server-" .. name .. ".counts") },
    }
  end
end

-- What servers count (spec/ha/callee.lua), together.
function world.counts()
  local sum = {}
  for name in pairs(servers) do
    local text = process.read(process.path("server-" .. name .. ".counts")) or ""
    for key, value in text:gmatch "(%w+)=(%d+)" do
      sum[key] = (sum[key] or 0) + tonumber(value)
    end
  end
  return sum
end

function World:start_observers()
  self.pcap = process.path "wire.pcap"
  self.observer = process.start {
    name = "observer", inside = self.lan.hub, limit = self.limit,
    argv = { "dumpcap", "-i", "br0", "-P", "-q", "-B", "64", "-s", "1000", "-w",
      here .. self.pcap, "-f", "udp port 5060 and not host " .. probe },
  }
  assert(process.eventually(10, function()
    return process.read(self.pcap)
  end), "nobody observes")
  self.probes = {}
  for n, vip in ipairs(self.vips) do
    self.probes[n] = process.path("probe-" .. n .. ".times")
    process.start {
      name = "prober-" .. n, inside = self.lan.hub, limit = self.limit,
      argv = { "lua5.4", "spec/ha/prober.lua", vip .. ":5060", probe, self.probes[n] },
    }
  end
end

-- options: rate (calls per second over all), hold (seconds). They call until stop_load.
function World:start_load(options)
  for n, vip in ipairs(self.vips) do
    for kind, share in pairs(mix) do
      table.insert(self.callers, sipp.start("spec/ha/sipp/" .. kind .. ".xml", {
        name = kind .. "-" .. n, inside = self.lan.phone, host = phone, proxy = vip .. ":5060",
        calls = 0, rate = options.rate * share / 100 / #self.vips, quiet = true,
        limit = self.limit, values = { hold = options.hold * 1000, after = 1500 },
        args = { "-l", "50000", "-recv_timeout", "40000" },
      }))
    end
  end
end

-- Nobody calls any more; waits until those who do have ended. What `meanwhile` does
-- happens while they talk.
function World:stop_load(meanwhile)
  for _, caller in ipairs(self.callers) do
    caller:signal "USR1"
  end
  if meanwhile then
    meanwhile()
  end
  for _, caller in ipairs(self.callers) do
    caller:wait()
  end
end

-- What callers say themselves: how many calls went as they should, how many did not.
function world.told(callers)
  local successes, failures = 0, 0
  for _, caller in ipairs(callers) do
    local row = caller:statistics()
    successes = successes + tonumber(row["SuccessfulCall(C)"])
    failures = failures + tonumber(row["FailedCall(C)"])
  end
  return successes, failures
end

-- Ends the observer; what it saw (spec/ha/account.lua).
function World:read()
  process.sleep(2) -- it has a buffer, and servers write what they count once a second
  self.observer:signal "INT"
  self.observer:wait()
  local lost = tonumber(self.observer:output():match "dropped on interface[^\n]-: %d+/(%d+)")
  assert(lost == 0, "the observer has missed packets: " .. self.observer:output())
  local calls, senders = account.read(self.pcap, { phone = phone, servers = "10.0.0." })
  if not os.getenv "KEEP" then
    os.remove(self.pcap)
  end
  return calls, senders
end

return world
