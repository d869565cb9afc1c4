-- Random lives of calls against a model that was written from the wire alone: after
-- every event what each server counts equals what the packets say (semantics 25).
--
-- The model sees the packets that leave the proxy, because every count changes in the
-- moment in which one does: a call begins when its 2xx goes up, an attempt ends when a
-- refusal is acknowledged, another server is tried or the caller gets a final answer.
-- Only silence leaves no packet: it ends after a known time.
local sim = require "support.sim"

local lives_each, networks = 500, 10 -- for each number of workers
local span = 120 -- seconds in which the lives of a network begin
local max_duration, silence, patience, ringing = 150, 32, 2, 100 -- seconds

local script = [[
local sip = require "tandem"
local core = require "tandem.core"
sip.listen { "udp:0.0.0.0:5060" }
local server = {}
for i, name in ipairs { "a", "b", "c" } do
  server[name] = core.member("gw", name, {
    addr = "10.0.0." .. i .. ":5060", resources = { "pstn" }, max_duration = 150 })
end
sip.route("INVITE", function(req) -- X-Try: "a b" one after the other, "a+b" at once
  for group in req:header("X-Try"):gmatch "%S+" do
    local targets = {}
    for name in group:gmatch "%a" do
      targets[#targets + 1] = { facts = server[name] }
    end
    local res, err = req:_try(targets, {
      timeout = 2, ring_timeout = 100, resources = { pstn = tonumber(req:header "X-Units") },
    })
    if err == "cancelled" then return end
    if res and res.code ~= 503 then return res:forward() end
  end
  req:reply(500)
end)
]]

-- ---- the model -------------------------------------------------------------

local Model = {}
Model.__index = Model

local servers = { "a", "b", "c" }
local names = {
  ["10.0.0.1:5060"] = "a", ["10.0.0.2:5060"] = "b", ["10.0.0.3:5060"] = "c",
}

local function new_model(net)
  local counts = {}
  for _, name in pairs(names) do
    counts[name] = { setup = 0, calls = 0, used = 0 }
  end
  return setmetatable({
    net = net, world = net.world, seen = 0, counts = counts,
    tags = {}, branches = {}, refusals = {}, responses = {},
    units = {},
    attempts = {}, invites = {}, dialogs = {}, byes = {}, timed = {}, begun = 0, checks = 0,
    skipped = 0, next_at = math.huge, loads = {},
  }, Model)
end

-- What the model knows of a message.
local function read(bytes)
  local head = bytes:match "^(.-\r\n)\r\n"
  local m = { method = head:match "^(%u+) " }
  m.code = not m.method and tonumber(head:match "^SIP/2.0 (%d+)")
  m.from_tag = head:match "\r\nFrom: [^\r]*;tag=([^\r;]*)" or ""
  m.to_tag = head:match "\r\nTo: [^\r]*;tag=([^\r;]*)" or ""
  m.call_id = head:match "\r\nCall%-ID: ([^\r]*)"
  m.cseq, m.what = head:match "\r\nCSeq: (%d+) (%u+)"
  m.branch = head:match ";branch=([^\r;,]*)"
  m.session = tonumber(head:match "\r\nSession%-Expires: (%d+)" or head:match "\r\nx: (%d+)")
  m.units = tonumber(head:match "\r\nX%-Units: (%d+)")
  m.request = table.concat({ m.call_id, m.cseq, m.from_tag }, "|")
  m.inside = m.request .. "|" .. m.to_tag
  if m.from_tag < m.to_tag then
    m.dialog = table.concat({ m.call_id, m.from_tag, m.to_tag }, "|")
  else
    m.dialog = table.concat({ m.call_id, m.to_tag, m.from_tag }, "|")
  end
  return m
end

function Model:add(server, what, n, call_id)
  local counts = self.counts[server]
  counts[what] = counts[what] + n
  counts.used = counts.used + n * self.units[call_id]
end

function Model:close(attempt)
  if attempt and not attempt.over then
    attempt.over = true
    self:add(attempt.server, "setup", -1, attempt.call_id)
  end
end

function Model:end_dialog(key)
  local dialog = self.dialogs[key]
  if dialog and not dialog.over then
    dialog.over = true
    self:add(dialog.server, "calls", -1, dialog.call_id)
  end
end

-- Something happens then, unless `at` was moved meanwhile.
function Model:later(entry, at, fn)
  entry.at, entry.fn = at, fn
  self.next_at = math.min(self.next_at, at)
  self.timed[entry] = true
end

-- Has a response of that branch reached the proxy?
function Model:was_heard(branch)
  for _, i in ipairs(self.responses[branch] or {}) do
    if select(5, self.world:packet(i)) == "delivered" then
      return true
    end
  end
  return false
end

-- An INVITE goes to a server: what was tried before it is given up.
function Model:invite_sent(m, to, now)
  if m.to_tag ~= "" or self.attempts[m.branch] then
    return -- inside a call, or the same again
  end
  self.units[m.call_id] = m.units
  local invite = self.invites[m.request] or {}
  self.invites[m.request] = invite
  for _, other in ipairs(invite) do
    if other.began < now then
      self:close(other)
    end
  end
  local made = { server = names[to], call_id = m.call_id, began = now }
  self.attempts[m.branch] = made
  self:later(made, now + patience, function()
    if not self:was_heard(m.branch) then
      self:close(made)
    end
  end)
  invite[#invite + 1] = made
  self:add(made.server, "setup", 1, m.call_id)
end

function Model:refresh(dialog, m, now)
  self:later(dialog, now + (m.session and m.session + 32 or max_duration), function()
    self:end_dialog(m.dialog)
  end)
end

-- A final answer to an INVITE goes up.
function Model:invite_answered(m, now)
  local invite = self.invites[m.request]
  if m.code < 300 then
    local dialog = self.dialogs[m.dialog]
    if invite and not dialog then
      dialog = { server = self.tags[m.to_tag], call_id = m.call_id }
      self.dialogs[m.dialog] = dialog
      self:add(dialog.server, "calls", 1, m.call_id)
      self.begun = self.begun + 1
    end
    if dialog and not dialog.over then
      self:refresh(dialog, m, now)
    end
  end
  for _, attempt in ipairs(invite or {}) do
    self:close(attempt)
  end
end

-- The CANCEL of the caller is accepted, or a server said 6xx: what rings is cancelled
-- in the same moment, the rest given up.
function Model:cancelled(m)
  local invite = self.invites[m.request]
  if invite and not invite.cancelled then
    invite.cancelled = true
    self.pending = invite
  end
end

-- The ACK of a refusal has the branch of its INVITE.
function Model:refused(m, attempt)
  if attempt and not attempt.over then
    self:close(attempt)
    if self.refusals[m.branch] >= 600 then
      self:cancelled(m)
    end
  end
end

function Model:settle_cancel()
  for _, attempt in ipairs(self.pending or {}) do
    if not attempt.cancel_sent then
      self:close(attempt)
    end
  end
  self.pending = nil
end

function Model:request_sent(m, to, now)
  local attempt = self.attempts[m.branch]
  if m.method == "INVITE" and names[to] then
    self:invite_sent(m, to, now)
  elseif m.method == "ACK" then
    self:refused(m, attempt)
  elseif m.method == "CANCEL" and attempt then
    attempt.cancel_sent = true
  elseif m.method == "BYE" and not self.byes[m.inside] then
    local bye = {}
    self.byes[m.inside] = bye
    self:later(bye, now + silence, function()
      self:end_dialog(m.dialog)
    end)
  end
end

-- A server rings: from the first time on it may do so for a while.
function Model:rings(m, now)
  local attempt = m.code > 100 and self.attempts[self.branches[m.to_tag]]
  if attempt and not attempt.over and not attempt.rings then
    attempt.rings = true
    self:later(attempt, now + ringing, function()
      self:close(attempt)
    end)
  end
end

function Model:answer_sent(m, now)
  if m.code < 200 then
    self:rings(m, now)
  elseif m.what == "INVITE" then
    self:invite_answered(m, now)
  elseif m.what == "CANCEL" and m.code == 200 then
    self:cancelled(m)
  elseif m.what == "UPDATE" and m.code < 300 then
    local dialog = self.dialogs[m.dialog]
    if dialog and not dialog.over then
      self:refresh(dialog, m, now)
    end
  elseif m.what == "BYE" then
    local bye = self.byes[m.inside]
    if bye then
      bye.over = true
    end
    if m.code ~= 401 and m.code ~= 407 then -- those want it once more
      self:end_dialog(m.dialog)
    end
  end
  if m.code == 481 and m.what ~= "BYE" then
    self:end_dialog(m.dialog)
  end
end

-- What left the proxy since the last time, and which tags servers gave.
function Model:read_packets()
  local instant
  for i = self.seen + 1, self.world:packets() do
    local time, from, to, bytes, _, by, icmp = self.world:packet(i)
    if instant ~= time then
      self:settle_cancel()
      self:expire(time / 1e6)
      instant = time
    end
    if by > 0 and not icmp then
      local m = read(bytes)
      if m.method then
        self:request_sent(m, to, time / 1e6)
      else
        self:answer_sent(m, time / 1e6)
      end
    elseif names[from] and not icmp and bytes:find "^SIP/2.0 " then
      local m = read(bytes)
      self.tags[m.to_tag] = names[from]
      self.branches[m.to_tag] = m.branch
      self.refusals[m.branch] = m.code
      self.responses[m.branch] = self.responses[m.branch] or {}
      table.insert(self.responses[m.branch], i)
    end
    self.seen = i
  end
  self:settle_cancel()
end

-- The timers of the core fire at whole milliseconds.
function Model:expire(now)
  if now < self.next_at - 0.002 then
    return false
  end
  local near, next_at = false, math.huge
  for entry in pairs(self.timed) do
    if entry.over then
      self.timed[entry] = nil
    elseif entry.at <= now - 0.002 then
      self.timed[entry] = nil
      entry.fn()
    else
      near = near or entry.at <= now + 0.002
      next_at = math.min(next_at, entry.at)
    end
  end
  self.next_at = next_at
  return near
end

function Model:check()
  self:read_packets()
  if self:expire(self.net.now) then
    self.skipped = self.skipped + 1
    return
  end
  self.checks = self.checks + 1
  local loads = self.world:loads(1, self.loads)
  for i, name in ipairs(servers) do
    local counts = self.counts[name]
    local inflight, setup, calls, used = table.unpack(loads, 4 * i - 3, 4 * i)
    if setup ~= counts.setup or inflight ~= counts.setup or calls ~= counts.calls
      or used ~= counts.used then
      local form = "at %.6f s %s counts setup %d inflight %d calls %d pstn %d, the model %d %d %d"
      error(form:format(self.net.now, name, setup, inflight, calls, used,
        counts.setup, counts.calls, counts.used))
    end
  end
end

-- ---- the lives -------------------------------------------------------------

local function pick(list)
  return list[math.random(#list)]
end

-- What a server does with the INVITE of a life. Every one rings first or not.
local function answer(at, request, reply, spec)
  if spec.rings then
    reply(180)
  end
  if not spec.code then
    return
  end
  at:after(spec.after, function()
    reply(spec.code, { headers = spec.headers })
    if not spec.second or spec.code >= 300 then
      return
    end
    at:after(spec.second, function() -- a second dialog, as a server that forks
      for _, tx in pairs(at.servers) do
        if tx.request == request and tx.last then
          at:send((tx.last:gsub("(\r\nTo: [^\r]*;tag=)[^\r;]*", "%1" .. at.net:token(8))))
        end
      end
    end)
  end)
end

local function session()
  return math.random() < 0.3 and { [pick { "Session-Expires", "x" }] = pick { "60", "90" } } or nil
end

-- How each server of a life behaves.
local function server_spec()
  local spec = {
    rings = math.random() < 0.5, after = math.random() * pick { 0.3, 1.5, 4 },
    code = pick { 200, 200, 200, 200, 200, 486, 503, 603 }, headers = session(),
  }
  if math.random() < 0.07 then
    spec.code = nil -- silent, or ringing for ever
  elseif math.random() < 0.1 then
    spec.second = math.random() * 2
  end
  return spec
end

local deeds = {}

function deeds.caller_hangs_up(alice, _, call)
  alice:bye(call)
end

function deeds.callee_hangs_up(_, callee, call)
  callee:bye(call)
end

function deeds.both_hang_up(alice, callee, call)
  alice:bye(call)
  callee:bye(call)
end

function deeds.caller_hangs_up_twice(alice, _, call)
  alice:bye(call)
  alice:after(math.random() * 2, function() alice:bye(call) end)
end

function deeds.bye_is_challenged(alice, callee, call)
  callee.challenge = (callee.challenge or 0) + 1
  alice:bye(call)
  alice:after(3, function() alice:bye(call) end)
end

function deeds.bye_is_not_answered(alice, callee, call)
  callee.deaf[call.id] = true
  alice:bye(call)
end

function deeds.callee_knows_nothing(alice, callee, call)
  callee.lost[call.id] = true
  alice:in_dialog(call, pick { "INFO", "UPDATE", "INVITE" })
  alice:after(5, function() alice:bye(call) end)
end

function deeds.session_is_refreshed(alice, callee, call)
  local by, method = pick { alice, callee }, pick { "INVITE", "UPDATE" }
  by:in_dialog(call, method)
  alice:after(40, function() pick { alice, callee }:bye(call) end)
end

function deeds.nobody_hangs_up() end

local deed_names = {}
for name in pairs(deeds) do
  deed_names[#deed_names + 1] = name
end
table.sort(deed_names)

-- Puts a call with everything that will happen to it on the clock.
local function live(w, id)
  local life = { a = server_spec(), b = server_spec(), c = server_spec() }
  w.lives[id] = life
  local order = pick { "a b", "b c", "c a", "a+b", "b+c a", "c" }
  local alice, deed = pick(w.callers), deeds[pick(deed_names)]
  local cancels, acks = math.random() < 0.15, math.random() > 0.05
  local lasts = math.random() * 30
  w.net:after(math.random() * span, function()
    local call = alice:invite("sip:" .. id .. "@example.com", {
      headers = { ["X-Try"] = order, ["X-Units"] = math.random(0, 3) }, ack = acks,
    })
    if cancels then
      alice:after(math.random() * 3, function() alice:cancel(call) end)
      return
    end
    w.net:after(lasts + 6, function()
      local callee = w.server[call.server]
      if call.dialog and callee and call.state == "up" then
        deed(alice, callee, call)
      end
    end)
  end)
end

local function server(w, name, addr)
  local at = w.net:uas(addr, name)
  at.deaf, at.lost = {}, {}
  local function in_dialog(request, reply)
    if at.lost[request.call_id] then
      return reply(481)
    end
    reply(200, { headers = session() })
  end
  at:on("INVITE", function(request, reply)
    if request.to_tag then
      return in_dialog(request, reply)
    end
    answer(at, request, reply, w.lives[request.uri:match "sip:(%w+)@"][name])
  end)
  at:on("UPDATE", in_dialog)
  at:on("INFO", in_dialog)
  at:on("BYE", function(request, reply)
    if at.deaf[request.call_id] then
      return
    elseif at.challenge and at.challenge > 0 then
      at.challenge = at.challenge - 1
      return reply(pick { 401, 407 })
    end
    reply(at.lost[request.call_id] and 481 or 200)
  end)
  return at
end

local function world(workers, seed)
  local w = { lives = {}, callers = {}, server = {} }
  math.randomseed(seed)
  w.net = sim.new {
    source = script, workers = workers, seed = seed,
    link = { loss = 0.01, duplicate = 0.02, jitter = 0.004, reorder = 0.02 },
  }
  for addr, name in pairs(names) do
    w.server[name] = server(w, name, addr)
  end
  for i = 1, 4 do
    w.callers[i] = w.net:uac("192.0.2." .. i)
    w.callers[i]:on("INVITE", function(_, reply) reply(200, { headers = session() }) end)
    w.callers[i]:on("UPDATE", function(_, reply) reply(200, { headers = session() }) end)
  end
  return w
end

sim.for_workers("10 000 random calls, half of them each", function(workers)
  for network = 1, networks do
    it(("count as the model says (%d)"):format(network), function()
      local w = world(workers, 1000 * workers + network)
      local model = new_model(w.net)
      for i = 1, lives_each do
        live(w, "c" .. i)
      end
      w.net:run_until(function()
        model:check()
      end, span + 60, 0.25)
      -- then whoever is left runs into its timer
      w.net:run_until(function()
        model:check()
      end, max_duration + 40, 1)
      for _, counts in pairs(model.counts) do
        assert.same({ setup = 0, calls = 0, used = 0 }, counts)
      end
      assert.equal(model.begun, w.net:metric "tandem_calls_begun_total")
      assert.equal(model.begun, w.net:metric "tandem_calls_ended_total")
      assert.is_true(model.begun > lives_each / 2)
      assert.is_true(model.checks > 10 * lives_each and model.skipped < model.checks / 100)
      for _, reason in ipairs { "bye", "rejected", "session_timer", "max_duration" } do
        assert.is_true(w.net:metric("tandem_calls_ended_total", { reason = reason }) > 0, reason)
      end
      w.net:finish()
    end)
  end
end)
