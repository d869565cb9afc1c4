-- Sockets whose operations share one deadline, for socket.http: to that they are of
-- TCP, whatever they are.
local socket = require "socket"
local unix = require "socket.unix"
local ipairs, math, setmetatable = ipairs, math, setmetatable

local _ENV = nil

local wire = {}
local Timed = {}
Timed.__index = Timed

function Timed:arm()
  self.inner:settimeout(math.max(self.deadline - socket.gettime(), 0.001))
end

function Timed.settimeout()
  return 1 -- the deadline counts
end

local function is_busy(why)
  return why == "timeout" or why == "Resource temporarily unavailable"
end

-- A UNIX socket whose queue is full refuses at once; there may be room in a moment.
function Timed:connect(host, port)
  local ok, why
  while true do
    self:arm()
    if self.path then
      ok, why = self.inner:connect(self.path)
    else
      ok, why = self.inner:connect(host, port)
    end
    if ok then
      self.is_connected = true
      return 1
    elseif not is_busy(why) then
      return nil, why
    elseif socket.gettime() >= self.deadline then
      return nil, "timeout"
    end
    socket.sleep(0.05)
  end
end

for _, name in ipairs { "send", "receive" } do
  Timed[name] = function(self, ...)
    self:arm()
    return self.inner[name](self.inner, ...)
  end
end

for _, name in ipairs { "close", "getfd", "dirty" } do
  Timed[name] = function(self)
    return self.inner[name](self.inner)
  end
end

-- Not connected yet; `is_connected` tells later whether it ever was.
---@param path string? of a UNIX socket; nil: TCP
---@param seconds number for all that is done with it
function wire.open(path, seconds)
  local inner, why = (path and unix.stream or socket.tcp)()
  if not inner then
    return nil, why
  end
  return setmetatable({
    inner = inner, path = path, deadline = socket.gettime() + seconds,
  }, Timed)
end

wire.sleep, wire.now = socket.sleep, socket.gettime

return wire
