-- A network of its own for a spec: nothing but a loopback interface, which gets and
-- loses addresses. It takes a kernel that lets us have one; CI containers often do
-- not: then there is none, a spec is pending and says why, and is counted as such.
--
--   local net, why = netns.open()
--   if not net then return pending(why) end
--   net:ip "addr add 10.9.0.1/32 dev lo"
--   proxy.start { inside = net, ... }
--
-- Or several machines on one wire, for who has to be root really:
--
--   local lan, why = netns.lan { hub = "10.9.0.7/24", a = "10.9.0.11/24", ... }
--   proxy.start { inside = lan.a, ... }
--   lan:cut "a"          -- the cable is out
local process = require "support.process"
local sh = require "support.sh"
local assert, pairs, setmetatable = assert, pairs, setmetatable
local string, table = string, table

local _ENV = nil

local netns = {}
local Netns = {}
Netns.__index = Netns

local Lan = {}
Lan.__index = Lan

local missing = "skipped: needs CAP_NET_ADMIN"

-- A network for this test, or nil and why there is none.
function netns.open()
  if not sh.run "unshare -rn ip link set lo up" then
    return nil, missing
  end
  local self = setmetatable({}, Netns)
  self.keeper = process.start {
    name = "network",
    argv = { "unshare", "-rn", "sh", "-c", "ip link set lo up && echo up && exec sleep 60" },
  }
  assert(process.eventually(5, function()
    return string.find(self.keeper:output(), "up", 1, true)
  end), "no network")
  return self
end

-- The words before those of a command that is to run in there.
function Netns:prefix()
  if self.is_real then
    return { "nsenter", "-t", self.keeper:pid(), "-n" }
  end
  return { "nsenter", "-t", self.keeper:pid(), "-U", "-n", "--preserve-credentials" }
end

-- A machine for root, for so many seconds: a network that `set_up`, of the shell, has made
-- ready. Or nil and why there is none.
function netns.machine(name, limit, set_up)
  if not sh.run "test $(id -u) = 0 && unshare -n ip link set lo up" then
    return nil, missing
  end
  local self = setmetatable({ is_real = true }, Netns)
  self.keeper = process.start {
    name = "network-" .. name, limit = limit,
    argv = { "unshare", "-n", "sh", "-c", set_up .. " && echo up && exec sleep " .. limit },
  }
  assert(process.eventually(5, function()
    return string.find(self.keeper:output(), "up", 1, true)
  end), "no network")
  return self
end

-- A switch, which is a machine too (hub), and machines that are connected to it by eth0.
-- Addresses by name, several with blanks between them; it lives for `limit` seconds (60).
-- Or nil and why there is none.
function netns.lan(addresses, limit)
  limit = limit or 60
  local hub, why = netns.machine("hub", limit, "ip link set lo up && ip link add br0 type bridge "
    .. "mcast_snooping 0 && ip link set br0 up && ip addr add " .. addresses.hub .. " dev br0")
  if not hub then
    return nil, why
  end
  local lan = setmetatable({ hub = hub }, Lan)
  for name, list in pairs(addresses) do
    if name ~= "hub" then
      lan[name] = netns.machine(name, limit, "ip link set lo up")
      lan.hub:ip(string.format("link add port-%s type veth peer name eth0 netns %d", name,
        lan[name].keeper:pid()))
      lan.hub:ip(string.format("link set port-%s master br0 up", name))
      for address in string.gmatch(list, "%S+") do
        lan[name]:ip("addr add " .. address .. " dev eth0")
      end
      lan[name]:ip "link set eth0 up"
    end
  end
  return lan
end

-- The cable of a machine is pulled out, and put in again.
function Lan:cut(name)
  self.hub:ip("link set port-" .. name .. " down")
end

function Lan:mend(name)
  self.hub:ip("link set port-" .. name .. " up")
end

-- A command of the shell in there, which must succeed. What it prints.
function Netns:run(command)
  local ok, output = sh.run(table.concat(self:prefix(), " ") .. " " .. command)
  assert(ok, output)
  return output
end

-- As `ip` of the shell: "addr add 10.9.0.1/32 dev lo". What it prints.
function Netns:ip(arguments)
  return self:run("ip " .. arguments)
end

-- What /proc shows of the sockets in there.
function Netns:proc()
  return string.format("/proc/%d/net/", self.keeper:pid())
end

return netns
