-- OPTIONS to a proxy at a fixed pace, whether answers come or not, and when they come: how
-- long whatever asks it something waits.
--
--   lua5.4 spec/bench/probe.lua PORT INTERVAL FILE
--
-- Until it is ended by a signal. FILE gets a line when one is sent ("s NUMBER TIME") and one
-- when it is answered ("r NUMBER TIME"); times are seconds since the epoch.
local socket = require "socket"
local arg, assert, io, math, string = arg, assert, io, math, string
local select, tonumber = select, tonumber

local _ENV = nil

local port, interval = assert(tonumber(arg[1])), assert(tonumber(arg[2]))
local file = assert(io.open(arg[3], "w"))
local udp = assert(socket.udp())
local own
local n, due = 0, socket.gettime()

local function line(kind, number)
  file:write(string.format("%s %d %.6f\n", kind, number, socket.gettime()))
  file:flush()
end

local function send()
  n = n + 1
  line("s", n)
  udp:send(string.format("OPTIONS sip:127.0.0.1:%d SIP/2.0\r\n"
    .. "Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKprobe%d\r\n"
    .. "From: <sip:probe@127.0.0.1>;tag=p\r\nTo: <sip:127.0.0.1:%d>\r\n"
    .. "Call-ID: probe%d@127.0.0.1\r\nCSeq: %d OPTIONS\r\nMax-Forwards: 70\r\n"
    .. "Content-Length: 0\r\n\r\n", port, own, n, port, n, n))
end

assert(udp:setsockname("127.0.0.1", 0))
own = select(2, udp:getsockname())
assert(udp:setpeername("127.0.0.1", port))
while true do
  local left = due - socket.gettime()
  if left <= 0 then
    send()
    due = due + interval
  else
    udp:settimeout(left)
    local text = udp:receive()
    local number = text and string.match(text, "\nCSeq: *(%d+) OPTIONS")
    if number then
      line("r", math.tointeger(tonumber(number)))
    end
  end
end
