-- From what DNS gave to tiers and weights (RFC 2782): the ranks of a name become tiers,
-- those of the next name come after them. A target's weight is shared by its addresses.
local grouped = require "tandem.grouped"
local ipairs, math, pairs, table = ipairs, math, pairs, table

local _ENV = nil

local ranking = {}

-- The places of a name by rank: { { places of the first }, ... }.
local function by_rank(list)
  local ranks = grouped(list, "rank")
  for _, rank in ipairs(ranks) do
    table.sort(rank, function(a, b) -- the answer's order is another one each time
      return a.addr < b.addr
    end)
  end
  return ranks
end

local function common_divisor(a, b)
  while b > 0 do
    a, b = b, a % b
  end
  return a
end

-- How many addresses each target of a rank has; and the least number that all of these
-- divide.
local function addresses_of(rank)
  local counts, multiple = {}, 1
  for _, place in ipairs(rank) do
    counts[place.target] = (counts[place.target] or 0) + 1
  end
  for _, n in pairs(counts) do
    multiple = multiple // common_divisor(multiple, n) * n
  end
  return counts, multiple
end

-- A weight of 0 is the least there is: "a very small chance" beside others, and all 0
-- are equals.
local function weigh(rank)
  local counts, multiple = addresses_of(rank)
  for _, place in ipairs(rank) do
    place.weight = math.max(place.weight * multiple // counts[place.target], 1)
  end
end

local function copy(place, uri)
  return {
    addr = place.addr, target = place.target, uri = uri, rank = place.rank,
    weight = place.weight,
  }
end

-- Each address once, where it comes first; no more than `most`.
---@param answers { uri: string, list: table[] }[] of each name what was found
---@param most integer
---@return { addr: string, target: string, uri: string, tier: integer, weight: integer }[]
---@return integer dropped
function ranking.of(answers, most)
  local result, seen, tier, dropped = {}, {}, 0, 0
  for _, answer in ipairs(answers) do
    for _, rank in ipairs(by_rank(answer.list)) do
      local group = {}
      for _, place in ipairs(rank) do
        if not seen[place.addr] and #result + #group < most then
          seen[place.addr] = true
          group[#group + 1] = copy(place, answer.uri)
        elseif not seen[place.addr] then
          dropped = dropped + 1
        end
      end
      tier = tier + (#group > 0 and 1 or 0)
      weigh(group)
      for _, place in ipairs(group) do
        place.tier, place.rank = tier, nil
        result[#result + 1] = place
      end
    end
  end
  return result, dropped
end

return ranking
