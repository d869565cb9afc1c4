-- lua5.4 callee.lua ADDRESS PORT RING FILE
--
-- A server for the long-distance specs: a user agent by the letter of RFC 3261, which
-- sipp as a server is not (it takes a CANCEL that it does not know for a new call). What
-- it does depends on the user in the Request-URI:
--
--   answer   180, after RING seconds 200
--   busy     180, after RING seconds 486
--   ring     180, and nothing more until it is cancelled
--
-- FILE is written once a second, a line `name=number` each:
--   transactions   INVITEs with a branch that it had not seen
--   merged         those of them that came for a call that is there already (answered 482)
--   repeated       retransmissions of INVITE
--   ended          by BYE;  open: answered and not ended;  cancelled: by CANCEL
--   unacked        finals for which no ACK came in 64*T1
--   unknown        CANCEL and BYE for what is not there (answered 481)
local socket = require "socket"
local address, port, ring, file = arg[1], arg[2], tonumber(arg[3]), arg[4]

local T1, T2 = 0.5, 4
local keep = 64 * T1
local udp = assert(socket.udp())
assert(udp:setsockname(address, tonumber(port)))

local count = { transactions = 0, merged = 0, repeated = 0, ended = 0, open = 0, unacked = 0,
  unknown = 0, cancelled = 0 }
local transactions = {} -- of INVITE, by branch
local dialogs = {}      -- by Call-ID: "set-up", "up" or "ended"
local answered = {}     -- transactions that have sent a 2xx, by Call-ID

-- ---- what is to be done later: a heap by time ----

local heap = {}

local function later(seconds, fn)
  local at = socket.gettime() + seconds
  local i = #heap + 1
  while i > 1 and heap[i // 2].at > at do
    heap[i] = heap[i // 2]
    i = i // 2
  end
  heap[i] = { at = at, fn = fn }
end

local function take_first()
  local first, last = heap[1], table.remove(heap)
  local i = 1
  while heap[1] and 2 * i <= #heap do
    local child = 2 * i
    if heap[child + 1] and heap[child + 1].at < heap[child].at then
      child = child + 1
    end
    if heap[child].at >= last.at then
      break
    end
    heap[i] = heap[child]
    i = child
  end
  if heap[1] then
    heap[i] = last
  end
  return first
end

-- ---- messages ----

local reasons = { [180] = "Ringing", [200] = "OK", [481] = "Call/Transaction Does Not Exist",
  [482] = "Loop Detected", [486] = "Busy Here", [487] = "Request Terminated" }

local function lines(text, name)
  local list = {}
  for line in text:gmatch("\n(" .. name .. ": ?[^\r\n]*)") do
    list[#list + 1] = line
  end
  return list
end

local function answer(request, code, extra)
  local to = request:match "\n(To: ?[^\r\n]*)"
  if not to:find ";tag=" then
    to = to .. ";tag=" .. address .. "-" .. request:match "\nCall%-ID: ?([^\r\n]*)"
  end
  local head = { ("SIP/2.0 %d %s"):format(code, reasons[code]) }
  for _, name in ipairs { "Via", "Record%-Route" } do
    for _, line in ipairs(lines(request, name)) do
      head[#head + 1] = line
    end
  end
  head[#head + 1] = request:match "\n(From: ?[^\r\n]*)"
  head[#head + 1] = to
  head[#head + 1] = request:match "\n(Call%-ID: ?[^\r\n]*)"
  head[#head + 1] = request:match "\n(CSeq: ?[^\r\n]*)"
  head[#head + 1] = ("Contact: <sip:%s:%s>"):format(address, port)
  head[#head + 1] = extra
  head[#head + 1] = "Content-Length: 0\r\n\r\n"
  return table.concat(head, "\r\n")
end

-- ---- INVITE server transactions: RFC 3261 17.2.1 and 13.3.1.4 ----

local function send(t, text)
  t.last = text
  udp:sendto(text, t.ip, t.port)
end

local function finish(t, code)
  if t.code then
    return
  end
  t.code = code
  local text, interval, since = answer(t.request, code), T1, socket.gettime()
  local function repeat_it()
    if t.acked then
      return
    elseif socket.gettime() - since >= keep then
      count.unacked = count.unacked + 1
      return
    end
    send(t, text)
    later(interval, repeat_it)
    interval = math.min(interval * 2, T2)
  end
  if code == 200 then
    dialogs[t.call_id] = "up"
    answered[t.call_id] = t
    count.open = count.open + 1
  else
    dialogs[t.call_id] = "ended"
  end
  repeat_it()
end

local function on_invite(m, branch, ip, from_port)
  local known = transactions[branch]
  if known then
    count.repeated = count.repeated + 1
    udp:sendto(known.last, ip, from_port)
    return
  end
  local t = { request = m, ip = ip, port = from_port, call_id = m:match "\nCall%-ID: ?([^\r\n]*)" }
  transactions[branch] = t
  count.transactions = count.transactions + 1
  if dialogs[t.call_id] then -- 8.2.2.2
    count.merged = count.merged + 1
    t.code, t.acked = 482, true
    return send(t, answer(m, 482))
  end
  dialogs[t.call_id] = "set-up"
  send(t, answer(m, 180))
  local user = m:match "^INVITE sip:(%a+)@"
  if user ~= "ring" then
    later(ring, function() finish(t, user == "busy" and 486 or 200) end)
  end
end

local function on_ack(m, branch)
  -- That of a 2xx has a branch of its own.
  local t = transactions[branch] or answered[m:match "\nCall%-ID: ?([^\r\n]*)"]
  if t then
    t.acked = true
  end
end

local function on_cancel(m, branch, ip, from_port)
  local t = transactions[branch]
  count[t and "cancelled" or "unknown"] = count[t and "cancelled" or "unknown"] + 1
  udp:sendto(answer(m, t and 200 or 481), ip, from_port)
  if t then
    finish(t, 487)
  end
end

local function on_bye(m, _, ip, from_port)
  local id = m:match "\nCall%-ID: ?([^\r\n]*)"
  if dialogs[id] == "up" then
    dialogs[id] = "ended"
    count.open = count.open - 1
    count.ended = count.ended + 1
  elseif dialogs[id] ~= "ended" then
    count.unknown = count.unknown + 1
    return udp:sendto(answer(m, 481), ip, from_port)
  end
  udp:sendto(answer(m, 200), ip, from_port)
end

local function on_options(m, _, ip, from_port)
  udp:sendto(answer(m, 200), ip, from_port)
end

local handlers = { INVITE = on_invite, ACK = on_ack, CANCEL = on_cancel, BYE = on_bye,
  OPTIONS = on_options }

-- ---- the loop ----

local function write_counts()
  local out = assert(io.open(file .. ".new", "w"))
  for name, value in pairs(count) do
    out:write(name, "=", value, "\n")
  end
  out:close()
  assert(os.rename(file .. ".new", file))
  later(1, write_counts)
end

write_counts()
while true do
  local now = socket.gettime()
  while heap[1] and heap[1].at <= now do
    take_first().fn()
  end
  udp:settimeout(math.max(heap[1].at - now, 0))
  local m, ip, from_port = udp:receivefrom()
  local handler = m and handlers[m:match "^(%u+) "]
  if handler then
    handler(m, m:match "\nVia: ?[^\r\n]-;branch=([^;,%s]+)", ip, from_port)
  end
end
