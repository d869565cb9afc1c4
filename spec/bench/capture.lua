-- How long messages are in a proxy: from when the kernel has one for its socket, to when
-- the same one leaves its socket. What the proxy waits for is in it (its turn on a
-- processor, what is before it in the queue), what callers and servers take is not.
--
-- dumpcap writes down what passes the loopback interface; afterwards each message to the
-- proxy is found again as the one from it with the same Call-ID, CSeq and first word.
local program = require "bench.program"
local io, ipairs, math, string, table = io, ipairs, math, string, table

local _ENV = nil

local capture = {}

local ethernet = 38 -- bytes of a frame that are not IP: header, checksum, preamble, gap
local udp_headers = 28 -- and those of IP and UDP

-- Starts to listen at the port of the proxy and at those of the servers, to which a proxy
-- may have connections from other ports. Nil and why when that cannot be (no root).
function capture.start(ports, transport, out)
  local file = out .. "/capture.pcap"
  local filter = string.format("%s and (port %d or port %s)", transport, ports.proxy,
    table.concat(ports.servers, " or port "))
  local p = program.start({ "dumpcap", "-i", "lo", "-P", "-q",
    "-s", 65535 + 100, "-B", 128,
    "-f", filter, "-w", file }, out .. "/capture.log")
  local ready = program.eventually(5, function()
    return p:ended() and "ended" or string.find(p:output(), "File: ", 1, true)
  end)
  if not ready or ready == "ended" then
    p:stop()
    return nil, p:output()
  end
  local ends = {}
  for _, port in ipairs(ports.servers) do
    ends[port] = true
  end
  return { program = p, file = file, proxy = ports.proxy, servers = ends }
end

-- Ends it. Returns the number of packets that it missed, nil when it does not say.
function capture.stop(self)
  self.program:signal "INT"
  self.program:wait(10)
  local got, lost = string.match(self.program:output(), "received/dropped[^:]*: (%d+)/(%d+)")
  self.program:stop()
  return got and math.tointeger(lost)
end

-- ---- packets ----

-- An iterator over the packets of a file: seconds, source port, destination port, whether
-- it is TCP, payload. What passes is added to `wire`.
local function packets(file, wire)
  local input = io.open(file, "rb")
  local magic = input and input:read(24)
  if not magic or string.sub(magic, 1, 4) ~= "\xd4\xc3\xb2\xa1" then
    return function() end
  end
  return function()
    local head = input:read(16)
    if not head or #head < 16 then
      input:close()
      return nil
    end
    local at, micro, length = string.unpack("<I4I4I4", head)
    local bytes = input:read(length) or ""
    local ip = 15 -- behind the Ethernet header
    local words = string.byte(bytes, ip) & 15
    local is_tcp = string.byte(bytes, ip + 9) == 6
    local above = ip + 4 * words
    local total = string.unpack(">I2", bytes, ip + 2)
    wire.packets, wire.bytes = wire.packets + 1, wire.bytes + total + ethernet
    local from, to = string.unpack(">I2I2", bytes, above)
    local header = is_tcp and 4 * (string.byte(bytes, above + 12) >> 4) or 8
    return at + micro / 1e6, from, to, is_tcp, string.sub(bytes, above + header, ip + total - 1)
  end
end

-- The end of the first message of a stream, or nil.
local function framed(text)
  local _, head = string.find(text, "\r\n\r\n", 1, true)
  local length = head and string.match(string.sub(text, 1, head), "\nContent%-Length: *(%d+)")
  local last = head and head + (length or 0) // 1
  return last and last <= #text and last or nil
end

-- The messages of a datagram: several, when they have left together (UDP_SEGMENT), of which
-- the loopback interface shows what they are before they are cut apart. On a wire each is a
-- packet.
local function datagrams(text, wire, seen)
  local last = framed(text)
  while last and last < #text do
    wire.packets, wire.bytes = wire.packets + 1, wire.bytes + udp_headers + ethernet
    seen(string.sub(text, 1, last))
    text = string.sub(text, last + 1)
    last = framed(text)
  end
  seen(text)
end

-- Calls seen(seconds, from, to, message) for each message.
local function messages(file, wire, seen)
  local streams = {}
  for at, from, to, is_tcp, text in packets(file, wire) do
    if not is_tcp then
      datagrams(text, wire, function(message)
        seen(at, from, to, message)
      end)
    elseif text ~= "" then
      local key = from << 16 | to
      local rest = (streams[key] or "") .. text
      local last = framed(rest)
      while last do
        seen(at, from, to, string.sub(rest, 1, last))
        rest = string.sub(rest, last + 1)
        last = framed(rest)
      end
      streams[key] = rest
    end
  end
end

-- What a message and its copy behind the proxy have in common; the name of a method when
-- it is a request.
local function identity(text)
  local word, status = string.match(text, "^(%S+) (%d*)")
  local id = string.match(text, "\n[Cc]all%-[Ii][Dd]: *([^\r\n]+)")
  local cseq = string.match(text, "\nCSeq: *([^\r\n]+)")
  if not word or not id or not cseq then
    return nil
  end
  local method = word ~= "SIP/2.0" and word or nil
  return table.concat({ method or status, cseq, id }, " "), method
end

-- Microseconds, sorted: of the requests with this method, and of all messages. A message
-- that is repeated counts once, from its first arrival to its first departure. Third, what
-- passed in both directions: { packets =, bytes = on a wire of Ethernet }.
function capture.delays(self, method)
  local since, routed, all, wire = {}, {}, {}, { packets = 0, bytes = 0 }
  messages(self.file, wire, function(at, from, to, text)
    local key, request = identity(text)
    if not key then
      return
    end
    if to == self.proxy or self.servers[from] then
      since[key] = since[key] or at
    elseif (from == self.proxy or self.servers[to]) and since[key] then
      local took = (at - since[key]) * 1e6
      since[key] = math.huge -- it has left
      if took >= 0 then
        all[#all + 1] = took
        routed[#routed + 1] = request == method and took or nil
      end
    end
  end)
  table.sort(routed)
  table.sort(all)
  return routed, all, wire
end

return capture
