-- Arithmetic on lists of numbers.
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local figures = {}

-- The value below which this share (0 to 1) of a sorted list is; nil of none.
function figures.quantile(sorted, share)
  return sorted[math.max(1, math.ceil(share * #sorted))]
end

-- The median of a field of some rows, nil when none has it.
function figures.median(rows, field)
  local values = {}
  for _, row in ipairs(rows) do
    values[#values + 1] = row[field]
  end
  table.sort(values)
  local n = #values
  return n > 0 and (values[(n + 1) // 2] + values[n // 2 + 1]) / 2 or nil
end

function figures.sum(rows, field)
  local sum = 0
  for _, row in ipairs(rows) do
    sum = sum + (row[field] or 0)
  end
  return sum
end

return figures
