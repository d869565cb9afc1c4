-- What the checkers of chaos know of a message. They judge the parser of the core, so
-- nothing is shared with it; and they read some forty messages per call, so it is one
-- pass over the lines.
local setmetatable, string, table, tonumber = setmetatable, string, table, tonumber

local _ENV = nil

local message = {}

local find, gmatch, lower, match, sub =
  string.find, string.gmatch, string.lower, string.match, string.sub
local concat = table.concat

local compact = {
  i = "call-id", m = "contact", l = "content-length", f = "from", k = "supported",
  t = "to", v = "via",
}

local keys = setmetatable({}, {
  __index = function(known, name)
    local key = lower(match(name, "^(.-)%s*$"))
    known[name] = compact[key] or key
    return known[name]
  end,
})

-- Headers that a proxy may add to, take from or change on the way (RFC 3261 16.6): the
-- others have to pass byte by byte.
local hop_by_hop = {
  via = true, route = true, ["record-route"] = true, ["max-forwards"] = true,
  ["max-breadth"] = true, path = true,
}

-- "z9hG4bK1", "10.0.0.1:5060", "udp" of a Via; received and rport are cut off, because
-- who answers adds them.
local function read_via(value)
  local transport, sent_by = match(value, "^SIP/2%.0/(%u+)%s+([^%s;,]+)")
  return match(value, ";branch=([^;,%s]*)"), sent_by, transport and lower(transport)
end

-- The same message but for what the last hop has noted in it.
function message.plain_via(value)
  return (value:gsub(";%s*rport=?[^;,]*", ""):gsub(";%s*received=[^;,]*", ""))
end

local function keep(m, key, value)
  if key == "via" then
    m.vias[#m.vias + 1] = value
  elseif key == "route" then
    m.routes[#m.routes + 1] = value
  elseif key == "record-route" then
    m.record_routes[#m.record_routes + 1] = value
  elseif not m[key] then
    m[key] = value
  end
end

local function read_lines(m, head, edited)
  local rest, n = {}, 0
  for line in gmatch(head, "\r\n([^\r\n]+)") do
    local name, value = match(line, "^([^:]+):%s*(.*)$")
    if name then
      local key = keys[name]
      keep(m, key, value)
      if not hop_by_hop[key] and not edited[key] then
        n = n + 1
        rest[n] = line
      end
    end
  end
  m.rest = concat(rest, "\n")
end

local function read_keys(m)
  local number, method = match(m.cseq or "", "^(%d+)%s+(%u+)$")
  m.number, m.cseq_method = tonumber(number), method
  m.call_id = m["call-id"]
  m.from_tag = match(m.from or "", ";%s*tag=([^;%s]*)")
  m.to_tag = match(m.to or "", ";%s*tag=([^;%s]*)")
  if m.vias[1] then
    m.branch, m.sent_by, m.via_transport = read_via(m.vias[1])
  end
  return m.number and m.call_id and m.branch and m.sent_by and true
end

local nothing = {}

-- nil: no SIP, as a keep-alive or rubbish. edited: what the script changes, by lower
-- case name.
---@param bytes string
---@param edited table<string, boolean>?
function message.read(bytes, edited)
  local stop = find(bytes, "\r\n\r\n", 1, true)
  local start = stop and match(bytes, "^[^\r\n]+")
  if not start then
    return nil
  end
  local m = {
    bytes = bytes, start = start, body = sub(bytes, stop + 4), vias = {}, routes = {},
    record_routes = {},
  }
  m.method, m.uri = match(start, "^(%u+) (%S+) SIP/2%.0$")
  m.code = not m.method and tonumber(match(start, "^SIP/2%.0 (%d%d%d) "))
  read_lines(m, sub(bytes, #start + 1, stop - 1), edited or nothing)
  if not (m.method or m.code) or not read_keys(m) then
    return nil
  end
  return m
end

-- branch, sent-by of the n-th Via.
function message.via(m, n)
  if m.vias[n] then
    return read_via(m.vias[n])
  end
end

-- Of a transaction (17.2.3): an ACK belongs to its INVITE.
function message.key(branch, sent_by, method)
  return branch .. "|" .. sent_by .. "|" .. (method == "ACK" and "INVITE" or method)
end

return message
