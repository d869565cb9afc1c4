-- A network of its own for a spec: nothing but a loopback interface, which gets and
-- loses addresses. It takes a kernel that lets us have one; CI containers often do
-- not.
--
--   local net, why = netns.open()
--   if not net then return pending(why) end
--   net:ip "addr add 10.9.0.1/32 dev lo"
--   proxy.start { inside = net, ... }
local process = require "support.process"
local sh = require "support.sh"
local assert, setmetatable, string, table = assert, setmetatable, string, table

local _ENV = nil

local netns = {}
local Netns = {}
Netns.__index = Netns

local unshare = "unshare -rn sh -c"

-- A network for this test, or nil and why there is none.
function netns.open()
  if not sh.run "ip -V" then
    return nil, "skipped: needs ip (iproute2)"
  elseif not sh.run(unshare .. " 'ip link set lo up'") then
    return nil, "skipped: needs CAP_NET_ADMIN or user namespaces"
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
  return { "nsenter", "-t", self.keeper:pid(), "-U", "-n", "--preserve-credentials" }
end

-- As `ip` of the shell: "addr add 10.9.0.1/32 dev lo".
function Netns:ip(arguments)
  local ok, output = sh.run(table.concat(self:prefix(), " ") .. " ip " .. arguments)
  assert(ok, output)
end

-- What /proc shows of the sockets in there.
function Netns:proc()
  return string.format("/proc/%d/net/", self.keeper:pid())
end

return netns
