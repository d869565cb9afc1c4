-- Someone who looks for a way in: sends OPTIONS and REGISTER of a scanner, the torture
-- messages, and damaged ones, so many per second, and counts what comes back.
--
--   lua5.4 spec/support/scanner.lua HOST PORT RATE SECONDS
--
-- At the end it says "probes N, replies N, most N, bytes N in N": most is how many replies
-- one probe got, of those that have a Call-ID of ours; bytes, what came in for what went out.
local socket = require "socket"
local sh = require "support.sh"
local arg, assert, io, ipairs, math = arg, assert, io, ipairs, math
local string, table, tonumber = string, table, tonumber

local _ENV = nil

local host, port, rate, seconds = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local udp = assert(socket.udp())
assert(udp:setsockname("*", 5060))
udp:settimeout(0)
math.randomseed(18)

local torture = {}
for _, name in ipairs(sh.lines "ls spec/fixtures/torture/*.dat") do
  local file = io.open(name, "rb")
  torture[#torture + 1] = file:read "a"
  file:close()
end

local probe = table.concat({
  "%s sip:%d@%s SIP/2.0", "Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK-%d;rport",
  "From: \"sipvicious\" <sip:100@1.1.1.1>;tag=%d", "To: \"sipvicious\" <sip:100@1.1.1.1>",
  "Call-ID: scan-%d", "CSeq: 1 %s", "Contact: <sip:100@10.0.0.1:5060>", "Max-Forwards: 70",
  "User-Agent: friendly-scanner", "Accept: application/sdp", "Content-Length: 0", "", "",
}, "\r\n")

-- The n-th: six of ten are scans, two torture messages, two damaged ones.
local function message(n)
  local kind = n % 10
  if kind < 6 then
    local method = kind % 2 == 0 and "OPTIONS" or "REGISTER"
    return string.format(probe, method, 100 + n % 900, host, n, n, n, method)
  end
  local text = torture[math.random(#torture)]
  if kind < 8 then
    return text
  end
  local at = math.random(#text)
  return string.sub(text, 1, at - 1) .. string.char(math.random(0, 255))
    .. string.sub(text, at + math.random(0, 3))
end

local sent, replies, most, bytes_out, bytes_in, counts = 0, 0, 0, 0, 0, {}

local function collect()
  local data = udp:receivefrom()
  while data do
    replies, bytes_in = replies + 1, bytes_in + #data
    local id = string.match(data, "\nCall%-ID: (scan%-%d+)")
    if id then
      counts[id] = (counts[id] or 0) + 1
      most = math.max(most, counts[id])
    end
    data = udp:receivefrom()
  end
end

local start = socket.gettime()
local now = start
while now < start + seconds do
  while sent < (now - start) * rate do
    sent = sent + 1
    local bytes = message(sent)
    bytes_out = bytes_out + #bytes
    udp:sendto(bytes, host, port)
  end
  collect()
  socket.sleep(0.001)
  now = socket.gettime()
end
socket.sleep(1)
collect()
io.write(string.format("probes %d, replies %d, most %d, bytes %d in %d\n", sent, replies, most,
  bytes_in, bytes_out))
