-- What a wire saw, call by call: an observer who believes neither sipp nor the proxy.
--
--   local calls, senders = account.read("wire.pcap", { phone = "192.0.2.7", servers = "10.0.0." })
--
-- calls: by Call-ID, in the order of their first INVITE as well (calls[1], ...). Times are
-- seconds of the wall clock; what has not happened is nil.
--
--   kind          "answer", "busy" or "ring": what the callee was to do
--   invited       the first INVITE of the caller;  repeated: how many more of the same
--   rang, final   the first 101-199, the first final to reach the caller; code: of that
--   acked         the ACK of the caller;  up: it was one for a 2xx
--   cancelled     the first CANCEL;  cancel_final, cancel_code
--   bye           the first BYE;  bye_final, bye_code
--   contradicted  the first final after that which is not the same: code or To tag
--   contradicted_by   its code
--   transactions  INVITEs of different branches that reached servers
--   refused_at, refusal_acked   the first non-2xx final of the server, and the first ACK
--                 after its last repetition
--
-- senders: by source address, by hardware address (as `ip` writes it): when each packet
-- was sent.
local io, ipairs, math, setmetatable = io, ipairs, math, setmetatable
local assert, string, table, tonumber = assert, string, table, tonumber

local _ENV = nil

local account = {}

local function dotted(bytes)
  return string.format("%d.%d.%d.%d", string.byte(bytes, 1, 4))
end

local function colons(bytes)
  return string.format("%02x:%02x:%02x:%02x:%02x:%02x", string.byte(bytes, 1, 6))
end

-- Of one header, or nil.
local function value(text, name)
  return string.match(text, "\n" .. name .. ": ?([^\r\n]*)")
end

-- Packets of a pcap file (not pcapng) of Ethernet and UDP over IPv4: time, hardware
-- address, source, destination, payload.
local function packets(name)
  local file = assert(io.open(name, "rb"))
  local header = file:read(24)
  assert(header and string.unpack("<I4", header) == 0xa1b2c3d4, name .. " is no pcap file")
  return function()
    local head = file:read(16)
    if not head or #head < 16 then
      file:close()
      return nil
    end
    local sec, usec, size = string.unpack("<I4I4I4", head)
    local data = file:read(size)
    if not data or #data < size then -- the capture ended in the middle of it
      file:close()
      return nil
    end
    local at = 15 + (string.byte(data, 15) & 15) * 4 + 8
    return sec + usec / 1e6, colons(string.sub(data, 7, 12)), dotted(string.sub(data, 27, 30)),
      dotted(string.sub(data, 31, 34)), string.sub(data, at)
  end
end

-- ---- the side of the caller ----

local function from_caller(call, method, time, text)
  if method == "INVITE" then
    if call.invited then
      call.repeated = call.repeated + 1
    else
      call.invited, call.kind = time, string.match(text, "^INVITE sip:(%a+)@")
    end
  elseif method == "ACK" then
    call.acked = call.acked or time
    call.up = call.up or (call.code or 999) < 300
  elseif method == "CANCEL" then
    call.cancelled = call.cancelled or time
  elseif method == "BYE" then
    call.bye = call.bye or time
  end
end

local function to_caller(call, code, time, text)
  local method = string.match(value(text, "CSeq") or "", "%u+$")
  if method == "INVITE" and code < 200 then
    if code > 100 then
      call.rang = call.rang or time
    end
  elseif method == "INVITE" then
    local tag = string.match(value(text, "To") or "", ";tag=(.*)")
    if not call.final then
      call.final, call.code, call.tag = time, code, tag
    elseif not call.contradicted and (call.code ~= code or call.tag ~= tag) then
      call.contradicted, call.contradicted_by = time, code
    end
  elseif code < 200 then
    return -- 100 for a BYE that takes long
  elseif method == "CANCEL" and not call.cancel_final then
    call.cancel_final, call.cancel_code = time, code
  elseif method == "BYE" and not call.bye_final then
    call.bye_final, call.bye_code = time, code
  end
