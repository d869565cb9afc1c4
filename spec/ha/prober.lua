-- lua5.4 prober.lua HOST:PORT FROM FILE
--
-- Asks a SIP server with OPTIONS every 10 ms whether it is there, and writes into FILE a
-- line for each answer, whatever it says (a proxy that drains says 503): when the question
-- was sent and when the answer came, in seconds of the wall clock. Nothing is sent twice,
-- so that what is lost is seen.
local socket = require "socket"
local host, port = arg[1]:match "^(.*):(%d+)$"
local from, file = arg[2], assert(io.open(arg[3], "w"))
file:setvbuf "line"

local interval = 0.01
local udp = assert(socket.udp())
assert(udp:setsockname(from, 0))
local _, own_port = udp:getsockname()

local request = table.concat({
  "OPTIONS sip:" .. arg[1] .. " SIP/2.0",
  ("Via: SIP/2.0/UDP %s:%s;branch=z9hG4bKprobe%%d"):format(from, own_port),
  ("From: <sip:probe@%s>;tag=%%d"):format(from),
  "To: <sip:" .. arg[1] .. ">",
  ("Call-ID: %%d@%s"):format(from),
  "CSeq: 1 OPTIONS",
  "Max-Forwards: 70",
  "Content-Length: 0", "", "" }, "\r\n")

local sent, n = {}, 0
local next_at = socket.gettime()
while true do
  local now = socket.gettime()
  if now >= next_at then
    n = n + 1
    sent[n] = now
    sent[n - 3000] = nil -- after half a minute nobody waits for it any more
    udp:sendto(request:format(n, n, n), host, tonumber(port))
    next_at = math.max(next_at + interval, now)
  end
  udp:settimeout(math.max(next_at - socket.gettime(), 0))
  local answer = udp:receivefrom()
  local id = answer and tonumber(answer:match "^SIP/2.0 %d.*\nCall%-ID: ?(%d+)@")
  if id and sent[id] then
    file:write(("%.4f %.4f\n"):format(sent[id], socket.gettime()))
    sent[id] = nil
  end
end
