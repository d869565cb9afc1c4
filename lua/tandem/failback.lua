-- How long a server that came back has to prove itself before it takes new calls:
-- hold, doubled for every fall but one within the last hold_max seconds. A quiet
-- window forgets one fall after the other, and so halves it again.
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local failback = {}

local remembered = 32 -- falls; more doublings than any hold_max allows

-- The falls that still count, oldest first.
---@param falls number[] times
---@param window number seconds
---@param now number
---@return number[]
function failback.recent(falls, window, now)
  local recent = {}
  for _, time in ipairs(falls) do
    if time > now - window then
      recent[#recent + 1] = time
    end
  end
  while #recent > remembered do
    table.remove(recent, 1)
  end
  return recent
end

-- The hold after `count` recent falls.
---@param count integer
---@param hold number
---@param hold_max number
---@return number seconds
function failback.duration(count, hold, hold_max)
  return math.min(hold * 2 ^ (math.max(count, 1) - 1), hold_max)
end

return failback
