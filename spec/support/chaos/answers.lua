-- What goes up to callers, and what servers are told of their answers.
--
-- I2: at most one final response per server transaction, 2xx to an INVITE excepted, and
-- every copy of it is the same, byte by byte.
-- I3: every 2xx to an INVITE goes up at once; after our own refusal it is acknowledged
-- and hung up instead (late_answer).
-- I4: no refusal after a 2xx; 6xx before all; a 503 of a server is no 503 of ours.
-- I5: CANCEL is answered 200 at once, and goes to branches that ring, once each.
-- I11: to what is no INVITE there is no provisional but 100, that not early, and no 408.
-- I14: a refusal is acknowledged at once, to whom it came from, in the same branch; its
-- ACK is not passed on.
local message = require "support.chaos.message"
local model = require "support.chaos.model"
local ipairs, setmetatable = ipairs, setmetatable

local _ENV = nil

local answers = {}

local methods = {}
methods.__index = methods

local second = 1000000
local T1 = second // 2

-- opts: late = "bye" or "forward"; own_503 = the script says 503 itself; patience = how
-- long the shortest attempt may take, microseconds.
---@param trace table
---@param the_model table
---@param opts table
function answers.new(trace, the_model, opts)
  return setmetatable({ trace = trace, model = the_model, opts = opts }, methods)
end

local function violate(self, invariant, m, form, ...)
  self.trace:violate(invariant, form:format(...), m.call_id)
end

-- ---- responses that go up ------------------------------------------------

-- I2, I4
local function check_final(self, st, m)
  local no_state = not st.cts[1] and not st.logged and st.method ~= "CANCEL"
  if st.stateless or no_state then
    return -- was refused so; what another process has asked for is passed on
  end
  local first = st.finals[1]
  local distinct = #st.finals
  if m.cseq_method ~= "INVITE" then
    local refused = m.code == 503 and st.life.draining -- without looking at what was said
    local replayed = st.transport ~= "udp" and st.life.replayed[model.response_key(m, 0)]
    if distinct > 1 and not refused and not replayed then
      violate(self, "I2", m, "a second final, %d after %d, to %s", m.code, first.code, st.method)
    end
    return
  end
  local refusals = 0
  for i, final in ipairs(st.finals) do
    refusals = refusals + (final.code >= 300 and 1 or 0)
    if final.code >= 300 and i > 1 and st.finals[i - 1].code < 300 then
      violate(self, "I4", m, "%d after a 2xx", final.code)
    end
  end
  -- After its ACK nothing is left of one over a connection (timers D and I): what the
  -- server repeats then is passed on for another node.
  local is_gone = st.transport ~= "udp" and st.acked and self.trace.now > st.acked
  if refusals > 1 and not is_gone then
    violate(self, "I2", m, "a second refusal, %d after %d", m.code, first.code)
  end
end

-- Had it been silent for so long, counted from when it may have begun, that it may have been
-- given up before it spoke?
local function came_late(self, ct)
  local began = self.opts.forks and ct.st.time or model.began(ct, self.opts.patience)
  return ct.heard == ct.final_at and ct.final_at - began >= self.opts.patience
end

-- I4: the best of those that were heard.
local function check_choice(self, st, m)
  local worst_is_ours = m.code == 503 and not self.opts.own_503
  if worst_is_ours and not (st.life.draining and not st.cts[1]) and not st.life.stopping then
    violate(self, "I4", m, "503 went up")
  end
  if m.code >= 600 or st.cancelled or self.opts.own_choice then
    return
  end
  for i, ct in ipairs(st.cts) do
    local after = not self.opts.forks and st.cts[i + 1] -- it had been given up
    if ct.final and ct.final.code >= 600 and ct.final_at < self.trace.now and not ct.impaired
      and not (after and after.time <= ct.final_at) and not came_late(self, ct) then
      violate(self, "I4", m, "%d went up, and %s had said %d", m.code, ct.to, ct.final.code)
    end
  end
end

-- I11
local function check_other(self, st, m)
  if m.code == 100 then
    if st.transport == "udp" and not st.again and self.trace.now - st.time < 7 * T1 - 2000 then
      violate(self, "I11", m, "100 to %s after %.3f s", st.method,
        (self.trace.now - st.time) / second)
    end
  elseif m.code < 200 then
    violate(self, "I11", m, "%d to %s went up", m.code, st.method)
  elseif m.code == 408 then
    violate(self, "I11", m, "408 to %s", st.method)
  elseif self.trace.now - st.time > 64 * T1 + 64 * T1 + second then
    violate(self, "I11", m, "%d to %s after %.1f s", m.code, st.method,
      (self.trace.now - st.time) / second)
  end
