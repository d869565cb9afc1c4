-- A field of machines for the proxy to stand in: phones, and servers, each at the end
-- of a cable of its own (cable.c) that can lose, delay, duplicate and reorder.
--
--   local field = require "support.field"
--   local f, why = field.open { machines = { "phones", "a", "b" } }
--   if not f then return pending(why) end
--   f:cable("a", { loss = 1 })                  -- a black hole, both ways
--   proxy.start { inside = f.proxy, ... }       -- it listens on f.address
--   sipp.server("answer", { inside = f.a, host = f.host.a, port = 5060, ... })
--
-- All of it is in network namespaces, which are gone when the test is (process.clean).
local netns = require "support.netns"
local process = require "support.process"
local sh = require "support.sh"
local assert, ipairs, os, setmetatable = assert, ipairs, os, setmetatable
local string, table = string, table

local _ENV = nil

local field = {}
local Field = {}
Field.__index = Field

local build = os.getenv "BUILD" or "build/san"
local clear = { loss = 0, delay = 0, jitter = 0, duplicate = 0, reorder = 0 }

-- The cable between the proxy and a machine: "p1" and "m1" are its ends. Both know each
-- other for good, as routers between them would: a black hole is silent.
local function lay(self, i, name)
  local subnet = "10.77." .. i
  local machine = self[name]
  local ends = {
    { near = "p" .. i, into = self.proxy, interface = "eth" .. i, host = subnet .. ".1" },
    { near = "m" .. i, into = machine, interface = "eth0", host = subnet .. ".2" },
  }
  for n, e in ipairs(ends) do
    e.mac = string.format("02:00:00:00:%02x:%02x", i, n)
    self.wire:ip(string.format("link add %s type veth peer name %s address %s netns %d", e.near,
      e.interface, e.mac, e.into.keeper:pid()))
    self.wire:ip("link set " .. e.near .. " up")
    e.into:ip("link set " .. e.interface .. " up")
    e.into:ip(string.format("addr add %s/24 dev %s", e.host, e.interface))
  end
  for n, e in ipairs(ends) do
    local other = ends[3 - n]
    e.into:ip(string.format("neigh replace %s lladdr %s nud permanent dev %s", other.host,
      other.mac, e.interface))
  end
  machine:ip("route add default via " .. subnet .. ".1")
  self.host[name] = subnet .. ".2"
end

-- Says what each cable does, and waits until it does so.
local function tell(self)
  local lines = {}
  for i, name in ipairs(self.names) do
    local w = self.weather[name]
    lines[i] = string.format("%g %g %g %g %g", w.loss, w.delay, w.jitter, w.duplicate, w.reorder)
  end
  self.sets = self.sets + 1
  process.write("cables", table.concat(lines, "\n") .. "\n")
  if not self.cables then
    local argv = { build .. "/cable", process.path "cables", self.seed }
    for i in ipairs(self.names) do
      argv[#argv + 1], argv[#argv + 2] = "p" .. i, "m" .. i
    end
    self.cables = process.start { name = "cables-log", argv = argv, limit = self.seconds + 5,
      inside = self.wire }
  else
    self.cables:signal "HUP"
  end
  assert(process.eventually(5, function()
    return string.find(self.cables:output(), "set " .. self.sets .. "\n", 1, true)
  end), self.cables:output())
end

-- Options: machines (names, 8 at most: phones, a, b), seconds (for which all of it may
-- last, 60), seed (of the cables, 1). Or nil and why there is none.
function field.open(options)
  options = options or {}
  local self = setmetatable({
    names = options.machines or { "phones", "a", "b" }, seed = options.seed or 1,
    seconds = options.seconds or 60, sets = 0, weather = {}, host = {},
    address = "10.77.1.1:5060",
  }, Field)
  local up = "ip link set lo up && { echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; true; }"
  local why
  self.wire, why = netns.machine("wire", self.seconds, up)
  if not self.wire then
    return nil, why
  end
  self.proxy = netns.machine("proxy", self.seconds, up)
  for i, name in ipairs(self.names) do
    self.weather[name] = clear
    self[name] = netns.machine(name, self.seconds, up)
    lay(self, i, name)
  end
  tell(self)
  return self
end

-- From now on the cable of this machine does so: loss, duplicate and reorder are
-- fractions, delay and jitter milliseconds, in each direction. What is not said is 0.
function Field:cable(name, weather)
  assert(self.weather[name], name)
  self.weather[name] = setmetatable(weather or {}, { __index = clear })
  tell(self)
end

-- What has happened on the cable of a machine until it was last told something:
-- { frames =, lost =, duplicated =, reordered = }.
function Field:happened(name)
  for i, other in ipairs(self.names) do
    if other == name then
      local found
      for frames, lost, duplicated, reordered in string.gmatch(self.cables:output(),
        "pair " .. i .. ": (%d+) frames, (%d+) lost, (%d+) duplicated, (%d+) reordered") do
        found = { frames = frames + 0, lost = lost + 0, duplicated = duplicated + 0,
          reordered = reordered + 0 }
      end
      return found
    end
  end
end

-- Runs a command of the shell on a machine: whether it went well, and what it printed.
function Field:run(machine, command)
  return sh.run(table.concat(self[machine]:prefix(), " ") .. " sh -c " .. sh.quote(command))
end

return field
