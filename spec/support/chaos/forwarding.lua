-- What is passed on, and how it looks then.
--
-- I1: a repetition never reaches the script: one line of the log for each transaction.
-- I6: a new target has a new branch; a repetition is the same, byte by byte; nobody else
-- ever uses the branch.
-- I7: two nodes (or one before and after its death) give the same transaction at the same
-- target the same branch.
-- I8: a request leaves with exactly one Via more, a response with exactly ours less; a
-- response that nobody asked for goes nowhere.
-- I9: headers that the script does not edit, and the body, pass byte by byte.
-- I10: Max-Forwards is one less, and 0 goes nowhere.
-- I14: the ACK of a 2xx is passed on at once.
-- I15: within a call the route set decides (shared dialogs: or a server of the pool).
-- I16: what two nodes make of the same request is the same.
-- I23: one script decides about one request.
local message = require "support.chaos.message"
local model = require "support.chaos.model"
local ipairs, math, next, setmetatable, table = ipairs, math, next, setmetatable, table

local _ENV = nil

local forwarding = {}

local methods = {}
methods.__index = methods

-- opts: shared = addresses of servers that share their calls; rewrites = the Request-URI
-- may change; named = IPs of servers, when names lead to them (what a server sends has the
-- same branch only at nodes that know it for one).
---@param trace table
---@param the_model table
---@param opts table
function forwarding.new(trace, the_model, opts)
  return setmetatable({
    trace = trace, model = the_model, opts = opts, branches = {}, copies = {}, lines = {},
    sources = {}, wrote = {},
    relayed = {}, refused = {}, accepted = {},
  }, methods)
end

local function violate(self, invariant, m, form, ...)
  self.trace:violate(invariant, form:format(...), m.call_id)
end

-- ---- requests ------------------------------------------------------------

