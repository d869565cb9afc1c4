-- The asking half of an endpoint: client transactions (RFC 3261 section 17.1), the
-- ACK of a 2xx along the route set (13.2.2.4), CANCEL, and requests in dialogs.
local address = require "tandem.sim.address"
local call = require "tandem.sim.call"
local dialog = require "tandem.sim.dialog"
local message = require "tandem.sim.message"
local error, ipairs, math, string, table = error, ipairs, math, string, table

local _ENV = nil

local uac = {}

---@class tandem.sim.Endpoint
local methods = {}
uac.methods = methods

local offer = "v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\n"
  .. "m=audio 30000 RTP/AVP 0\r\n"

-- ---- building ------------------------------------------------------------

local function via(ua, branch, to)
  local transport = address.transport(to)
  local socket = ua.sockets[transport]
  if not socket then
    error(("%s has no %s socket to reach %s"):format(ua.name, transport, to), 0)
  end
  return string.format("SIP/2.0/%s %s;branch=%s;rport", transport:upper(),
    ua.private or socket.addr, branch)
end

-- A request as bytes. `fields` are the headers after Via and Max-Forwards.
local function write(method, uri, fields, body, vias)
  local all = { { "Via", vias }, { "Max-Forwards", 70 } }
  for _, field in ipairs(fields) do
    if field[1]:lower() == "max-forwards" then
      all[2] = field
    else
      all[#all + 1] = field
    end
  end
  return message.write(("%s %s SIP/2.0"):format(method, uri), all, body)
end

local function new_branch(ua)
  return "z9hG4bK" .. ua.net:token(16)
end

local function has(fields, name)
  for _, field in ipairs(fields) do
    if field[1]:lower() == name then
      return true
    end
  end
  return false
end

local function default_body(ua, method, opts, fields)
  if opts.body or method ~= "INVITE" then
    return opts.body
  end
  fields[#fields + 1] = { "Content-Type", "application/sdp" }
  return offer:format(ua.ip, ua.ip)
end

local function add_given(ua, method, opts, fields, to)
  for _, field in ipairs(message.fields(opts.headers)) do
    fields[#fields + 1] = field
  end
  if not has(fields, "contact") and method ~= "BYE" and method ~= "CANCEL" then
    fields[#fields + 1] = { "Contact", ua:contact_by(address.transport(to)) }
  end
end

-- ---- transactions --------------------------------------------------------

local function key_of(branch, method)
  return branch .. "|" .. method
end

-- Timers A and E: how long until the next retransmission.
local function next_interval(tx)
  local net = tx.ua.net
  if tx.method == "INVITE" then
    return 2 * tx.interval
  end
  return tx.proceeding and net.t2 or math.min(2 * tx.interval, net.t2)
end

local function retransmit(tx)
  if tx.done or (tx.proceeding and tx.method == "INVITE") then
    return
  end
  tx.ua:transmit(tx.bytes, tx.to)
  tx.interval = next_interval(tx)
  tx.ua:after(tx.interval, function()
    retransmit(tx)
  end)
end

local function forget(tx)
  tx.ua.clients[tx.key] = nil
end

local function fail(tx, why)
  tx.done = true
  forget(tx)
  tx.on_failure(why)
end

-- Sends a request and calls on_response for what comes, on_failure after 64*T1
-- without a final (INVITE: without any response), or when nobody can be reached.
local function start(ua, tx)
  local net = ua.net
  tx.ua, tx.interval = ua, net.t1
  tx.key = key_of(tx.branch, tx.method)
  ua.clients[tx.key] = tx
  tx.conn = ua:transmit(tx.bytes, tx.to)
  if address.transport(tx.to) == "udp" then
    ua:after(net.t1, function()
      retransmit(tx)
    end)
  end
  ua:after(64 * net.t1, function()
    if not tx.done and not (tx.proceeding and tx.method == "INVITE") then
      fail(tx, "timeout")
    end
  end)
  return tx
end

-- A connection could not be opened, or has been ended. What was sent on it and had
-- no response fails (17.1.4); what had one may get the rest on another connection.
function methods:on_connection_lost(conn)
  for key in message.sorted(self.clients) do
    local tx = self.clients[key]
    if tx.conn == conn and not tx.done and not tx.proceeding then
      fail(tx, "transport")
    end
  end
end

-- 17.1.1.3: the ACK for a non-2xx belongs to the transaction.
local function ack_failure(tx, response)
  local fields = {}
  for _, route in ipairs(tx.routes or {}) do
    fields[#fields + 1] = { "Route", route }
  end
  fields[#fields + 1] = { "From", response:header "From" }
  fields[#fields + 1] = { "To", response:header "To" }
  fields[#fields + 1] = { "Call-ID", response.call_id }
  fields[#fields + 1] = { "CSeq", response.cseq .. " ACK" }
  tx.ack = write("ACK", tx.uri, fields, nil, via(tx.ua, tx.branch, tx.to))
  tx.ua:transmit(tx.ack, tx.to)
end

-- A response came.
function methods:on_response(msg)
  local tx = msg.branch and self.clients[key_of(msg.branch, msg.cseq_method)]
  if not tx then
    return
  end
  if msg.code < 200 then
    tx.proceeding = true
  elseif not tx.done then
    tx.done = true
    self:after(64 * self.net.t1, function()
      forget(tx)
    end)
  end
  if tx.method == "INVITE" and msg.code >= 300 and tx.acks ~= false then
    ack_failure(tx, msg)
  end
  tx.on_response(msg)
end

-- ---- requests outside dialogs --------------------------------------------

local function add_identity(ua, uri, opts, fields)
  local again = opts.again
  local from_tag = again and again.from_tag or opts.from_tag or ua.net:token(8)
  local call_id = again and again.id or opts.call_id or (ua.net:token(16) .. "@" .. ua.host)
  local cseq = opts.cseq or (again and again.cseq + 1) or 1
  local method = opts.method
  for _, route in ipairs(opts.route or {}) do
    fields[#fields + 1] = { "Route", route }
  end
  local from = opts.from or ua.aor
  local to = opts.to or (method == "REGISTER" and from) or uri
  fields[#fields + 1] = { "From", ("<%s>;tag=%s"):format(from, from_tag) }
  fields[#fields + 1] = { "To", ("<%s>"):format(to) }
  fields[#fields + 1] = { "Call-ID", call_id }
  fields[#fields + 1] = { "CSeq", cseq .. " " .. method }
  return { id = call_id, cseq = cseq, from_tag = from_tag, uri = uri }
end

local function hop_of(ua, uri, opts)
  if opts.proxy then
    return ua:hop(opts.proxy)
  elseif opts.route and opts.route[1] then
    return ua:resolve(opts.route[1])
  end
  return ua:next_hop(uri)
end

-- ---- answers to calls ----------------------------------------------------

local function dialog_for(self, response, cseq)
  local key = dialog.key(response.call_id, response.from_tag, response.to_tag)
  local d = self.dialogs[key] or dialog.of_response(response, cseq)
  self.dialogs[key] = d
  return d
end

-- The ACK of a 2xx is a request of its own, along the route set.
local function ack_success(self, d, cseq, opts)
  local fields = d:headers()
  fields[#fields + 1] = { "CSeq", cseq .. " ACK" }
  for _, field in ipairs(message.fields(opts and opts.headers)) do
    fields[#fields + 1] = field
  end
  local to = self:resolve(d:hop(), true)
  d.ack = write("ACK", d.target, fields, opts and opts.body,
    via(self, new_branch(self), to))
  self:transmit(d.ack, to)
end

local function has_token(response, header, token)
  for _, value in ipairs(response:list(header)) do
    if value:lower() == token then
      return true
    end
  end
  return false
end

local function on_provisional(self, c, response)
  table.insert(c.provisionals, math.tointeger(response.code))
  if c.phase == "calling" then
    c.phase = "ringing"
  end
  if response.to_tag and response.code > 100 then
    c.early = dialog_for(self, response, c.cseq)
    if has_token(response, "Require", "100rel") and c.prack ~= false then
      self:in_dialog(c.early, "PRACK", {
        headers = { RAck = response:header "RSeq" .. " " .. c.cseq .. " INVITE" },
      })
    end
  end
  if c.cancel_wanted then
    self:send_cancel(c)
  end
end

-- The first 2xx is the call. A second dialog, or an answer to a call that was
-- cancelled, is acknowledged and hung up.
local function on_success(self, c, response)
  local d = dialog_for(self, response, c.cseq)
  local first = not c.done
  if first then
    c.dialog, c.phase = d, "up"
    c:finish(response)
  elseif d ~= c.dialog and not d.ack then
    c.extra = c.extra + 1
  end
  if d.ack then
    return self:transmit(d.ack, self:resolve(d:hop(), true))
  elseif c.acks == false then
    return
  end
  d.state = "confirmed"
  d:refresh(response)
  ack_success(self, d, c.cseq)
  if c.cancelled or d ~= c.dialog then
    self:bye(d)
  end
end

local function on_answer(self, c, response)
  table.insert(c.responses, response)
  if response.code < 200 then
    return on_provisional(self, c, response)
  elseif c.method == "INVITE" and response.code < 300 then
    return on_success(self, c, response)
  end
  if not c.done then
    c.phase = "failed"
    c:finish(response)
  end
end

local function launch(self, c, fields, opts, to)
  local branch = opts.branch or new_branch(self)
  add_given(self, c.method, opts, fields, to)
  local body = default_body(self, c.method, opts, fields)
  c.tx = start(self, {
    method = c.method, uri = c.uri, branch = branch, to = to, routes = opts.route,
    acks = opts.ack, bytes = write(c.method, c.uri, fields, body,
      opts.via or via(self, branch, to)),
    on_response = function(response)
      on_answer(self, c, response)
    end,
    on_failure = function(why)
      c.phase = "failed"
      c:finish(nil, why)
    end,
  })
  return c
end

-- Sends a request and returns at once. opts: headers, body, from, to, route (a
-- list of values), proxy (address), call_id, cseq, from_tag, branch, via, and
-- `again` = an earlier call of which this is the next try, as after a 407.
---@param method string
---@param uri string
---@param opts table?
---@return tandem.sim.Call
function methods:request(method, uri, opts)
  opts = message.copy(opts)
  opts.method = method
  local fields = {}
  local c = call.new(self, method, add_identity(self, uri, opts, fields))
  c.acks, c.prack = opts.ack, opts.prack
  table.insert(self.calls, c)
  return launch(self, c, fields, opts, hop_of(self, uri, opts))
end

---@param uri string
---@param opts table?
---@return tandem.sim.Call
function methods:invite(uri, opts)
  return self:request("INVITE", uri, opts)
end

-- An INVITE, and the network run until its final response is in.
function methods:call(uri, opts)
  return self:invite(uri, opts):wait()
end

-- The same for any request.
function methods:ask(method, uri, opts)
  return self:request(method, uri, opts):wait()
end

-- ---- in dialogs ----------------------------------------------------------

-- The dialog of this endpoint that belongs to a call, its own or another's.
local function dialog_of(self, what)
  if what.routes and what.call_id then
    return what
  elseif what.ua == self and (what.dialog or what.early) then
    return what.dialog or what.early
  end
  local found
  for key in message.sorted(self.dialogs) do
    local d = self.dialogs[key]
    if d.call_id == what.id and (not found or d.state == "confirmed") then
      found = d
    end
  end
  return found
end

-- Sends a request in the dialog of a call; returns at once.
---@param what tandem.sim.Call
---@param method string
---@param opts table? headers, body, route (replaces the route set), proxy, uri
---@return tandem.sim.Call
function methods:in_dialog(what, method, opts)
  local d = dialog_of(self, what)
  if not d then
    error(("%s has no dialog of this call"):format(self.name), 2)
  end
  opts = message.copy(opts)
  local saved = d.routes
  d.routes = opts.route or saved
  local fields, hop = d:headers(), d:hop()
  opts.route, d.routes = d.routes, saved
  local c = call.new(self, method, {
    id = d.call_id, cseq = opts.cseq or d:next_cseq(), from_tag = d.local_tag,
    uri = opts.uri or d.target, dialog = d,
  })
  c.acks = opts.ack
  fields[#fields + 1] = { "CSeq", c.cseq .. " " .. method }
  if method == "INVITE" then
    d.ack = nil -- the next one is another
  end
  return launch(self, c, fields, opts, opts.proxy and self:hop(opts.proxy)
    or self:resolve(hop, true))
end

function methods:bye(what, opts)
  local d = dialog_of(self, what)
  local c = self:in_dialog(what, "BYE", opts)
  d.state, d.ended_by = "ended", "local"
  return c
end

function methods:reinvite(what, opts)
  return self:in_dialog(what, "INVITE", opts)
end

-- The ACK that `ack = false` held back.
function methods:ack(what, opts)
  local d = dialog_of(self, what)
  d.state = "confirmed"
  ack_success(self, d, what.cseq or d.cseq, opts)
end

-- 9.1: only once a provisional came; until then it waits for one.
---@param c tandem.sim.Call
function methods:cancel(c)
  c.cancelled, c.cancel_wanted = true, true
  if c.tx.proceeding then
    self:send_cancel(c)
  end
end

function methods:send_cancel(c)
  c.cancel_wanted = false
  if c.done then
    return
  end
  local fields = {}
  local invite = message.parse(c.tx.bytes)
  for _, name in ipairs { "Route", "From", "To", "Call-ID" } do
    for _, value in ipairs(invite:all(name)) do
      fields[#fields + 1] = { name, value }
    end
  end
  fields[#fields + 1] = { "CSeq", c.cseq .. " CANCEL" }
  c.cancel = call.new(self, "CANCEL", { id = c.id, cseq = c.cseq, uri = c.uri })
  c.cancel.tx = start(self, {
    method = "CANCEL", uri = c.uri, branch = c.tx.branch, to = c.tx.to,
    bytes = write("CANCEL", c.uri, fields, nil, invite:header "Via"),
    on_response = function(response)
      if response.code >= 200 then
        c.cancel:finish(response)
      end
    end,
    on_failure = function(why)
      c.cancel:finish(nil, why)
    end,
  })
end

return uac
