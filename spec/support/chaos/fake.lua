-- A trace that no proxy made, for specs of the checkers: packets written by hand between
-- a caller, a proxy and two servers.
local answers = require "support.chaos.answers"
local forwarding = require "support.chaos.forwarding"
local model = require "support.chaos.model"
local safety = require "support.chaos.safety"
local timers = require "support.chaos.timers"
local trace = require "support.chaos.trace"
local ipairs, setmetatable, table = ipairs, setmetatable, table

local _ENV = nil

local fake = {}

local methods = {}
methods.__index = methods

local proxy, caller, stranger = "10.0.0.100:5060", "192.0.2.1:5060", "198.51.100.9:5060"
local hosts = {
  [proxy] = 1, [caller] = 2, ["10.0.0.1:5060"] = 3, ["10.0.0.2:5060"] = 4, [stranger] = 5,
}

-- opts: of the checkers.
---@param opts table?
function fake.new(opts)
  local self = setmetatable({
    packets = {}, log_list = {}, note_list = {}, time = 0, transport = "udp",
  }, methods)
  local conf = {
    attempts = 3, patience = 4000000, late = "bye", decoys = { ["203.0.113.66"] = true },
    strangers = { [stranger] = true }, failing = "^sip:fail%-", errors = { "on purpose" },
  }
  for _, name in ipairs { "late", "attempts", "forks" } do
    conf[name] = opts and opts[name] or conf[name]
  end
  self.trace = trace.new(self.world(self), { ["x-generation"] = true })
  self.model = self.trace:add(model.new(self.trace, conf.strangers))
  self.model:add_node(1, 1, { "10.0.0.100" })
  self.trace:add(timers.new(self.trace, self.model, conf))
  self.trace:add(answers.new(self.trace, self.model, conf))
  self.trace:add(forwarding.new(self.trace, self.model, conf))
  self.trace:add(safety.new(self.trace, self.model, conf))
  return self
end

-- What trace.lua asks of a world.
function methods.world(self)
  return {
    notes = function() return #self.note_list end,
    note = function(_, i) return table.unpack(self.note_list[i], 1, 5) end,
    packet = function(_, i) return table.unpack(self.packets[i], 1, 10) end,
    log = function(_, i) return table.unpack(self.log_list[i], 1, 6) end,
    now = function() return self.time end,
  }
end

-- Seconds pass.
function methods:wait(seconds)
  self.time = self.time + seconds * 1000000 // 1
  return self
end

-- Over what packets go from now on, "udp" at first.
function methods:over(transport)
  self.transport = transport
  return self
end

-- A packet leaves, and arrives at once unless it has another fate: "lost", "unsent".
function methods:packet(from, to, bytes, fate)
  local i = #self.packets + 1
  self.packets[i] = {
    self.time, from, to, bytes, "flying", from == proxy and 1 or 0, nil, hosts[from] or 9,
    hosts[to] or 9, self.transport,
  }
  self.note_list[#self.note_list + 1] = { "sent", i, self.time }
  self.note_list[#self.note_list + 1] = {
    "fate", i, self.time, fate or "delivered", hosts[to] or 9,
  }
  return self
end

-- The proxy says something in its log.
function methods:log(event, fields)
  local i = #self.log_list + 1
  self.log_list[i] = { self.time, 1, 0, "info", event, fields }
  self.note_list[#self.note_list + 1] = { "log", i, self.time }
  return self
end

-- The invariants that were violated, each once, in order.
---@return string
function methods:violated()
  self.trace:follow()
  local seen, list = {}, {}
  for _, violation in ipairs(self.trace.violations) do
    if not seen[violation.invariant] then
      seen[violation.invariant] = true
      table.insert(list, violation.invariant)
    end
  end
  return table.concat(list, " ")
end

return fake
