-- Packets as a call flow, one line each:
--      0.000 alice  INVITE      -> proxy
--      0.001 proxy  INVITE      -x a
--      0.002 proxy  INVITE      TCP-> b
-- Times count from the first line. `-x`: it did not arrive.
local message = require "tandem.sim.message"
local ipairs, math, string, table = ipairs, math, string, table

local _ENV = nil

local ladder = {}

---@class tandem.sim.Line
---@field time number
---@field from string
---@field to string
---@field what string method, code, or "icmp_port"
---@field arrived boolean
---@field fate string
---@field transport string

-- What is in a packet; what ICMP quotes may be cut, so no full parser here.
local function read(bytes)
  return {
    method = bytes:match "^(%u+) ", code = bytes:match "^SIP/2%.0 (%d%d%d)",
    call_id = bytes:match "\r\n[Cc][Aa][Ll][Ll]%-[Ii][Dd]%s*:%s*([^\r\n]*)"
      or bytes:match "\r\n[iI]%s*:%s*([^\r\n]*)",
    cseq_method = bytes:match "\r\nCSeq%s*:%s*%d+%s+(%u+)",
  }
end

-- opts: call, methods (of CSeq; a list), from, to (seconds), all (OPTIONS too).
local function wanted(opts)
  local methods
  if opts.methods then
    methods = {}
    for _, method in ipairs(opts.methods) do
      methods[method] = true
    end
  end
  return function(packet, what)
    if opts.call and what.call_id ~= (opts.call.id or opts.call) then
      return false
    elseif methods then
      return methods[what.cseq_method] == true
    elseif packet.time < (opts.from or 0) or packet.time > (opts.to or math.huge) then
      return false
    end
    return opts.call or opts.all or what.cseq_method ~= "OPTIONS"
  end
end

---@return tandem.sim.Line[]
function ladder.lines(net, opts)
  local lines, want = {}, wanted(opts or {})
  for _, packet in ipairs(net:packets()) do
    local what = read(packet.bytes)
    if want(packet, what) then
      lines[#lines + 1] = {
        time = packet.time,
        from = net:name_of(packet.from, packet.from_machine),
        to = net:name_of(packet.to, packet.to_machine),
        what = packet.icmp or what.method or what.code or "bytes",
        arrived = packet.fate == "delivered" or packet.fate == "flying",
        fate = packet.fate, transport = packet.transport,
      }
    end
  end
  return lines
end

---@return string
function ladder.text(net, opts)
  local lines = ladder.lines(net, opts)
  local start, width, text = lines[1] and lines[1].time or 0, 6, {}
  for _, line in ipairs(lines) do
    width = math.max(width, #line.from)
  end
  for _, line in ipairs(lines) do
    local arrow = line.arrived and "->" or "-x"
    if line.transport ~= "udp" then
      arrow = line.transport:upper() .. arrow
    end
    text[#text + 1] = string.format("%10.3f %-" .. width .. "s %-11s %s %s\n",
      line.time - start, line.from, line.what, arrow, line.to)
  end
  return table.concat(text)
end

-- The five words of each line that count; what follows them is a remark.
local function essence(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    local words = {}
    for word in line:gmatch "%S+" do
      words[#words + 1] = word
    end
    if words[1] then
      lines[#lines + 1] = table.concat(words, " ", 1, math.min(#words, 5))
    end
  end
  return table.concat(lines, "\n")
end

-- Do two call flows say the same, but for spacing and remarks?
function ladder.same(a, b)
  return essence(a) == essence(b)
end

-- The first line in which they differ, to point at.
function ladder.difference(expected, actual)
  local want = essence(expected)
  local at = 0
  local have = {}
  for line in essence(actual):gmatch "[^\n]+" do
    have[#have + 1] = line
  end
  for line in want:gmatch "[^\n]+" do
    at = at + 1
    if have[at] ~= line then
      return at, line, have[at]
    end
  end
  return at + 1, nil, have[at + 1]
end

-- Call-ID, method and the like of a packet, for other searches.
ladder.read = function(bytes)
  local what = read(bytes)
  local via = bytes:match "\r\n[Vv][Ii][Aa]%s*:%s*([^\r\n]*)"
  what.branch = message.param(via and via:match "^[^,]*", "branch")
  what.cseq = math.tointeger(bytes:match "\r\nCSeq%s*:%s*(%d+)")
  return what
end

return ladder
