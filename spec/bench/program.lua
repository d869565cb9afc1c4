-- Programs that a measurement starts, and what the kernel says of them. Each leads a
-- session of its own and dies with us.
local sh = require "support.sh"
local wait = require "support.wait"
local assert, ipairs, io, pairs = assert, ipairs, io, pairs
local setmetatable, string, table = setmetatable, string, table
local tonumber, tostring = tonumber, tostring

local _ENV = nil

local program = {}
local Program = {}
Program.__index = Program

local running = {}

program.now, program.sleep, program.eventually = wait.now, wait.sleep, wait.eventually

function program.read(name)
  local file = io.open(name, "rb")
  local text = file and file:read "a"
  if file then
    file:close()
  end
  return text
end

-- Bytes in a file.
function program.size(name)
  local file = assert(io.open(name, "rb"))
  local n = file:seek "end"
  file:close()
  return n
end

function program.write(name, text)
  local file = assert(io.open(name, "wb"))
  assert(file:write(text))
  file:close()
  return name
end

-- Is a socket bound to this port, on whatever address?
function program.bound(port, protocol)
  local own = string.format(":%04X ", port)
  for _, family in ipairs { "", "6" } do
    for line in string.gmatch(program.read("/proc/net/" .. protocol .. family) or "", "[^\n]+") do
      local state = string.match(line, "^%s*%d+: %x+" .. own .. "%x+:%x+ (%x+)")
      if state and (protocol == "udp" or state == "0A") then
        return true
      end
    end
  end
  return false
end

-- Starts argv; what it prints goes to the file `log`.
function program.start(argv, log)
  local words = {}
  for _, word in ipairs(argv) do
    words[#words + 1] = sh.quote(tostring(word))
  end
  local self = setmetatable({ name = argv[1], log = log }, Program)
  self.pipe = sh.popen(string.format(
    "echo $$; exec setsid setpriv --pdeathsig TERM env TERM=dumb %s >%s 2>&1 </dev/null",
    table.concat(words, " "), sh.quote(log)))
  self.pid = assert(tonumber(self.pipe:read "l"))
  running[self] = true
  return self
end

function Program:ended()
  local state = string.match(program.read("/proc/" .. self.pid .. "/stat") or "", "%) (%a)")
  return state == nil or state == "Z"
end

function Program:signal(name)
  sh.run("kill -s " .. name .. " " .. self.pid)
end

-- Waits for its end, at most so long; false when it still runs.
function Program:wait(seconds)
  return program.eventually(seconds, function() return self:ended() end) or false
end

-- Ends it: by itself within `seconds`, else by force, with all that it has started.
function Program:stop(seconds)
  if not running[self] then
    return
  end
  running[self] = nil
  if not self:ended() then
    self:signal(seconds and "TERM" or "KILL")
    self:wait(seconds or 1)
  end
  sh.run("kill -s KILL -- -" .. self.pid)
  self.pipe:close()
end

function program.stop_all()
  for self in pairs(running) do
    self:stop()
  end
end

-- ---- what it costs ----

-- The processes of its session: { { pid =, ticks = { user, system, of ended children } } }
function Program:processes()
  local list = {}
  for _, line in ipairs(sh.lines "cat /proc/[0-9]*/stat 2>/dev/null; true") do
    local pid, rest = string.match(line, "^(%d+) .*%) (.*)$")
    local words = {}
    for word in string.gmatch(rest or "", "%S+") do
      words[#words + 1] = tonumber(word) or word
    end
    if words[4] == self.pid then
      list[#list + 1] = { pid = pid, user = words[12], system = words[13],
        children = words[14] + words[15] }
    end
  end
  return list
end

local hz = nil

-- Processor seconds used so far: { total =, user =, system = }. The total is what the
-- scheduler has counted, in nanoseconds, of each thread that lives; what it says of user
-- and system are samples, one per tick, which only share the total out.
function Program:cpu()
  hz = hz or tonumber(sh.lines("getconf CLK_TCK")[1])
  local user, system, total = 0, 0, 0
  for _, p in ipairs(self:processes()) do
    user, system = user + p.user, system + p.system
    total = total + p.children / hz
    for _, line in ipairs(sh.lines("cat /proc/" .. p.pid .. "/task/*/schedstat; true")) do
      total = total + (tonumber(string.match(line, "^%d+")) or 0) / 1e9
    end
  end
  return { total = total, user = user / hz, system = system / hz }
end

-- Bytes of memory that it alone has, plus its part of what it shares (Pss), of all its
-- processes.
function Program:memory()
  local kb = 0
  for _, p in ipairs(self:processes()) do
    kb = kb + (tonumber(string.match(program.read("/proc/" .. p.pid .. "/smaps_rollup") or "",
      "\nPss:%s*(%d+) kB")) or 0)
  end
  return kb * 1024
end

-- The end of what it has printed.
function Program:output()
  return string.sub(program.read(self.log) or "", -2000)
end

return program
