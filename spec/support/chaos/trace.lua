-- Shows the checkers everything that happens, in the order in which it happens: each
-- packet when it is sent and when it arrives or does not, and each log event; and keeps
-- for them what is due by when. They see the wire and the log alone, and say which
-- invariant was violated.
--
-- Times are microseconds.
local message = require "support.chaos.message"
local ipairs, setmetatable, table = ipairs, setmetatable, table

local _ENV = nil

local trace = {}

local methods = {}
methods.__index = methods

local most = 20 -- violations of one run; what follows is mostly their consequence

---@class chaos.Packet
---@field i integer number in the world
---@field time integer
---@field from string
---@field to string
---@field node integer? that sent it
---@field icmp string?
---@field host integer that sent it
---@field to_host integer
---@field transport string
---@field bytes string
---@field m table? as message.lua reads it; nil: no SIP

-- edited: names of headers that the script changes, lower case.
---@param world userdata
---@param edited table<string, boolean>?
function trace.new(world, edited)
  return setmetatable({
    world = world, edited = edited, seen = 0, packet = {}, now = 0, notes = 0,
    due_at = {}, due = {}, sent = {}, arrived = {}, logged = {}, violations = {},
  }, methods)
end

-- A checker has any of sent(self, p, m), arrived(self, p, m, host, fate) and
-- logged(self, node, worker, event, fields).
function methods:add(checker)
  for _, what in ipairs { "sent", "arrived", "logged" } do
    if checker[what] then
      table.insert(self[what], checker)
    end
  end
  return checker
end

-- An invariant does not hold. call_id: of the call whose flow shows it.
function methods:violate(invariant, text, call_id)
  if #self.violations < most then
    table.insert(self.violations, {
      invariant = invariant, text = text, call_id = call_id, time = self.now, note = self.seen,
      packet = self.last,
    })
  end
end

-- ---- what is due ---------------------------------------------------------

-- fn is called when that time has passed, before what happens next.
function methods:by(at, fn)
  local times, fns = self.due_at, self.due
  local i = #times + 1
  while i > 1 do
    local parent = i // 2
    if times[parent] <= at then
      break
    end
    times[i], fns[i] = times[parent], fns[parent]
    i = parent
  end
  times[i], fns[i] = at, fn
end

local function pop(self)
  local times, fns = self.due_at, self.due
  local n = #times
  local fn, at, last = fns[1], times[n], fns[n]
  times[n], fns[n] = nil, nil
  n = n - 1
  local i = 1
  while n > 0 do
    local child = 2 * i
    if child < n and times[child + 1] < times[child] then
      child = child + 1
    end
    if child > n or times[child] >= at then
      times[i], fns[i] = at, last
      break
    end
    times[i], fns[i] = times[child], fns[child]
    i = child
  end
  return fn
end

-- Time has come so far.
function methods:advance(now)
  local times = self.due_at
  while times[1] and times[1] < now do
    self.now = times[1]
    pop(self)()
  end
  self.now = now
end

-- ---- what happens --------------------------------------------------------

local function read_packet(self, i)
  local time, from, to, bytes, _, node, icmp, host, to_host, transport = self.world:packet(i)
  local p = {
    i = i, time = time, from = from, to = to, node = node > 0 and node or nil, icmp = icmp,
    host = host, to_host = to_host, transport = transport, bytes = bytes,
    m = not icmp and message.read(bytes, self.edited) or nil,
  }
  self.packet[i] = p
  self.last = i
  return p
end

-- Shows what has happened since the last time.
function methods:follow()
  local world = self.world
  for i = self.seen + 1, world:notes() do
    local kind, index, at, fate, host = world:note(i)
    self.seen = i
    self:advance(at)
    if kind == "sent" then
      local p = read_packet(self, index)
      for _, checker in ipairs(self.sent) do
        checker:sent(p, p.m)
      end
    elseif kind == "fate" then
      local p = self.packet[index]
      for _, checker in ipairs(self.arrived) do
        checker:arrived(p, p.m, host, fate)
      end
    else
      local _, node, worker, _, event, fields = world:log(index)
      for _, checker in ipairs(self.logged) do
        checker:logged(node, worker, event, fields)
      end
    end
  end
  self:advance(world:now())
end

return trace
