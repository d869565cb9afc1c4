-- Each as often as its weight says, which of them by the key. When that one fails the
-- next is drawn from the others by their weights. By names, not by the order in the
-- declaration: two nodes that see the same servers usable draw the same one.
local core = require "tandem.core"
local math, tostring = math, tostring

local _ENV = nil

local weighted = {}

-- The weights summed up: server i has the points from sums[i - 1] + 1 to sums[i].
local function prepare(_, servers)
  local sums, sum = {}, 0
  for i = 1, #servers do
    sum = sum + math.max(servers[i].weight, 1)
    sums[i] = sum
  end
  return { servers = servers, sums = sums }
end

-- The first whose sum is not less.
local function find(sums, point)
  local low, high = 1, #sums
  while low < high do
    local middle = (low + high) // 2
    if sums[middle] < point then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

---@param pool { name: string }
---@return tandem.Policy
function weighted.new(pool)
  return {
    by_name = true,
    prepare = prepare,
    choose = function(_, view, call)
      local sums = view.sums
      local hash = core.hash(pool.name, call.key, tostring(call.step)) >> 1
      return view.servers[find(sums, hash % sums[#sums] + 1)]
    end,
  }
end

return weighted
