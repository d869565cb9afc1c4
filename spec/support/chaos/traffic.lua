-- Calls and other requests of a seed: who asks for what, when, and what comes of it.
local callee = require "support.chaos.callee"
local random = require "support.chaos.random"
local ipairs, pcall, setmetatable, table = ipairs, pcall, setmetatable, table

local _ENV = nil

local traffic = {}

local methods = {}
methods.__index = methods

---@param net tandem.sim.Net
---@param plan table
---@param phones tandem.sim.Endpoint[]
---@param servers tandem.sim.Endpoint[]
function traffic.new(net, plan, phones, servers)
  local self = setmetatable({
    net = net, plan = plan, phones = phones, servers = servers, lives = {}, calls = {},
    rnd = random.new(plan.seed, "traffic"),
  }, methods)
  for i, list in ipairs { phones, servers } do
    for _, at in ipairs(list) do
      callee.attend(at, self.lives, random.new(plan.seed, at.name .. i))
    end
  end
  return self
end

-- ---- in a call -----------------------------------------------------------

-- The side that answered; nil: it has gone, or forgotten the call.
local function other_side(self, call)
  local tag = call.response and call.response.to_tag
  local at = tag and self.net.tags[tag]
  local d = at and at.dialogs[call.id .. "|" .. tag .. "|" .. call.from_tag]
  return d and d.state ~= "ended" and at.mode == "open" and at or nil
end

local function own_side(call)
  local ua = call.ua
  return ua.mode == "open" and call.dialog and ua.dialogs[call.dialog:key()] == call.dialog
    and call.dialog.state ~= "ended" and ua or nil
end

local deeds = {}

local function bye(self, call, by)
  local at = by == "callee" and other_side(self, call) or own_side(call)
  if at then
    at:bye(call)
  end
end

function deeds.caller_hangs_up(self, call) bye(self, call) end
function deeds.callee_hangs_up(self, call) bye(self, call, "callee") end

function deeds.both_hang_up(self, call)
  local a, b = own_side(call), other_side(self, call)
  if a then a:bye(call) end
  if b then b:bye(call) end
end

function deeds.hangs_up_twice(self, call)
  local at = own_side(call)
  if at then
    at:bye(call)
    at:after(self.rnd:unit() * 3, function() at:bye(call) end)
  end
end

function deeds.renegotiates(self, call)
  local at = self.rnd:chance(0.5) and own_side(call) or other_side(self, call)
  if at then
    at:in_dialog(call, self.rnd:pick { "INVITE", "UPDATE", "INFO" })
  end
  self.net:after(self.rnd:between(1, 10), function() bye(self, call, "callee") end)
end

function deeds.glare(self, call)
  local a, b = own_side(call), other_side(self, call)
  if a then a:reinvite(call) end
  if b then b:reinvite(call) end
  self.net:after(5, function() bye(self, call) end)
end

function deeds.nobody_hangs_up() end

local deed_names = {
  "caller_hangs_up", "caller_hangs_up", "caller_hangs_up", "callee_hangs_up",
  "callee_hangs_up", "both_hang_up", "hangs_up_twice", "renegotiates", "renegotiates", "glare",
  "nobody_hangs_up",
}

-- ---- beginnings ----------------------------------------------------------

local function watch(self, call, lasts)
  self.net:after(lasts, function()
    if call.state == "up" then
      deeds[self.rnd:pick(deed_names)](self, call)
    elseif call.state == "calling" or call.state == "ringing" then
      watch(self, call, 5)
    end
  end)
end

-- Who is challenged asks once more.
local function authenticate(self, phone, uri, call)
  self.net:after(1.5, function()
    if (call.code == 401 or call.code == 407) and phone.mode == "open" then
      local again = phone:invite(uri, {
        again = call, headers = { ["Proxy-Authorization"] = "Digest whatever" },
      })
      self:note(again)
      watch(self, again, 3)
    end
  end)
end

function methods:note(call)
  table.insert(self.calls, call)
  return call
end

local function new_life(self, user)
  local calm = self.rnd:chance(0.3)
  local life = {}
  for _, server in ipairs(self.servers) do
    life[server.name] = callee.life(self.rnd, calm)
  end
  life.any = callee.life(self.rnd, calm)
  self.lives[user] = life
end

local function call_out(self, phone, user)
  local uri = "sip:" .. user .. "@example.com"
  local cancels, acks = self.rnd:chance(0.12), not self.rnd:chance(0.03)
  local opts = {}
  if not acks then
    opts.ack = false
  end
  local call = self:note(phone:invite(uri, opts))
  if cancels then
    phone:after(self.rnd:unit() * self.rnd:pick { 0.2, 2, 8 }, function()
      if not call.done then
        phone:cancel(call)
      end
    end)
  end
  watch(self, call, self.rnd:between(0.1, 25))
  authenticate(self, phone, uri, call)
end

-- A server calls a phone, where that is.
local function call_in(self, server, phone)
  local call = self:note(server:invite(phone.contact:match "<(.*)>"))
  watch(self, call, self.rnd:between(0.5, 15))
end

local others = { "MESSAGE", "SUBSCRIBE", "OPTIONS", "REGISTER", "REGISTER" }
local failing = { "err", "pcall", "none", "mem" }

local function something_else(self, phone, user)
  local method = self.rnd:pick(others)
  local body = self.rnd:chance(0.2) and ("x"):rep(self.rnd:int(1200)) or nil
  self:note(phone:request(method, "sip:" .. (method == "REGISTER" and "" or user .. "@")
    .. "example.com", { body = method == "MESSAGE" and body or nil }))
end

local function begin(self, i)
  local rnd, phone = self.rnd, self.rnd:pick(self.phones)
  local user = ("u%d"):format(i)
  new_life(self, user)
  local kind = rnd:unit()
  if phone.mode ~= "open" then
    return
  elseif kind < 0.75 then
    call_out(self, phone, user)
  elseif kind < 0.82 then
    local server = rnd:pick(self.servers)
    if server.mode == "open" and server.transport == "udp" and phone.transport == "udp" then
      call_in(self, server, phone)
    end
  elseif kind < 0.97 then
    something_else(self, phone, user)
  elseif not self.plan.example then
    self:note(phone:request(rnd:pick { "INVITE", "MESSAGE" },
      ("sip:fail-%s-%d@example.com"):format(rnd:pick(failing), i)))
  end
end

-- Puts everything on the clock.
function methods:start()
  for i = 1, self.plan.calls do
    self.net:after(self.rnd:unit() * self.plan.span, function()
      local ok, why = pcall(begin, self, i)
      if not ok then
        self.trouble = self.trouble or why
      end
    end)
  end
end

-- What became of the requests: how many were answered in which way.
---@param outcomes table<string, integer>
function methods:count(outcomes)
  for _, call in ipairs(self.calls) do
    local key
    if call.error then
      key = call.error
    elseif not call.code then
      key = "forgotten" -- by a caller that has died
    else
      key = ("%d"):format(call.code)
    end
    if call.method == "INVITE" and call.code and call.code < 300 then
      outcomes.established = (outcomes.established or 0) + 1
    end
    outcomes[key] = (outcomes[key] or 0) + 1
  end
end

return traffic
