-- Puts items that have the same number in a field together: tiers of servers, ranks of
-- places.
local ipairs, table = ipairs, table

local _ENV = nil

---@param list table[]
---@param field string
---@return table[] groups by ascending number: { number = 1, first, second, ... }, each in
---  the order of the list
return function(list, field)
  local groups, known = {}, {}
  for _, item in ipairs(list) do
    local group = known[item[field]]
    if not group then
      group = { number = item[field] }
      known[group.number] = group
      groups[#groups + 1] = group
    end
    group[#group + 1] = item
  end
  table.sort(groups, function(a, b)
    return a.number < b.number
  end)
  return groups
end