-- I8
local function check_vias(self, m, received)
  if #m.vias ~= #received.vias + 1 then
    return violate(self, "I8", m, "%s left with %d Via, and had come with %d", m.method, #m.vias,
      #received.vias)
  end
  for i, via in ipairs(received.vias) do
    if message.plain_via(m.vias[i + 1]) ~= message.plain_via(via) then
      violate(self, "I8", m, "%s left with the Via %s in place of %s", m.method, m.vias[i + 1], via)
      break
    end
  end
  if not self.model.own[m.sent_by:match "^(.-):?%d*$"] then
    violate(self, "I8", m, "%s left with a Via of %s on top", m.method, m.sent_by)
  end
end

-- I10
local function check_hops(self, m, received)
  local before = math.tointeger(received["max-forwards"])
  local after = math.tointeger(m["max-forwards"])
  if not after or (before and after ~= before - 1) or (not before and after ~= 70) then
    violate(self, "I10", m, "%s left with Max-Forwards %s, and had come with %s", m.method,
      m["max-forwards"] or "none", received["max-forwards"] or "none")
  elseif before == 0 then
    violate(self, "I10", m, "%s with Max-Forwards 0 was passed on", m.method)
  end
end

-- The lines in which two texts differ, for people.
local function difference(a, b)
  local known, lines = {}, {}
  for line in (b .. "\n"):gmatch "([^\n]*)\n" do
    known[line] = true
  end
  for line in (a .. "\n"):gmatch "([^\n]*)\n" do
    if not known[line] then
      lines[#lines + 1] = line
    end
  end
  return lines[1] and table.concat(lines, " / ") or "their order"
end

-- I9
local function check_bytes(self, m, received, what)
  if m.rest ~= received.rest then
    violate(self, "I9", m, "%s was changed on the way: %s, not %s", what,
      difference(m.rest, received.rest), difference(received.rest, m.rest))
  elseif m.body ~= received.body then
    violate(self, "I9", m, "the body of %s was changed on the way", what)
  end
  local length = math.tointeger(m["content-length"])
  if length and length ~= #m.body then
    violate(self, "I9", m, "%s has %d bytes of body and says %d", what, #m.body, length)
  end
end

-- I6: what a branch is for.
local function check_branch(self, p, m, ct)
  if not p.is_first then
    if m.bytes ~= ct.m.bytes or p.to ~= ct.to then
      violate(self, "I6", m, "%s to %s in the branch of another one to %s", m.method, p.to, ct.to)
    end
    return
  end
  local key = m.branch .. "|" .. m.method
  local known = self.branches[key]
  if not known then
    self.branches[key] = { m = m, to = p.to, life = p.life }
  elseif known.to ~= p.to or known.m.call_id ~= m.call_id or known.m.number ~= m.number
    or known.m.from_tag ~= m.from_tag then
    violate(self, "I6", m, "%s to %s has the branch of one to %s", m.method, p.to, known.to)
  end
end

-- I7, I16: the same request at the same target for the n-th time, whoever sends it.
local function check_copies(self, p, m, ct)
  local st, visit = ct.st, 0
  if st.again then
    return -- its first branch may still be in use
  end
  for _, other in ipairs(st.cts) do
    visit = visit + ((other.to == ct.to and other.transport == ct.transport) and 1 or 0)
  end
  local key = table.concat({
    st.key, st.source, m.uri, p.to, p.transport, visit, m.sent_by, m.from_tag or "", m.call_id,
    m.number, st.signed or "",
  }, " ")
  local known = self.copies[key]
  if not known then
    self.copies[key] = m
    return
  end
  if self.opts.named and self.opts.named[st.source:match "^(.-):%d+$"] then
    return
  elseif known.branch ~= m.branch and not p.life.met[known.branch] then
    -- (else the attempt of the other one was answered here, and this is a second one)
    violate(self, "I7", m, "%s to %s has the branch %s after %s", m.method, p.to, m.branch,
      known.branch)
  elseif known.rest ~= m.rest or known.body ~= m.body
    or table.concat(known.routes, ",") ~= table.concat(m.routes, ",") then
    violate(self, "I16", m, "another node makes something else of %s to %s: %s", m.method, p.to,
      difference(m.rest, known.rest))
  end
end

local function is_own(self, route)
  local host = route:match "@([%d.]+)" or route:match "<sips?:([%d.]+)"
  return host ~= nil and self.model.own[host] ~= nil
end

-- "10.0.0.1:5060", "udp" of a URI with an IP; nil: it names nobody's address.
local function place(uri)
  local text = uri:match "<([^>]*)>" or uri
  local ip, port = text:gsub("^(sips?:)[^@]*@", "%1"):match "^sips?:([%d.]+):?(%d*)"
  local transport = text:lower():match ";transport=(%w+)" or "udp"
  if ip and ip:find "^%d+%.%d+%.%d+%.%d+$" then
    local usual = transport == "tls" and "5061" or "5060"
    return ip .. ":" .. (port ~= "" and port or usual), transport
  end
end

-- "10.0.0.1:5060", "udp": where the route set leads. nil: to a name, or to a phone behind a
-- NAT, to which its flow is the way.
local function way_of(self, received)
  local next_hop = received.uri
  for _, route in ipairs(received.routes) do
    if not is_own(self, route) then
      next_hop = route
      break
    elseif route:find ";ob" or route:find "~" then
      return
    end
  end
  local to, transport = place(next_hop)
  if to and not to:find "^192%.168%." then
    return to, transport
  end
end

-- I15
local function check_way(self, p, m, received)
  if m.uri ~= received.uri and not self.opts.rewrites
    and not (received.to_tag and self.opts.shared and self.opts.shared[p.to]) then
    violate(self, "I9", m, "%s left for %s, and had come for %s", m.method, m.uri, received.uri)
  end
  if not received.to_tag or self.opts.shared and self.opts.shared[p.to] then
    return
  end
  local to, transport = way_of(self, received)
  if not to then
    return
  elseif self.model.strangers[p.to] then
    return -- who has repeated somebody's INVITE has a call, and a flow, of its own
  elseif p.transport ~= "udp" and self.sources[m.call_id .. " " .. p.to] then
    return -- the flow of a phone, which nobody could connect to
  elseif to ~= p.to or transport ~= p.transport then
    violate(self, "I15", m, "%s of a call went to %s (%s), not to %s (%s)", m.method, p.to,
      p.transport, to, transport)
  end
end

-- I23
local function check_generation(self, m, st)
  local first = st.cts[1]
  if first and first.m["x-generation"] ~= m["x-generation"] then
    violate(self, "I23", m, "the script of generation %s went on with a request of %s",
      m["x-generation"] or "?", first.m["x-generation"] or "?")
  end
end

local function request_leaves(self, p, m)
  local ct = p.ct
  local received = ct and ct.st and ct.st.m
  if m.method == "ACK" and #m.vias > 1 then
    p.life.passed[message.plain_via(m.vias[2])] = true
    received = p.life.acks[message.plain_via(m.vias[2])]
  elseif m.method == "ACK" or m.method == "CANCEL" then
    return
  end
  if #m.vias > 1 and not received then
    violate(self, "I8", m, "%s left for %s that nobody has sent", m.method, p.to)
  end
  if ct and m.method ~= "ACK" then
    check_branch(self, p, m, ct)
  end
  if not received or (ct and m.method ~= "ACK" and not p.is_first) then
    return
  end
  check_vias(self, m, received)
  check_hops(self, m, received)
  check_bytes(self, m, received, m.method)
  check_way(self, p, m, received)
  if ct and m.method ~= "ACK" then
    check_copies(self, p, m, ct)
    check_generation(self, m, ct.st)
  end
end

-- ---- responses -----------------------------------------------------------

-- ---- challenges --------------------------------------------------------

local challenges = { ["WWW-Authenticate"] = true, ["Proxy-Authenticate"] = true }

-- The lines of a response that are no challenge; and how often each challenge is there.
local function split_challenges(rest)
  local others, count = {}, {}
  for line in rest:gmatch "[^\n]+" do
    if challenges[line:match "^[^:]+"] then
      count[line] = (count[line] or 0) + 1
    else
      others[#others + 1] = line
    end
  end
  return table.concat(others, "\n"), count
end

local function asks_who(code)
  return code == 401 or code == 407
end

-- I9: of several who ask who it is, all are passed on, in one response (16.7 step 7).
local function check_challenge(self, m, st, answer)
  local rest, got = split_challenges(m.rest)
  local said = split_challenges(answer.rest)
  local due = {}
  for _, ct in ipairs(st.cts) do
    if ct.final and asks_who(ct.final.code) and ct.final_at <= self.trace.now then
      local _, count = split_challenges(ct.final.rest)
      for line, n in next, count do
        due[line] = (due[line] or 0) + n
      end
    end
  end
  if rest ~= said or m.body ~= answer.body then
    return violate(self, "I9", m, "%d to %s was changed on the way: %s, not %s", m.code,
      st.method, difference(rest, said), difference(said, rest))
  end
  for line, n in next, got do
    if n > (due[line] or 0) then
      violate(self, "I9", m, "%d went up with a challenge that nobody made: %s", m.code, line)
    end
  end
  for line, n in next, due do
    if n > (got[line] or 0) and not st.impaired and not self.opts.own_choice then
      violate(self, "I9", m, "%d went up without the challenge %s", m.code, line)
    end
  end
end

-- The response of a server that this one is a copy of: in these very words, or else what
-- comes next to it. (Servers that share a call answer with one tag.)
local function origin(st, m)
  local like, whose
  for _, ct in ipairs(st.cts) do
    for _, answer in ipairs(ct.answers) do
      local is_same = answer.code == m.code or (answer.code == 503 and m.code == 500)
      if is_same and answer.to_tag == m.to_tag then
        if answer.rest == m.rest then
          return answer, ct
        end
        like, whose = like or answer, whose or ct
      end
    end
  end
  return like, whose
end

local function same_vias(m, vias, skip)
  if #m.vias ~= #vias - skip then
    return false
  end
  for i, via in ipairs(m.vias) do
    if message.plain_via(via) ~= message.plain_via(vias[i + skip]) then
      return false
    end
  end
  return true
end

local function without_retry(rest)
  return (rest:gsub("\nRetry%-After:[^\n]*", ""))
end

local patience = 15000000 -- until a connection is up

-- Without a transaction of this life (semantics 20): one that has just come, less our
-- Via; or what was sent so before, which is repeated until its ACK.
local function is_relayed(self, p, m)
  local life, now = p.life, self.trace.now
  local key = model.response_key(m, 0)
  local input = life.heard[key]
  if not input and m.code == 500 then
    input = self.refused[key]
  end
  local wait = p.transport == "udp" and 0 or patience
  if input and now - input.time <= wait then
    self.relayed[m.bytes] = now
    return true
  end
  return self.relayed[m.bytes] ~= nil and now - self.relayed[m.bytes] <= 32 * 1000000
end

-- Has the server said it in these words?
function methods.said(_, ct, start)
  for _, answer in ipairs(ct.answers) do
    if answer.start == start then
      return true
    end
  end
  return false
end

local function response_leaves(self, p, m)
  local st = p.st
  local was_said = self.wrote[m.bytes]
  self.wrote[m.bytes] = true
  if not st then
    if not is_relayed(self, p, m) and not was_said and not self.model.strangers[p.to] then
      violate(self, "I8", m, "%d left for %s, which has asked nothing", m.code, p.to)
    end
    return
  end
  if st.unanswered then
    is_relayed(self, p, m) -- and may be repeated to a request that comes yet
  end
  if not same_vias(m, st.m.vias, 0) then
    violate(self, "I8", m, "%d left with other Via headers than its request had", m.code)
  end
  local answer, ct
  if m.code > 100 and m.to_tag then
    answer, ct = origin(st, m)
  end
  if answer and answer.rest ~= m.rest and is_relayed(self, p, m) then
    return -- what a server that shares the call has said to another node
  end
  if answer then
    if m.code ~= answer.code then -- 503 as 500: less a Retry-After
      answer = { body = answer.body, rest = without_retry(answer.rest) }
    end
    if self.opts.forks and asks_who(m.code) then
      check_challenge(self, m, st, answer)
    else
      check_bytes(self, m, answer, m.code .. " to " .. st.method)
    end
    if answer.code and not self:said(ct, m.start) then
      violate(self, "I9", m, "%s was changed on the way", m.start)
    end
  elseif m.code > 100 and (m.contact or (m.code < 300 and st.method ~= "CANCEL"))
    and not is_relayed(self, p, m) then
    violate(self, "I8", m, "%d to %s went up, and no server has said so", m.code, st.method)
  end
end

-- ---- requests that arrive ------------------------------------------------

-- I14: the ACK of a 2xx goes on at once.
local function expect_ack(self, p, m)
  local at = p.at
  local to, transport = way_of(self, m)
  if at.st or not self.accepted[m.call_id .. " " .. (m.to_tag or "")] or transport ~= "udp"
    or is_own(self, m.uri) or self.model.strangers[p.from] or m["max-forwards"] == "0"
    or at.life.refused[message.key(m.branch, m.sent_by, "INVITE")] then -- for the process before
    return
  end
  local via = message.plain_via(m.vias[1])
  self.trace:by(self.trace.now + 2000, function()
    if not at.life.passed[via] and not at.life.over and not at.life.impaired then
      violate(self, "I14", m, "the ACK of a 2xx did not go on to %s", to)
    end
  end)
end

-- ---- what the trace tells ------------------------------------------------

function methods:sent(p, m)
  if p.node and not m and not p.icmp and p.bytes:find "^SIP/2.0 " then
    self.trace:violate("I8", "a response left without a Via, or a header that all have")
  end
  if not p.life or not m then
    return
  elseif m.method then
    request_leaves(self, p, m)
  else
    response_leaves(self, p, m)
  end
end

-- I1
function methods:arrived(p, m)
  local at = p.at
  if at and m and m.code == 503 then -- goes up as 500, without its Retry-After
    self.refused[(model.response_key(m, 1):gsub("\nRetry%-After:[^\n]*", ""))] = {
      time = self.trace.now,
    }
  end
  if at and m and m.code and m.code // 100 == 2 and m.to_tag then
    self.accepted[m.call_id .. " " .. m.to_tag] = true
  elseif at and m and m.method == "ACK" then
    expect_ack(self, p, m)
  end
  if at and m and p.transport ~= "udp" then
    self.sources[m.call_id .. " " .. p.from] = true
  end
  if at and at.is_first and m.method and at.st then
    local key = at.life.node .. " " .. at.life.number .. " " .. m.call_id .. " " .. m.method
    self.lines[key] = (self.lines[key] or 0) + 1
  end
end

function methods:logged(node, _, event, fields)
  if event ~= "request" then
    return
  end
  local life = self.model.lives[node]
  local key = node .. " " .. life.number .. " " .. (fields.call_id or "") .. " "
    .. (fields.method or "")
  local left = self.lines[key] or 0
  self.lines[key] = left - 1
  if left < 1 and not life.impaired then
    self.trace:violate("I1", ("one %s more was given to the script than had come"):format(
      fields.method), fields.call_id)
  end
end

return forwarding
