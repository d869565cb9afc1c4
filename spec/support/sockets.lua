-- UDP and TCP sockets in the process of a spec, for bytes that no program would send: who
-- sends a message and who gets it are both here, and nothing sleeps.
local process = require "support.process"
local socket = require "socket"
local assert, ipairs, setmetatable = assert, ipairs, setmetatable

local _ENV = nil

local sockets = {}
local Udp, Tcp = {}, {}
Udp.__index, Tcp.__index = Udp, Tcp

local open = {}

local function remember(self)
  open[#open + 1] = self
  return self
end

-- after_each(sockets.close)
function sockets.close()
  for _, self in ipairs(open) do
    self.socket:close()
  end
  open = {}
end

-- A socket that is bound to 127.0.0.1, or another address, at this port or any.
---@param port integer?
---@param address string?
function sockets.udp(port, address)
  local udp = assert(socket.udp())
  assert(udp:setsockname(address or "127.0.0.1", port or 0))
  local _, own = udp:getsockname()
  return remember(setmetatable({ socket = udp, port = own + 0 }, Udp))
end

function Udp:send(port, bytes)
  assert(self.socket:sendto(bytes, "127.0.0.1", port))
end

-- The next datagram, and the port it is from; nil when none comes within `seconds`.
function Udp:receive(seconds)
  self.socket:settimeout(seconds or 3)
  local bytes, _, port = self.socket:receivefrom(65536)
  if bytes then
    return bytes, port
  end
end

-- The next one that `wanted` likes; others are left out.
function Udp:wait(wanted, seconds)
  local deadline = process.now() + (seconds or 5)
  while process.now() < deadline do
    local bytes, port = self:receive(0.2)
    if bytes and wanted(bytes) then
      return bytes, port
    end
  end
end

---@param port integer
function sockets.tcp(port)
  local tcp = assert(socket.tcp())
  tcp:settimeout(3)
  assert(tcp:connect("127.0.0.1", port))
  return remember(setmetatable({ socket = tcp, text = "" }, Tcp))
end

function Tcp:send(bytes)
  assert(self.socket:send(bytes))
end

function Tcp:close()
  self.socket:close()
end

-- Reads until `done(text)` or the end of the stream, which is the second result.
function Tcp:read(done, seconds)
  local deadline = process.now() + (seconds or 5)
  self.socket:settimeout(0.2)
  while process.now() < deadline and not done(self.text) do
    local bytes, why, part = self.socket:receive(4096)
    self.text = self.text .. (bytes or part or "")
    if why == "closed" then
      return self.text, true
    end
  end
  return self.text, false
end

return sockets
