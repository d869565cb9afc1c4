-- Rows of cells as text for people.
local ipairs, math, string, table = ipairs, math, string, table

local _ENV = nil

local columns = {}

-- Lines: the columns that `is_left` names to the left, the others (numbers) to the right.
function columns.lines(rows, is_left)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local fill = string.rep(" ", widths[i] - #cell)
      cells[i] = is_left[i] and cell .. fill or fill .. cell
    end
    lines[#lines + 1] = (string.gsub("  " .. table.concat(cells, "  "), "%s+$", ""))
  end
  return lines
end

return columns
