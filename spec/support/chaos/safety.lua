-- I17: only silence, errors of transport and 5xx speak against a server.
-- I19: nothing is sent to an address that nobody with a right to it has named, nor to
-- ourselves.
-- I20: who has not proved its address gets no more than it sent.
-- I22: a script that fails costs its request, which is answered 500, and nobody else's.
-- I24: who drains refuses what begins something, and nothing else.
local model = require "support.chaos.model"
local ipairs, math, setmetatable, tonumber = ipairs, math, setmetatable, tonumber

local _ENV = nil

local safety = {}

local methods = {}
methods.__index = methods

-- opts: decoys = addresses that only strangers name; strangers = addresses of those;
-- spirals = the script may send to itself; failing = pattern of the users at whose
-- requests the script fails.
---@param trace table
---@param the_model table
---@param opts table
function safety.new(trace, the_model, opts)
  return setmetatable({
    trace = trace, model = the_model, opts = opts, balance = {}, failed = {},
    repeated = setmetatable({}, { __mode = "k" }), -- finals: when timer G had its last turn
  }, methods)
end

local function violate(self, invariant, p, form, ...)
  self.trace:violate(invariant, form:format(...), p.m and p.m.call_id)
end

local function ip_of(addr)
  return addr:match "^(.-):%d+$" or addr
end

-- I19
local function check_target(self, p)
  local ip = ip_of(p.to)
  if self.opts.decoys[ip] then
    violate(self, "I19", p, "%s was sent to, which only a stranger has named", p.to)
  elseif ip == "0.0.0.0" or ip:find "^2[2-5]%d%." then
    violate(self, "I19", p, "%s was sent to", p.to)
  elseif p.to_host == p.host and not self.opts.spirals then
    violate(self, "I19", p, "%s has sent to itself", p.from)
  end
end

-- I20: an answer may be longer by our tag and what a Via is given: RFC 3261 18.2.1, RFC
-- 3581.
local longer = 160

-- What a server says to a request that was taken is the server's affair, also when the
-- proxy has been started anew since.
local function is_of_server(p)
  if not p.life or not p.m or not p.m.code then
    return false
  end
  local name = model.response_key(p.m, 0)
  local heard = p.life.heard[name]
  return heard ~= nil and heard.time == p.time and not p.life.replayed[name]
end

-- A refusal of the script's is repeated until its ACK, as that of a server is: when timer G
-- says so, once each time, and not after timer H.
local T1, T2 = 500000, 4000000
local slack = 3000

local function is_repeated(self, p)
  local st, m = p.st, p.m
  local known
  for _, final in ipairs(st and st.method == "INVITE" and m and m.code and st.finals or {}) do
    known = known or final.bytes == m.bytes and final
  end
  if not known or m.code < 300 or known.count == 1 then
    return false
  end
  local at, gap, had = known.time, T1, self.repeated[known] or 0
  while at + gap <= self.trace.now + slack and at + gap <= known.time + 64 * T1 do
    at, gap = at + gap, math.min(2 * gap, T2)
  end
  if at <= had or at == known.time or self.trace.now - at > slack then
    return false
  end
  self.repeated[known] = at
  return true
end

local function check_balance(self, p)
  if p.transport ~= "udp" then
    return -- who is connected to has proved its address
  elseif not self.opts.strangers[p.to] or (p.st and p.st.cts[1]) or is_of_server(p)
    or is_repeated(self, p) then
    return
  end
  local balance = self.balance[p.to] or 0
  balance = balance - #p.bytes
  self.balance[p.to] = balance
  if balance < -longer then
    violate(self, "I20", p, "a stranger at %s got %d bytes more than it sent", p.to, -balance)
  end
end

-- I22
local function check_failed(self, p, m)
  local st = p.st
  if not st or st.method == "CANCEL" or st.method == "ACK" or st.m.to_tag or not p.is_first
    or m.code < 200 or st.impaired then
    return
  elseif not st.m.uri:find(self.opts.failing) then
    return
  end
  if m.code ~= 500 and not st.cancelled and not st.life.draining and not st.life.stopping then
    violate(self, "I22", p, "%d to a request at which the script fails", m.code)
  end
end

-- I24
local function check_drain(self, p, m)
  local st = p.st
  if m.method and p.ct and st and p.is_first and not st.m.to_tag and st.life.draining
    and st.time > st.life.draining and st.method ~= "CANCEL" then
    violate(self, "I24", p, "%s was taken while draining", st.method)
  elseif m.code == 503 and st and st.m.to_tag and st.life.draining and not st.life.stopping then
    violate(self, "I24", p, "%s of a call was refused while draining", st.method)
  end
end

function methods:sent(p, m)
  if p.node then
    check_target(self, p)
    check_balance(self, p)
  elseif self.opts.strangers[p.from] then
    self.balance[p.from] = (self.balance[p.from] or 0) + #p.bytes * 3 // 2 + longer
  end
  if p.life and m then
    check_drain(self, p, m)
    if m.code then
      check_failed(self, p, m)
    end
  end
end

-- I17: what a server says of a call is nothing about its health.
local function check_verdict(self, fields)
  local code = tonumber((fields.reason or ""):match "%d+$") -- "passive 486"
  if fields.to == "down" and fields.who == "calls" and code
    and (code < 500 or code >= 600) then
    self.trace:violate("I17", ("%s is down because it said %d"):format(fields.server, code))
  end
end

-- Whose request was it?
function methods:logged(node, _, event, fields)
  if event == "server.health" then
    check_verdict(self, fields)
  end
  if event ~= "lua.error" then
    return
  end
  local life = self.model.lives[node]
  local meant = false
  for _, word in ipairs(self.opts.errors) do
    meant = meant or (fields.error or ""):find(word, 1, true) or fields.limit == word
  end
  if not meant and not life.impaired then
    self.trace:violate("I22", "the script failed: " .. (fields.error or "?"), fields.call_id)
  end
end

return safety
