-- Reads packets of HEP3, without the code that writes them.
local ipairs, string, table = ipairs, string, table

local _ENV = nil

local hep = {}

local names = {
  [1] = "family", [2] = "protocol", [3] = "from_ip", [4] = "to_ip", [5] = "from_ip",
  [6] = "to_ip", [7] = "from_port", [8] = "to_port", [9] = "seconds", [10] = "micros",
  [11] = "type", [12] = "id", [14] = "password", [15] = "payload", [17] = "correlation",
  [19] = "node",
}
local numbers = { [1] = ">I1", [2] = ">I1", [7] = ">I2", [8] = ">I2", [9] = ">I4",
  [10] = ">I4", [11] = ">I1", [12] = ">I4" }

local function ip(bytes)
  return table.concat({ string.byte(bytes, 1, -1) }, #bytes == 4 and "." or ",")
end

-- A packet as a table of its chunks; nil when it is none.
function hep.read(bytes)
  if string.sub(bytes, 1, 4) ~= "HEP3" or string.unpack(">I2", bytes, 5) ~= #bytes then
    return nil
  end
  local packet, at = {}, 7
  while at <= #bytes do
    local vendor, kind, length = string.unpack(">I2I2I2", bytes, at)
    local value = string.sub(bytes, at + 6, at + length - 1)
    if vendor ~= 0 or not names[kind] or length < 6 or #value ~= length - 6 then
      return nil
    end
    packet[names[kind]] = numbers[kind] and string.unpack(numbers[kind], value)
      or (kind >= 3 and kind <= 6) and ip(value) or value
    at = at + length
  end
  return packet
end

-- Those of the simulator's packets that went to this address, in order.
function hep.to(net, address)
  local list = {}
  for _, packet in ipairs(net:packets()) do
    if packet.to == address then
      list[#list + 1] = hep.read(packet.bytes) or { malformed = packet.bytes }
    end
  end
  return list
end

-- What a line of the log is that came in a packet, by its event.
local lines = { request = "decided", ["request.why"] = "why" }

-- "INVITE 100 180": what was mirrored, in order; a decision is "decided", its trace "why".
function hep.names(list)
  local words = {}
  for i, packet in ipairs(list) do
    words[i] = packet.type == 100
      and lines[string.match(packet.payload, '"event":"([%l.]+)"')]
      or string.match(packet.payload, "^SIP/2.0 (%d+)")
      or string.match(packet.payload, "^(%u+) ") or "?"
  end
  return table.concat(words, " ")
end

return hep
