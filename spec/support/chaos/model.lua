-- What proxies must know of transactions, made up again from the wire alone (RFC 3261
-- section 17.1.3 and 17.2.3): which transaction a message belongs to, and what has been
-- sent and heard of it. It judges nothing; the checkers do, by what it notes in a
-- packet:
--
--   sent by a proxy       p.life, p.st, p.ct, p.is_first (the first of its kind)
--   arrived at a proxy    p.at = { life, st, ct, is_first }; nil: it got nowhere
--
-- A proxy that dies forgets everything: with each start it begins a new life.
local message = require "support.chaos.message"
local ipairs, math, next, setmetatable, table = ipairs, math, next, setmetatable, table

local _ENV = nil

local model = {}

local methods = {}
methods.__index = methods

local bounces = { nobody = true, unsent = true, too_big = true } -- the proxy is told at once
local second = 1000000
local at_once = 2000 -- another worker may have to do it
local timer_h, timer_i = 32000000, 5000000

---@class chaos.Server a server transaction of a proxy
---@field m table the request
---@field time integer
---@field transport string
---@field source string
---@field cts chaos.Client[]
---@field finals table[] first of each different final that went up: code, bytes, time
---@field last_up integer? code of the last response that went up
---@field accepted boolean? a 2xx went up
---@field cancelled integer? when a CANCEL arrived
---@field signed integer? since when the key has been used that it is signed with
---@field refused boolean? a refusal of it was passed on before it came
---@field withheld integer? when it was clear that no final goes up
---@field acked integer? when the ACK of a non-2xx arrived

---@class chaos.Client a client transaction of a proxy
---@field m table the request
---@field st chaos.Server? nil: the proxy's own request
---@field to string
---@field transport string
---@field sends integer[]
---@field heard integer? when the first response arrived
---@field rang integer? when the first 101-199 did
---@field final table? the first final that arrived
---@field final_at integer?
---@field cancel chaos.Client?
---@field unsent boolean? it could not leave
---@field icmp integer? when an ICMP error or the end of the connection was told

-- strangers: addresses, as a set.
---@param trace table
---@param strangers table<string, boolean>?
function model.new(trace, strangers)
  return setmetatable({
    trace = trace, lives = {}, node_at = {}, own = {}, flying = {},
    strangers = strangers or {},
  }, methods)
end

-- A proxy of the network, and the IPs that are its own or might become so.
function methods:add_node(id, machine, ips)
  self.node_at[machine] = id
  for i = 1, #ips do
    self.own[ips[i]] = true
  end
  self:begin(id)
end

-- The process of the proxy starts, or ends.
function methods:begin(id, runs)
  local before = self.lives[id]
  if before then
    before.over = true
  end
  self.lives[id] = {
    node = id, number = (before and before.number or 0) + 1, began = self.trace.now,
    servers = {}, clients = {}, calls = {}, acks = {}, passed = {}, adopted = {},
    refused = {}, came_up = {}, met = {},
    relayed = {}, replayed = {}, heard = {}, lost = {}, asked = {}, runs = runs ~= false,
  }
  return self.lives[id]
end

-- Something is done to it that may lose any message, as a lack of memory does: until
-- it ends nothing is due. impaired_at is when it was last so.
function methods:impair(id, on)
  local life = self.lives[id]
  local n = (life.impaired or 0) + (on and 1 or -1)
  life.impaired = n > 0 and n or nil
  life.impaired_at = self.trace.now
end

-- ---- requests ------------------------------------------------------------

local function touch(life, transaction)
  if life.impaired and transaction then
    transaction.impaired = true
  end
end

-- Timers H, I, J and L have run out.
local function has_run_out(st, now)
  if st.withheld then
    return now > st.withheld + timer_h
  elseif not st.done then
    return st.method ~= "INVITE" and now > st.time + timer_h - 2000 -- timer F
  elseif st.method == "INVITE" and st.acked and not st.accepted then
    return now > st.acked + (st.transport == "udp" and timer_i or 0)
  end
  return now > st.done + timer_h
end

-- Once and for all: a 2xx that comes later changes nothing.
local function is_over(st, now)
  st.over = st.over or has_run_out(st, now)
  return st.over
end

-- The proxy knows nothing of it any more, and takes a copy for another request.
local function is_forgotten(st, now)
  return st.stateless or st.unanswered or is_over(st, now)
end

