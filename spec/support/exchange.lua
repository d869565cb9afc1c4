-- A program, for a network of its own: sends a file as one datagram, is the server that gets it
-- and answers 486, and leaves what server and client got in OUT.server and OUT.client.
--   lua5.4 spec/support/exchange.lua FILE OUT CLIENT PROXY SERVER PORT
-- The three are IPv6 addresses; client and proxy use port 5060.
local socket = require "socket"
local file, out, client_ip, proxy_ip, server_ip, port = table.unpack(arg)

local function bind(ip, at)
  local udp = assert(socket.udp6())
  assert(udp:setsockname(ip, at))
  udp:settimeout(0)
  return udp
end

local function keep(name, bytes)
  local to = assert(io.open(out .. "." .. name, "wb"))
  to:write(bytes)
  to:close()
end

local function busy(request)
  local lines = { "SIP/2.0 486 Busy Here" }
  for field in request:match "^(.-\r\n)\r\n":gmatch "([^\r]+)\r\n" do
    local name = field:match "^([%a-]+):"
    local copied = name == "Via" or name == "From" or name == "To" or name == "Call-ID"
      or name == "CSeq"
    lines[#lines + 1] = copied and field or nil
  end
  return table.concat(lines, "\r\n") .. "\r\nContent-Length: 0\r\n\r\n"
end

local client, server = bind(client_ip, 5060), bind(server_ip, port + 0)
local from = assert(io.open(file, "rb"))
assert(client:sendto(from:read "a", proxy_ip, 5060))
from:close()
local deadline = socket.gettime() + 5
while socket.gettime() < deadline do
  socket.select({ client, server }, nil, 0.2)
  local bytes, ip, at = server:receivefrom(65536)
  if bytes and not bytes:find "^ACK " then
    keep("server", bytes)
    assert(server:sendto(busy(bytes), ip, at))
  end
  bytes = client:receivefrom(65536)
  if bytes and not bytes:find "^SIP/2.0 1" then
    keep("client", bytes)
    os.exit(0)
  end
end
os.exit(1)