end

-- ---- the side of the servers ----

local function to_server(call, method, time, text)
  local branch = string.match(text, "\nVia: ?[^\r\n]-;branch=([^;,%s]+)")
  if method == "INVITE" and not call.branches[branch] then
    call.branches[branch] = true
    call.transactions = call.transactions + 1
  elseif method == "ACK" and call.branches[branch] then
    call.refusal_acked = call.refusal_acked or time
  end
end

local function from_server(call, code, time, text)
  if code >= 300 and string.find(value(text, "CSeq") or "", "INVITE", 1, true) then
    call.refused_at = call.refused_at or time
    call.refusal_acked = nil -- who repeats it has not heard an ACK
  end
end

-- options: phone (the address of all callers), servers (how those of servers begin).
function account.read(name, options)
  local servers = "^" .. string.gsub(options.servers, "%.", "%%.")
  local calls = {}
  local senders = setmetatable({}, { __index = function(all, source)
    all[source] = setmetatable({}, { __index = function(some, mac)
      some[mac] = {}
      return some[mac]
    end })
    return all[source]
  end })
  for time, mac, source, destination, text in packets(name) do
    table.insert(senders[source][mac], time)
    local id = value(text, "Call%-ID")
    local code, method = tonumber(string.match(text, "^SIP/2.0 (%d+)")),
      string.match(text, "^%u+")
    if id and source == options.phone and method == "INVITE" and not calls[id] then
      calls[id] = { id = id, repeated = 0, transactions = 0, branches = {} }
      table.insert(calls, calls[id])
    end
    -- What belongs to no call of a caller changes a record that nobody sees.
    local call = calls[id or 0] or { repeated = 0, transactions = 0, branches = {} }
    if source == options.phone then
      from_caller(call, method, time, text)
    elseif destination == options.phone and code then
      to_caller(call, code, time, text)
    elseif string.find(destination, servers) and not code then
      to_server(call, method, time, text)
    elseif string.find(source, servers) and code then
      from_server(call, code, time, text)
    end
  end
  return calls, senders
end

-- ---- what became of a call ----

-- nil: all as it should be; "established": it was up, and could not be hung up;
-- "set-up": it came to another end than it should have, or to none.
function account.loss(call)
  if call.up then
    return call.bye_code ~= 200 and "established" or nil
  end
  local expected = call.kind == "busy" and 486 or call.kind == "ring" and 487 or 200
  if expected == 200 or call.code ~= expected or not call.acked then
    return "set-up"
  end
end

-- What its end took: from the wish to end it until caller and server both know. Seconds,
-- each with the time at which it was over; ring: how long a callee rings.
function account.endings(call, ring)
  local list = {}
  local function add(from, to)
    if from and to then
      list[#list + 1] = { took = to - from, at = to }
    end
  end
  add(call.bye, call.bye_final)
  add(call.cancelled, call.cancel_final)
  if call.kind == "ring" then
    add(call.cancelled, call.final)
  elseif call.invited then
    add(call.invited + ring, call.final)
  end
  add(call.refused_at, call.refusal_acked)
  return list
end

-- The longest time without an answer among those of a prober (spec/ha/prober.lua) between
-- two times, in seconds: from the last question before the gap that was answered to the
-- first after it.
function account.gap(name, from, to)
  local sent = {}
  for line in io.lines(name) do
    local at = tonumber(string.match(line, "^[%d.]+"))
    if at and at >= from - 1 and at <= to then
      sent[#sent + 1] = at
    end
  end
  table.sort(sent)
  local longest = #sent > 0 and to - sent[#sent] or to - from
  for i, at in ipairs(sent) do
    longest = i > 1 and math.max(longest, at - sent[i - 1]) or longest
  end
  return longest
end

return account
