-- The resolver the proxies of a simulation ask: what it knows, how it is, and what it
-- was asked.
local dns = require "tandem.sim.dns"
local message = require "tandem.sim.message"
local error, math, table = error, math, table

local _ENV = nil

local resolver = {}

---@class tandem.sim.Resolver
local methods = {}
methods.__index = methods

local round_trip = 0.002
local patience = 1.5 -- of who asks: three times half a second

local modes = {
  ok = true, slow = true, silent = true, refuse = true, servfail = true, garbage = true,
}

---@param names table<string, string|table>?
function resolver.new(names)
  local self = message.class({ zone = {}, mode = "ok", asked = {} }, methods)
  for name in message.sorted(names or {}) do
    dns.set(self.zone, name, names[name])
  end
  return self
end

function methods:set_mode(mode, seconds)
  if not modes[mode] then
    error("a resolver cannot be '" .. mode .. "'", 3)
  elseif mode == "slow" and not seconds then
    error("a slow resolver needs seconds", 3)
  end
  self.mode, self.seconds = mode, seconds
end

-- What becomes of a question: "reply", "timeout" or "failed"; after how many seconds;
-- the bytes.
local function decide(self, name, number)
  local mode = self.mode
  if mode == "refuse" then
    return "failed", 0
  end
  local fail = (mode == "servfail" or mode == "garbage" or mode == "silent") and mode
  local after = mode == "slow" and self.seconds or round_trip
  local bytes = dns.answer(self.zone, name, number, fail)
  if not bytes or after >= patience then
    return "timeout", patience
  end
  return "reply", after, bytes
end

-- A proxy asks. The world gets the answer.
function methods:on_query(world, now, id, name, number, node)
  local what, after, bytes = decide(self, name, number)
  table.insert(self.asked, {
    name = name, type = dns.type_name(number), time = now, node = node,
  })
  world:answer(id, math.floor(after * 1e6 + 0.5), what, bytes)
end

return resolver
