-- I13: requests and refusals are repeated at T1, 2 T1, 4 T1, ... and never else (RFC 3261
-- 17.1.1.2, 17.1.2.2, 17.2.1); nothing is repeated on a connection.
-- I12: who calls over UDP hears something at the latest 200 ms after the first attempt
-- left, or as soon as a server has answered; over a connection 200 ms after its request
-- (semantics 11).
-- I18: who has rung is not left for another server.
local model = require "support.chaos.model"
local ipairs, math, setmetatable = ipairs, math, setmetatable

local _ENV = nil

local timers = {}

local methods = {}
methods.__index = methods

local second = 1000000
local T1, T2 = second // 2, 4 * second
local slack = 3000 -- timers of the core count milliseconds

-- opts: forks = the script tries several at once; attempts = most client transactions
-- of one request.
---@param trace table
---@param the_model table
---@param opts table
function timers.new(trace, the_model, opts)
  return setmetatable({ trace = trace, model = the_model, opts = opts }, methods)
end

local function name(ct)
  return ("%s to %s"):format(ct.method, ct.to)
end

-- ---- client transactions -------------------------------------------------

-- Until the n-th repetition, for who hears nothing.
local function due_after(method, n)
  if method == "INVITE" then
    return T1 * (2 ^ n - 1) // 1
  end
  local time, gap = 0, T1
  for _ = 1, n do
    time, gap = time + gap, math.min(2 * gap, T2)
  end
  return time
end

-- Nobody waits for an answer of it any more, as far as the wire says.
local function is_given_up(ct, now)
  local st = ct.st
  if ct.final or ct.icmp or ct.life.over or ct.impaired or not st or st.impaired then
    return true
  elseif #st.finals > 0 or st.cancelled then
    return true
  end
  for _, other in ipairs(st.cts) do
    if other.final and (other.final.code >= 600 or other.final.code < 300) then
      return true -- nobody else is wanted (16.7 steps 5 and 10)
    end
  end
  local last = st.cts[#st.cts]
  return last ~= ct and last.time > ct.time + slack and last.time <= now
end

-- A repetition that must come.
local function expect_repetition(self, ct, n)
  local trace = self.trace
  local at = ct.sends[1] + due_after(ct.method, n)
  trace:by(at + slack, function()
    if ct.sends[n + 1] or ct.heard or is_given_up(ct, at) then
      return
    elseif at - model.began(ct, self.opts.patience) >= self.opts.patience then
      return
    end
    trace:violate("I13", ("%s was not repeated after %.1f s"):format(name(ct),
      (at - ct.sends[1]) / second), ct.m.call_id)
  end)
end

local function check_repetition(self, p, ct)
  local n = #ct.sends - 1
  local now, trace = self.trace.now, self.trace
  local wrong
  if p.transport ~= "udp" then
    -- Once, when a connection that was used again turns out to be dead.
    wrong = n > 1 and "more than once on a connection"
  elseif ct.final then
    wrong = "after a final"
  elseif ct.method == "INVITE" and ct.heard then
    wrong = "after a response"
  elseif ct.proceeding then
    local gap = now - ct.sends[n]
    -- The timer that was running goes on; from then on it is T2 (17.1.2.2).
    wrong = gap < T1 - slack and "too early, after a provisional"
  elseif math.abs(now - ct.sends[1] - due_after(ct.method, n)) > slack then
    wrong = ("as number %d"):format(n)
  end
  if wrong then
    trace:violate("I13", ("%s was repeated %s, %.3f s after the first"):format(name(ct),
      wrong, (now - ct.sends[1]) / second), ct.m.call_id)
  end
end

-- I18. What waited for its connection was begun before, and may have been given up since.
local function check_attempt(self, ct)
  local st, now = ct.st, self.trace.now
  if not st or st.impaired then
    return
  elseif #st.cts > self.opts.attempts then
    self.trace:violate("I18", ("attempt %d of one request"):format(#st.cts), ct.m.call_id)
  end
  local other = st.cts[#st.cts - 1]
  if other and other.rang and not other.final and other.rang < now
    and not self.opts.forks and ct.method == "INVITE" and ct.life.came_up[ct.to] ~= now then
    self.trace:by(now, function()
      if not ct.unsent then
        self.trace:violate("I18", ("%s while %s rings"):format(name(ct), other.to), ct.m.call_id)
      end
    end)
  end
end

-- ---- server transactions -------------------------------------------------

-- I12: something is heard in time.
local function expect_response(self, st, at)
  self.trace:by(at + slack, function()
    if st.heard or #st.finals > 0 or st.life.over or st.impaired or st.homeless
      or (self.model.moved or -1) >= st.time
      or self.model:is_out_of_reach(st) or self.model:is_held_up(st) then
      return
    end
    self.trace:violate("I12", ("nobody has answered the INVITE of %s for %.3f s"):format(
      st.source, (at - st.time) / second), st.m.call_id)
  end)
end

local patience = 15 * second -- until a connection is up

-- Has somebody else said it again, so that it was passed on without a transaction?
local function was_replayed(life, m, now)
  local at = life.replayed[model.response_key(m, 0)]
  return at ~= nil and now - at <= patience
end

local function check_final(self, p, st, m)
  local final
  for _, one in ipairs(st.finals) do
    final = one.bytes == m.bytes and one or final
  end
  local now = self.trace.now
  if not final or m.code < 300 or final.count == 1 or st.last_in == now then
    return
  elseif st.life.relayed[m.bytes] and not (st.method == "INVITE" and p.transport == "udp") then
    return -- before its request came here, too: it is not the first one that we know
  elseif st.unanswered then
    return -- it is forgotten: what still comes is passed on as if it had never been here
  elseif self.model:is_out_of_reach(st) then
    return -- once more, on another connection
  elseif st.life.strangers_at == now or self.model.strangers[p.to] then
    return -- a copy of the request, from somebody else
  elseif p.transport ~= "udp" and was_replayed(st.life, m, now) then
    return
  elseif st.method ~= "INVITE" or p.transport ~= "udp" then
    self.trace:violate("I13", ("%d to %s of %s was repeated unasked"):format(m.code, st.method,
      st.source), m.call_id)
    return
  end
  st.repeated = st.repeated + 1
  local at = due_after("G", st.repeated)
  if st.acked and st.acked < now then
    self.trace:violate("I13", ("%d was repeated after its ACK"):format(m.code), m.call_id)
  elseif math.abs(now - final.time - at) > slack then
    self.trace:violate("I13", ("%d was repeated %.3f s after the first, as number %d"):format(
      m.code, (now - final.time) / second, st.repeated), m.call_id)
  end
end

-- ---- what the trace tells ------------------------------------------------

function methods:sent(p, m)
  if not p.life or not m then
    return
  end
  local ct = p.ct
  if m.code then
    if p.st and m.code >= 200 then
      check_final(self, p, p.st, m)
    end
  elseif ct and m.method ~= "ACK" then
    if p.is_first then
      check_attempt(self, ct)
      local st = ct.st
      if st and st.method == "INVITE" and #st.cts == 1 then
        expect_response(self, st, self.trace.now + second // 5)
      end
    else
      check_repetition(self, p, ct)
    end
    if p.transport == "udp" and #ct.sends < 12 then
      expect_repetition(self, ct, #ct.sends)
    end
  end
end

function methods:arrived(p, m)
  local at = p.at
  if not at or not at.is_first or not m.method or at.st.method ~= "INVITE" then
    return
  end
  if p.transport ~= "udp" then
    expect_response(self, at.st, self.trace.now + second // 5)
  end
end

return timers