end

local function response_leaves(self, p, m)
  local st = p.st
  if not st or st.unanswered or self.model.strangers[p.to] then
    return
  end
  if m.code == 100 and #st.finals > 0 then
    violate(self, "I2", m, "100 after a final to %s", st.method)
  end
  if st.method ~= "INVITE" and st.method ~= "CANCEL" then
    check_other(self, st, m)
  end
  if m.code < 200 or not p.is_first then
    return
  end
  check_final(self, st, m)
  if m.code >= 300 and st.method == "INVITE" and not st.impaired then
    check_choice(self, st, m)
  end
end

-- ---- answers of servers --------------------------------------------------

-- Has a copy of this gone up since then?
local function went_up(st, m, since)
  local from = message.plain_via(m.vias[2] or "")
  for _, final in ipairs(st.finals) do
    if final.last >= since and final.m.rest == m.rest and final.m.body == m.body
      and final.m.start == m.start and message.plain_via(final.m.vias[1]) == from then
      return true
    end
  end
  return false
end

-- Must the proxy know of this branch yet? Who heard nothing gives up some time after the
-- last copy and then still knows of it for 64*T1; who rang is known for as long as the
-- call may still be answered.
local function is_known(ct, now)
  if ct.final and ct.before then
    return ct.was_known and now - ct.final_at < 64 * T1 - second
  elseif not ct.heard_before then
    return now - ct.sends[#ct.sends] < 64 * T1
  end
  local st = ct.st
  return now - (st and st.done or now) < 64 * T1 - second
    and now - ct.time < 150 * second
end

local function knows(ct, now)
  local known = is_known(ct, now)
  if not ct.before then
    ct.was_known = known
  end
  return known
end

-- What has become of the call of a late 2xx, by its To tag.
local function ended(ct, tag)
  ct.late = ct.late or {}
  ct.late[tag] = ct.late[tag] or {}
  return ct.late[tag]
end

-- I3
local function expect_up(self, p, at, m)
  local ct, st, now = at.ct, at.st, self.trace.now
  if not st or ct.method ~= "INVITE" or st.impaired or at.life.impaired then
    return
  elseif ct.before and ct.before.code >= 300 or self.model.strangers[p.from]
    or self.model.strangers[st.source] then
    return -- it has refused before; somebody repeats what was said long ago, or has asked
  elseif not knows(ct, now) or now - (st.done or now) > 64 * T1 - second then
    return -- timers M and L
  end
  local first = st.finals[1] -- a 2xx of no transaction may have passed since
  local refused = first and first.code >= 300
  local function look()
    -- Where the address was elsewhere for a while the request may have begun anew.
    local again = st.life.servers[st.key]
    if refused and self.opts.late == "bye" then
      local late = ended(ct, m.to_tag)
      if st.homeless and went_up(st, m, now) then
        return -- our address had gone, and the transaction with it (semantics 20)
      elseif not late.acked and ct.transport == "udp" then
        violate(self, "I3", m, "a late 2xx of %s was not acknowledged", ct.to)
      elseif not late.bye and ct.transport == "udp" then
        violate(self, "I3", m, "a late 2xx of %s was not hung up", ct.to)
      end
      return
    end
    if not went_up(st, m, now) and not (again and went_up(again, m, now)) then
      violate(self, "I3", m, "a 2xx of %s did not go up", ct.to)
    end
  end
  self.model:at_once(st, look)
end

-- I14
local function expect_ack(self, p, at, m)
  local ct, now = at.ct, self.trace.now
  if ct.method ~= "INVITE" or ct.impaired or at.life.impaired then
    return
  elseif not knows(ct, now) then
    return
  elseif p.transport ~= "udp" and ct.before then
    return -- timer D is 0
  elseif ct.before and ct.before.code < 300 then
    return -- 200 and then a refusal
  end
  local acks = ct.acks
  local wait = ct.transport == "udp" and 2000 or 12 * second -- until a connection is up
  self.trace:by(now + wait, function()
    local excused = ct.life.over or ct.impaired or (wait > 2000 and ct.life.lost[p.from])
    if ct.acks == acks and not excused then
      violate(self, "I14", m, "%d of %s was not acknowledged", m.code, p.from)
    end
  end)
end

local function response_arrives(self, p, m)
  local at = p.at
  if not at.ct or m.code < 200 then
    return
  elseif m.code < 300 then
    expect_up(self, p, at, m)
  elseif m.cseq_method == "INVITE" then
    expect_ack(self, p, at, m)
  end
end

-- ---- requests that leave -------------------------------------------------

-- I5
local function check_cancel(self, p, m)
  local ct = p.ct
  local invite = ct.invite
  local st = invite and invite.st
  if not invite or (st and (st.homeless or st.unanswered or st.over)) then
    return -- without a transaction, to whom it may concern (semantics 20)
  elseif not p.is_first then
    return
  end
  if not invite.proceeding then
    violate(self, "I5", m, "CANCEL to %s, which has not answered", p.to)
  elseif invite.final and invite.final_at < self.trace.now and not invite.impaired then
    violate(self, "I5", m, "CANCEL to %s after its %d", p.to, invite.final.code)
  elseif p.to ~= invite.to or m.uri ~= invite.m.uri then
    violate(self, "I5", m, "CANCEL goes to %s for %s, the INVITE went to %s for %s", p.to, m.uri,
      invite.to, invite.m.uri)
  elseif #m.vias ~= 1 or m.sent_by ~= invite.m.sent_by then
    violate(self, "I5", m, "CANCEL with another Via than its INVITE")
  elseif m.number ~= invite.m.number or m.to ~= invite.m.to or m.from ~= invite.m.from then
    violate(self, "I5", m, "CANCEL with another CSeq, From or To than its INVITE")
  end
  for i, route in ipairs(m.routes) do
    if route ~= invite.m.routes[i] then
      violate(self, "I5", m, "CANCEL with another Route than its INVITE")
    end
  end
end

-- Is this our own ACK or BYE for a 2xx that came late?
local function note_late(p, m)
  local number = m.number - (m.method == "BYE" and 1 or 0)
  for _, ct in ipairs(p.life.calls[m.call_id] or {}) do
    if ct.final and ct.method == "INVITE" and ct.m.number == number and m.to_tag then
      ended(ct, m.to_tag)[m.method == "BYE" and "bye" or "acked"] = true
    end
  end
end

-- Is the transaction of the refusal over? It may be when that came, when the request found
-- our address gone, and by timer D, which is 0 on connections: another one is too late.
local function is_gone(ct, now)
  local is_stream = ct.transport ~= "udp"
  local patience = is_stream and 2000 or 64 * T1 - second
  return not ct.was_known or now - ct.final_at > patience or (ct.st and ct.st.homeless)
    or (is_stream and ct.acks > 1)
end

-- I14
local function check_ack(self, p, m)
  local ct = p.ct
  if #m.vias > 1 then
    if not p.life.acks[message.plain_via(m.vias[2])] then
      violate(self, "I14", m, "an ACK left for %s that nobody sent", p.to)
    end
    return
  elseif not ct then
    note_late(p, m)
    return
  end
  if not ct.final then
    violate(self, "I14", m, "an ACK to %s, which has not refused", p.to)
  elseif self.model.strangers[p.to] or is_gone(ct, self.trace.now) then
    return -- without a transaction, to where the refusal came from (semantics 20)
  elseif p.to ~= ct.to or m.uri ~= ct.m.uri or m.sent_by ~= ct.m.sent_by then
    violate(self, "I14", m, "the ACK of a refusal goes to %s for %s", p.to, m.uri)
  elseif m.number ~= ct.m.number or m.from ~= ct.m.from then
    violate(self, "I14", m, "the ACK of a refusal has another CSeq or From")
  end
end

-- ---- requests that arrive ------------------------------------------------

local function cancel_arrives(self, at, m)
  local st, invite = at.st, at.st.invite
  if not at.is_first or not invite or at.life.impaired or invite.impaired
    or invite.homeless or invite.unanswered or invite.stateless then
    return
  end
  self.model:at_once(st, function()
    if not st.finals[1] or st.finals[1].code ~= 200 then
      violate(self, "I5", m, "CANCEL was not answered 200 at once")
    end
  end)
  self.trace:by(self.trace.now + 65 * T1, function()
    if not invite.finals[1] and not invite.life.over and not invite.impaired
      and not (invite.homeless or invite.unanswered)
      and not self.model:is_out_of_reach(invite) then
      violate(self, "I5", m, "no final to a call that was cancelled 32 s ago")
    end
  end)
end

-- ---- what the trace tells ------------------------------------------------

function methods:sent(p, m)
  if not p.life or not m then
    return
  elseif m.code then
    response_leaves(self, p, m)
  elseif m.method == "CANCEL" then
    check_cancel(self, p, m)
  elseif m.method == "ACK" then
    check_ack(self, p, m)
  elseif m.method == "BYE" and #m.vias == 1 then
    note_late(p, m)
  end
end

function methods:arrived(p, m)
  if not p.at then
    return
  elseif m.code then
    response_arrives(self, p, m)
  elseif m.method == "CANCEL" then
    cancel_arrives(self, p.at, m)
  end
end

return answers