-- A request belongs to who was the first to send it: what a stranger repeats while we
-- know of it is a repetition, else a request of the stranger's, of which the caller's own
-- is then a repetition.
local function find_server(self, life, p, m)
  local key, now = message.key(m.branch, m.sent_by, m.method), self.trace.now
  local function is_copy_of(st)
    return st and st.transport == p.transport and not is_forgotten(st, now)
  end
  if is_copy_of(life.servers[key]) then
    return life.servers[key], key
  end
  for addr in next, self.strangers do
    local st = life.servers[key .. addr]
    if is_copy_of(st) and (st.logged or not st.finals[1]) then -- not refused without state
      return life.servers[key .. addr], key .. addr
    end
  end
  key = self.strangers[p.from] and key .. p.from or key
  return life.servers[key], key
end

-- Is it still known that a refusal of it was passed on before it came here (timers H, I)?
local function is_refused(life, key, now)
  local refusal = life.refused[key]
  return refusal and now - (refusal.acked or refusal.time)
    <= (refusal.acked and timer_i or timer_h)
end

local function request_arrives(self, life, p, m)
  local st, key = find_server(self, life, p, m)
  local before = st
  if st and is_forgotten(st, self.trace.now) then
    st = nil
  end
  local is_first = not st and m.method ~= "ACK"
  if is_first then
    local invite = m.method == "CANCEL" and life.servers[(key:gsub("|CANCEL", "|INVITE", 1))]
    st = {
      key = key, m = m, time = self.trace.now, transport = p.transport, source = p.from,
      life = life, method = m.method, cts = {}, finals = {}, seen = 0,
      invite = invite and not is_over(invite, self.trace.now) and invite or nil,
      again = before ~= nil, is_unsure = before and before.is_unsure, signed = self.signed,
      refused = is_refused(life, key, self.trace.now),
    }
    life.servers[key] = st
    local name = m.call_id .. " " .. m.method .. " " .. p.from
    life.asked[name] = life.asked[name] or {}
    table.insert(life.asked[name], st)
  end
  touch(life, st)
  if m.method == "ACK" then
    life.acks[message.plain_via(m.vias[1])] = m
    local refusal = life.refused[key]
    if refusal then
      refusal.acked = refusal.acked or self.trace.now
    end
  end
  if st and m.method == "ACK" then
    st.acked = st.acked or (st.done and self.trace.now) -- else of what was refused before
  elseif st then
    st.seen = st.seen + 1
    st.last_in = self.trace.now
    if st.invite and is_first then
      st.invite.cancelled = st.invite.cancelled or self.trace.now
    end
  end
  p.at = { life = life, st = st, is_first = is_first }
end

-- What a stranger repeats with the Via of somebody else is a transaction of its own: it is
-- told apart by what we have noted in the Via.
local function mark_of(self, via)
  for addr in next, self.strangers do
    if via:find("received=" .. addr:match "^[^:]+", 1, true) then
      return addr
    end
  end
  return ""
end

-- The transaction whose request this is a copy of: that of the Via below ours.
local function parent_of(self, life, m)
  local branch, sent_by = message.via(m, 2)
  if not branch then
    return nil
  end
  local key, mark = message.key(branch, sent_by, m.method), mark_of(self, m.vias[2])
  local own = life.servers[key]
  return life.servers[key .. mark] or (own and own.is_unsure and own or nil)
end

local function new_client(self, life, p, m, key)
  local ct = {
    key = key, m = m, to = p.to, transport = p.transport, method = m.method, sends = {},
    life = life, st = parent_of(self, life, m), branch = m.branch, time = self.trace.now, acks = 0,
    i = p.i, answers = {},
  }
  life.clients[key] = ct
  life.calls[m.call_id] = life.calls[m.call_id] or {}
  table.insert(life.calls[m.call_id], ct)
  if m.method == "CANCEL" then
    ct.invite = life.clients[m.branch .. "|INVITE"]
    if ct.invite then
      ct.invite.cancel = ct
    end
  elseif ct.st then
    table.insert(ct.st.cts, ct)
  end
  return ct
end

local function request_leaves(self, life, p, m)
  local key = m.branch .. "|" .. (m.method == "ACK" and "INVITE" or m.method)
  local ct = life.clients[key]
  if ct and m.method ~= "ACK" and (ct.st and ct.st ~= parent_of(self, life, m)
    or not ct.st and ct.final_at and self.trace.now - ct.final_at > timer_i) then
    ct = nil -- that one has ended
  end
  p.is_first = not ct
  if not ct and m.method ~= "ACK" then
    ct = new_client(self, life, p, m, key)
  end
  touch(life, ct)
  touch(life, ct and ct.st)
  if ct and m.method == "ACK" then
    ct.acks = ct.acks + 1
  elseif ct then
    table.insert(ct.sends, self.trace.now)
  end
  p.ct, p.st = ct, ct and ct.st
