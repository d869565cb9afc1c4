-- The answering half of an endpoint: server transactions (RFC 3261 section 17.2),
-- 2xx retransmitted until the ACK (13.3.1.4), reliable provisionals (RFC 3262),
-- and what to answer.
local dialog = require "tandem.sim.dialog"
local message = require "tandem.sim.message"
local error, ipairs, string, table, type = error, ipairs, string, table, type
local math = math

local _ENV = nil

local uas = {}

---@class tandem.sim.Endpoint
local methods = {}
uas.methods = methods

local reasons = {
  [100] = "Trying", [180] = "Ringing", [181] = "Call Is Being Forwarded",
  [182] = "Queued", [183] = "Session Progress", [200] = "OK", [202] = "Accepted",
  [301] = "Moved Permanently", [302] = "Moved Temporarily", [400] = "Bad Request",
  [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
  [405] = "Method Not Allowed", [407] = "Proxy Authentication Required",
  [408] = "Request Timeout", [480] = "Temporarily Unavailable",
  [481] = "Call/Transaction Does Not Exist", [486] = "Busy Here",
  [487] = "Request Terminated", [488] = "Not Acceptable Here",
  [500] = "Server Internal Error", [503] = "Service Unavailable",
  [504] = "Server Time-out", [600] = "Busy Everywhere", [603] = "Decline",
}

local sdp = "v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\n"
  .. "m=audio 40000 RTP/AVP 0\r\n"

-- ---- transactions --------------------------------------------------------

local function key_of(msg, method)
  return table.concat({ msg.branch or msg.call_id, msg.sent_by or "", method }, "|")
end

-- 18.2.2 and RFC 3581: where responses go, and the top Via they carry. On a
-- connection that is where the request came from, and when that is gone the port of
-- the Via.
local function return_path(msg)
  local via = msg:list("Via")[1]
  local ip, port = msg.source:match "^(.-):(%d+)$"
  local rport = message.param(via, "rport")
  local sent_by = via:match "^%S+%s+[^%s;]-:(%d+)" or (msg.transport == "tls" and 5061) or 5060
  local back = msg.conn and {
    conn = msg.conn, otherwise = ("%s:%s:%s"):format(msg.transport, ip, sent_by),
  }
  if rport then
    via = via:gsub(";%s*rport[^;]*", ""):gsub(";%s*received=[^;]*", "")
    via = string.format("%s;rport=%s;received=%s", via, port, (ip:gsub("[%[%]]", "")))
    return back or msg.source, via
  end
  return back or ("%s:%s"):format(ip, sent_by), via
end

local function new_transaction(ua, msg)
  local to, via = return_path(msg)
  local tx = {
    ua = ua, request = msg, method = msg.method, to = to, via = via,
    key = key_of(msg, msg.method), tag = msg.to_tag, seen = 1, rseq = 0,
  }
  ua.servers[tx.key] = tx
  return tx
end

-- Sends it again at growing intervals until `stop` says so or 64*T1 are over.
local function repeat_until(tx, bytes, limit, stop, give_up)
  local net = tx.ua.net
  local interval, ends = net.t1, net.now + 64 * net.t1
  local function again()
    if stop() then
      return
    elseif net.now >= ends - 1e-9 then
      return give_up and give_up()
    end
    if bytes then
      tx.ua:transmit(bytes, tx.to)
    end
    interval = math.min(2 * interval, limit)
    tx.ua:after(math.min(interval, math.max(ends - net.now, 0)), again)
  end
  tx.ua:after(interval, again)
end

local function end_after(tx, seconds)
  tx.ua:after(seconds, function()
    tx.ua.servers[tx.key] = nil
  end)
end

-- ---- responses -----------------------------------------------------------

local function forms_dialog(tx, code)
  return tx.method == "INVITE" and code > 100 and code < 300
end

local function add_echoed(fields, tx, code)
  local request = tx.request
  local vias = request:list "Via"
  vias[1] = tx.via
  for _, via in ipairs(vias) do
    fields[#fields + 1] = { "Via", via }
  end
  if forms_dialog(tx, code) and not request.to_tag then
    for _, route in ipairs(request:list "Record-Route") do
      fields[#fields + 1] = { "Record-Route", route }
    end
  end
  local to = request:header "To"
  if code > 100 and not request.to_tag then
    to = to .. ";tag=" .. tx.tag
  end
  fields[#fields + 1] = { "From", request:header "From" }
  fields[#fields + 1] = { "To", to }
  fields[#fields + 1] = { "Call-ID", request.call_id }
  fields[#fields + 1] = { "CSeq", request:header "CSeq" }
end

-- What a real one of these carries, unless the test gave it.
local function add_usual(fields, tx, code, opts)
  local given = {}
  for _, field in ipairs(message.fields(opts.headers)) do
    given[field[1]:lower()] = true
    fields[#fields + 1] = field
  end
  if (forms_dialog(tx, code) or tx.method == "UPDATE") and not given.contact then
    fields[#fields + 1] = { "Contact", tx.ua:contact_by(tx.request.transport) }
  end
  if tx.method == "REGISTER" and code == 200 and not given.contact then
    for _, contact in ipairs(tx.request:list "Contact") do
      fields[#fields + 1] = { "Contact", contact }
    end
  end
  if opts.reliable then
    tx.rseq = tx.rseq + 1
    fields[#fields + 1] = { "Require", "100rel" }
    fields[#fields + 1] = { "RSeq", tx.rseq }
  end
end

local function write(tx, code, opts)
  local fields, body = {}, opts.body
  add_echoed(fields, tx, code)
  add_usual(fields, tx, code, opts)
  if not body and tx.method == "INVITE" and code == 200 then
    body = sdp:format(tx.ua.ip, tx.ua.ip)
    fields[#fields + 1] = { "Content-Type", "application/sdp" }
  end
  local reason = opts.reason or reasons[code] or "Whatever"
  return message.write(("SIP/2.0 %d %s"):format(code, reason), fields, body)
end

local function note_dialog(tx, code)
  local ua = tx.ua
  if not forms_dialog(tx, code) then
    return
  end
  local key = dialog.key(tx.request.call_id, tx.tag, tx.request.from_tag)
  tx.dialog = ua.dialogs[key] or dialog.of_request(tx.request, tx.tag)
  ua.dialogs[key] = tx.dialog
  if code >= 200 then
    tx.dialog.state = "confirmed"
    tx.dialog.unacked = tx
  end
end

-- A 2xx is repeated by the endpoint itself, also on a connection (13.3.1.4), another
-- final is not (17.2.1); who never gets an ACK hangs up.
local function await_ack(tx, bytes)
  local is_repeated = tx.code < 300 or not tx.request.conn
  repeat_until(tx, is_repeated and bytes, tx.ua.net.t2, function()
    return tx.acked
  end, function()
    tx.ua.unacked = tx.ua.unacked + 1
    if tx.dialog and tx.code < 300 and tx.dialog.state == "confirmed" then
      tx.ua:bye(tx.dialog)
    end
  end)
  end_after(tx, 64 * tx.ua.net.t1)
end

local function send_reliably(tx, bytes)
  local number = tx.rseq
  repeat_until(tx, bytes, 64 * tx.ua.net.t1, function()
    return tx.code or (tx.pracked or 0) >= number
  end)
end

local function respond(tx, code, opts)
  opts = opts or {}
  if tx.code then
    return nil, "answered already"
  end
  tx.tag = opts.tag or tx.tag or tx.ua.net:token(8)
  tx.ua.net.tags[tx.tag] = tx.ua
  tx.last = write(tx, code, opts)
  note_dialog(tx, code)
  tx.ua:transmit(tx.last, tx.to)
  if code < 200 then
    if opts.reliable then
      send_reliably(tx, tx.last)
    end
    return true
  end
  tx.code = code
  if tx.method == "INVITE" then
    await_ack(tx, tx.last)
  else
    end_after(tx, 64 * tx.ua.net.t1)
  end
  return true
end

-- ---- requests ------------------------------------------------------------

local function find_dialog(ua, msg)
  return ua.dialogs[dialog.key(msg.call_id, msg.to_tag, msg.from_tag)]
end

local function on_ack(ua, msg)
  local tx = ua.servers[key_of(msg, "INVITE")]
  local d = find_dialog(ua, msg)
  if not tx and d then
    tx = d.unacked
  end
  if tx then
    tx.acked = true
  end
end

local function on_cancel(ua, msg, reply)
  local invite = ua.servers[key_of(msg, "INVITE")]
  if not invite then
    return reply(481)
  end
  reply(200)
  if not invite.code then
    respond(invite, 487)
  end
end

local function on_prack(msg, reply, d, invite)
  local number = (msg:header "RAck" or ""):match "^%d+"
  if not d or not invite or not number then
    return reply(481)
  end
  invite.pracked = math.max(invite.pracked or 0, number + 0)
  reply(200)
end

-- The INVITE of a dialog that still rings.
local function ringing(ua, d)
  for key in message.sorted(ua.servers) do
    local tx = ua.servers[key]
    if d and tx.dialog == d and tx.method == "INVITE" then
      return tx
    end
  end
end

local needs_dialog = {
  INVITE = true, BYE = true, UPDATE = true, INFO = true, PRACK = true, NOTIFY = true,
}

local function by_default(ua, msg, reply)
  local d = find_dialog(ua, msg)
  local method = msg.method
  if method == "CANCEL" then
    return on_cancel(ua, msg, reply)
  elseif method == "PRACK" then
    return on_prack(msg, reply, d, ringing(ua, d))
  elseif needs_dialog[method] and not d and (msg.to_tag or method == "BYE") then
    return reply(481)
  end
  reply(method == "REFER" and 202 or 200)
end

local function follow(ua, msg)
  local d = find_dialog(ua, msg)
  if not d then
    return
  elseif msg.method == "BYE" then
    d.state = "ended"
    d.ended_by = "remote"
  elseif msg.method == "INVITE" or msg.method == "UPDATE" then
    d:refresh(msg)
  end
end

local function decide(ua, method)
  local queue = ua.queued[method]
  if queue and queue[1] then
    return table.remove(queue, 1)
  end
  return ua.rules[method] or (method ~= "CANCEL" and ua.rules["*"])
end

-- A request came.
function methods:on_request(msg)
  if msg.method == "ACK" then
    on_ack(self, msg)
    local rule = self.rules.ACK
    return rule and rule(msg)
  end
  local tx = self.servers[key_of(msg, msg.method)]
  if tx then
    tx.seen = tx.seen + 1
    if tx.last then
      self:transmit(tx.last, tx.to)
    end
    return
  end
  tx = new_transaction(self, msg)
  follow(self, msg)
  local function reply(code, opts)
    return respond(tx, code, opts)
  end
  local rule = decide(self, msg.method) or function()
    by_default(self, msg, reply)
  end
  rule(msg, reply)
end

-- ---- what to answer ------------------------------------------------------

local function answering(self, code, headers, after)
  if type(headers) == "number" then
    headers, after = nil, headers
  end
  return function(_, reply)
    if not after then
      return reply(code, { headers = headers })
    end
    self:after(after, function()
      reply(code, { headers = headers })
    end)
  end
end

-- Answers every request of a method ("*": those without a rule) so from now on.
---@param method string
---@param code integer
---@param headers table? by name
---@param after number? seconds
function methods:answer(method, code, headers, after)
  self.rules[method] = answering(self, code, headers, after)
end

-- The same for the next request only; several calls queue up.
function methods:once(method, code, headers, after)
  self.queued[method] = self.queued[method] or {}
  table.insert(self.queued[method], answering(self, code, headers, after))
end

-- fn(request, reply): reply(code[, opts]) may be called at any time and more than
-- once. opts: headers, body, reason, tag, reliable. nil: the default again.
---@param method string
---@param fn fun(request: tandem.sim.Message, reply: function)?
function methods:on(method, fn)
  if fn ~= nil and type(fn) ~= "function" then
    error("on: a function is needed", 2)
  end
  self.rules[method] = fn
end

-- Rings, and after some seconds answers; without them it rings for ever.
---@param after number?
function methods:ring(after)
  self:on("INVITE", function(request, reply)
    if request.to_tag then
      return reply(200)
    end
    reply(180)
    if after then
      self:after(after, function()
        reply(200)
      end)
    end
  end)
end

-- Both know each other's dialogs, as two nodes of one server do.
---@param other tandem.sim.Endpoint
function methods:share_dialogs(other)
  self.dialogs = other.dialogs
end

return uas
