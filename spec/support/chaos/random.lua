-- A generator of the test's own (splitmix64), so that a choice of chaos does not move
-- what the world draws; and one for each purpose, so that a new kind of fault does not
-- move what calls do.
local setmetatable = setmetatable

local _ENV = nil

local random = {}

local methods = {}
methods.__index = methods

local function hash(text, state)
  for i = 1, #text do
    state = (state ~ text:byte(i)) * 0x100000001b3
  end
  return state
end

---@param seed integer
---@param purpose string
function random.new(seed, purpose)
  local self = setmetatable({ state = hash(purpose, seed * 0x9e3779b97f4a7c15) }, methods)
  self:bits()
  return self
end

function methods:bits()
  self.state = self.state + 0x9e3779b97f4a7c15
  local z = self.state
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

-- 0 <= x < 1
function methods:unit()
  return (self:bits() >> 11) / 2 ^ 53
end

-- 1 to n
function methods:int(n)
  return (self:bits() >> 1) % n + 1
end

function methods:between(low, high)
  return low + (high - low) * self:unit()
end

function methods:chance(p)
  return self:unit() < p
end

function methods:pick(list)
  return list[self:int(#list)]
end

return random