end

-- When it may have begun, with the name of its server, or a connection that did not come up:
-- when its request came, or the one before it had ended.
function model.began(ct, patience)
  local before
  for _, other in ipairs(ct.st.cts) do
    if other == ct then
      break
    end
    before = other
  end
  if not before then
    return ct.st.time
  end
  return math.min(ct.time, before.final_at or before.icmp or before.time + patience)
end

local function remove(list, one)
  for i = #list, 1, -1 do
    if list[i] == one then
      table.remove(list, i)
    end
  end
end

-- It could not leave: nobody has seen it, and its transaction has ended with that.
local function never_left(life, ct)
  if #ct.sends > 1 or life.clients[ct.key] ~= ct then
    return
  end
  ct.unsent = true
  life.clients[ct.key] = nil
  remove(life.calls[ct.m.call_id], ct)
  if ct.invite then
    ct.invite.cancel = nil
  elseif ct.st then
    remove(ct.st.cts, ct)
  end
end

-- ---- responses -----------------------------------------------------------

-- A response less its top Via, or with all of them.
function model.response_key(m, skip)
  local vias = {}
  for i = skip + 1, #m.vias do
    vias[#vias + 1] = message.plain_via(m.vias[i])
  end
  return table.concat(vias, ",") .. "\n" .. m.rest .. "\n" .. m.body
end

local function response_arrives(self, life, p, m)
  life.met[m.branch] = true
  local name = model.response_key(m, 1)
  life.heard[name] = { time = self.trace.now, m = m }
  if self.strangers[p.from] then -- a 503 goes up as 500
    life.replayed[name] = self.trace.now
    life.replayed[(name:gsub("\nRetry%-After:[^\n]*", ""))] = self.trace.now
  end
  local ct = life.clients[m.branch .. "|" .. m.cseq_method]
  local is_first = ct ~= nil and not ct.final
  touch(life, ct)
  touch(life, ct and ct.st)
  p.at = { life = life, ct = ct, st = ct and ct.st, is_first = is_first }
  if not ct then
    return
  end
  ct.before, ct.heard_before = ct.final, ct.heard -- what was known when it came
  if not ct.answers[m.bytes] then
    ct.answers[m.bytes] = true
    table.insert(ct.answers, m)
  end
  ct.heard = ct.heard or self.trace.now
  if m.code < 200 then
    ct.rang = ct.rang or (m.code > 100 and self.trace.now) or nil
    ct.proceeding = ct.proceeding or self.trace.now
  elseif not ct.final then
    ct.final, ct.final_at = m, self.trace.now
  end
end

-- A refusal that was passed on for the process before is repeated as one's own, also when
-- its request comes again here.
local function note_adopted(life, m, now)
  if m.cseq_method == "INVITE" and m.code >= 300 then
    local known = life.adopted[m.bytes] or { time = now, count = 0 }
    known.count = known.count + 1
    life.adopted[m.bytes] = known
    local key = message.key(m.branch, m.sent_by, "INVITE")
    life.refused[key] = life.refused[key] or { time = now }
  end
end

local function response_leaves(self, life, p, m)
  local st = life.servers[message.key(m.branch, m.sent_by, m.cseq_method)
    .. mark_of(self, m.vias[1])]
  local is_late = st and m.code < 300 and st.method == "INVITE" and is_over(st, self.trace.now)
  if st and not is_late and is_over(st, self.trace.now) then
    st = nil
  end
  p.st = st
  touch(life, st)
  if not st then
    life.relayed[m.bytes] = true
    note_adopted(life, m, self.trace.now)
    return
  end
  if st.unanswered then -- the end of it that another node had to say
    note_adopted(life, m, self.trace.now)
  end
  if m.code == 503 and life.draining and not st.cts[1] then
    st.stateless = true -- refused without keeping state
  end
  if m.code < 200 then
    st.heard = st.heard or self.trace.now
    return
  end
  for i = 1, #st.finals do
    if st.finals[i].bytes == m.bytes then
      st.finals[i].last = self.trace.now
      st.finals[i].count = st.finals[i].count + 1
      return
    end
  end
  p.is_first = true
  local known = life.adopted[m.bytes]
  st.repeated = known and known.count - 1 or 0
  table.insert(st.finals, {
    code = m.code, bytes = m.bytes, m = m, time = known and known.time or self.trace.now,
    last = self.trace.now, count = 1,
  })
  st.accepted = st.accepted or m.code < 300
  st.done = st.done or self.trace.now
end

-- ---- what the trace tells ------------------------------------------------

-- Is what goes there held up? A stream takes no more than fits on its way.
function methods:is_held_up(st)
  return st.transport ~= "udp" and (self.flying[st.source] or 0) > 0
end

-- Has the caller's connection ended, so that it may not be reached any more?
function methods.is_out_of_reach(_, st)
  return st.lost_way or st.life.lost[st.source] ~= nil
end

-- It ended without an answer. What is no INVITE is known for as long as after one
-- (RFC 4320), but for what is another node's to say, who has the address: that is not
-- kept. Whose it was when the address has moved meanwhile is not seen from here: then what
-- comes next under the same key may be a repetition or not.
function methods:ends_unanswered(st)
  local now = self.trace.now
  if st.method == "INVITE" or (self.moved or -1) >= st.time or now - st.time >= timer_h then
    st.unanswered = true
    st.is_unsure = st.method ~= "INVITE"
  else
    st.withheld = now
  end
end

function methods:logged(node, _, event, fields)
  if event == "flow.down" and fields.peer then
    self.lives[node].lost[fields.peer] = self.trace.now
  elseif event == "flow.up" and fields.peer then
    self.lives[node].came_up[fields.peer] = self.trace.now
  elseif event == "request" and fields.call_id then
    local name = fields.call_id .. " " .. fields.method .. " " .. (fields.src or "")
    local began = self.trace.now - (fields.total or 0) * second
    for _, st in ipairs(self.lives[node].asked[name] or {}) do
      if math.abs(st.time - began) < 5000 then
        st.logged = true
        if fields.code == 0 and not st.done then
          self:ends_unanswered(st)
        end
      end
    end
  end
end

-- The end of something that is due at once: fn is called when it was time for it, which
-- is later while the caller cannot be reached.
function methods:at_once(st, fn)
  local function look()
    if st.life.over or st.impaired or self:is_out_of_reach(st) then
      return
    elseif self:is_held_up(st) then
      return self.trace:by(self.trace.now + second, look)
    end
    fn()
  end
  self.trace:by(self.trace.now + at_once, look)
end

local function count_flying(self, p, n)
  if p.transport ~= "udp" then
    self.flying[p.to] = (self.flying[p.to] or 0) + n
  end
end

function methods:sent(p, m)
  if p.node then
    count_flying(self, p, 1)
  end
  local life = p.node and self.lives[p.node]
  if not life or not m then
    return
  end
  p.life = life
  if m.method then
    request_leaves(self, life, p, m)
  else
    response_leaves(self, life, p, m)
  end
end

-- An ICMP error quotes what could not be delivered.
local function error_arrives(self, life, p)
  local quoted = message.read(p.bytes:find "\r\n\r\n" and p.bytes or p.bytes .. "\r\n\r\n")
  local branch = quoted and quoted.branch or p.bytes:match ";branch=([^;,%s]*)"
  for _, method in ipairs { "INVITE", quoted and quoted.method } do
    local ct = branch and life.clients[branch .. "|" .. (method or "")]
    if ct then
      ct.icmp = ct.icmp or self.trace.now
    end
  end
end

function methods:arrived(p, m, host, fate)
  local id = self.node_at[host]
  p.at = nil
  if p.node then
    count_flying(self, p, -1)
  end
  if p.st and m.code and p.transport ~= "udp" and fate ~= "delivered" then
    p.st.lost_way = true -- its connection has ended
  elseif p.ct and m.method and bounces[fate] then
    p.ct.icmp = p.ct.icmp or self.trace.now
    if fate == "unsent" and m.method ~= "ACK" then
      never_left(p.life, p.ct)
    end
    if p.ct.st and fate == "nobody" then
      p.ct.st.homeless = true -- we have not the address, maybe: another node has its calls
    end
  end
  if fate ~= "delivered" or not id then
    return
  end
  local life = self.lives[id]
  if self.strangers[p.from] then
    life.strangers_at = self.trace.now
  end
  if p.icmp then
    error_arrives(self, life, p)
  elseif m and m.method then
    request_arrives(self, life, p, m)
  elseif m then
    response_arrives(self, life, p, m)
  end
end

return model
