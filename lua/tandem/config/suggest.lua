-- "did you mean": the nearest of the words that would have been right.
local ipairs, math, tostring, type = ipairs, math, tostring, type

local _ENV = nil

local suggest = {}

-- How many insertions, deletions, replacements and swaps of neighbours apart.
---@param a string
---@param b string
---@return integer
function suggest.distance(a, b)
  local before, row = {}, {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local last
    before, last, row = row, before, { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, last[j - 2] + 1)
      end
      row[j] = best
    end
  end
  return row[#b]
end

-- The end of an error message: "; did you mean 'servers'?", or "" when nothing
-- is near enough. Of equally near words the first in `words` is taken.
---@param wrong any
---@param words string[]
---@param prefix? string put before the word that is shown
---@return string
function suggest.hint(wrong, words, prefix)
  if type(wrong) ~= "string" or #wrong > 64 then
    return ""
  end
  local best, least = nil, math.max(1, #wrong // 3) + 1
  for _, word in ipairs(words) do
    local distance = suggest.distance(wrong:lower(), tostring(word):lower())
    if distance < least then
      best, least = word, distance
    end
  end
  return best and ("; did you mean '%s%s'?"):format(prefix or "", best) or ""
end

return suggest
