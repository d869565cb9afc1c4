-- The highest rate that is carried, by trying.
local math = math

local _ENV = nil

local search = {}

-- try(rate) says whether a rate is carried. Doubles from `from` (halves, when that is too
-- much already) until one side of the edge is found, at most to `limit`; then so many
-- `steps` of bisection. Returns the highest rate that was carried, 0 if none; and whether
-- that is the limit.
function search.highest(from, limit, steps, try)
  local good, bad = 0, nil
  local rate = math.min(from, limit)
  if try(rate) then
    good = rate
    while good < limit and not bad do
      rate = math.min(2 * good, limit)
      if try(rate) then
        good = rate
      else
        bad = rate
      end
    end
  else
    bad = rate
    while good == 0 and bad > 1 and bad > from / 16 do
      rate = bad // 2
      if try(rate) then
        good = rate
      else
        bad = rate
      end
    end
  end
  for _ = 1, good > 0 and bad and steps or 0 do
    rate = (good + bad) // 2
    if rate == good then
      break
    elseif try(rate) then
      good = rate
    else
      bad = rate
    end
  end
  return good, good == limit
end

return search
