-- Tables of the documentation, for specs that do what they say.
local tree = require "support.tree"
local assert, ipairs, table = assert, ipairs, table

local _ENV = nil

local page = {}

-- The cells of a row, by the names in the header: a row of "| a | b |" is { a =, b = }.
local function cut(line)
  local cells = {}
  for cell in line:sub(2):gmatch "%s*(.-)%s*|" do
    cells[#cells + 1] = cell
  end
  return cells
end

-- The rows of the tables of a page that have this header: tables by column, in order.
---@param name string path of the page
---@param header string its first line
---@param title string? only those below this heading
---@return table<string, string>[]
function page.rows(name, header, title)
  local rows, names, here = {}, nil, not title
  for _, line in ipairs(tree.lines(name)) do
    local heading = line:match "^#+ (.*)"
    if heading and title then
      here = heading == title
    end
    if line:sub(1, 1) ~= "|" then
      names = nil
    elseif line == header and here then
      names = cut(line)
    elseif names and not line:find "^|%-" then
      local row = {}
      for i, cell in ipairs(cut(line)) do
        row[names[i]] = cell
      end
      rows[#rows + 1] = row
    end
  end
  assert(#rows > 0, name .. " has no table " .. header)
  return rows
end

-- The text of a cell in `code`.
---@param cell string
---@return string
function page.code(cell)
  return cell:match "^`(.*)`$" or cell
end

-- The first column of rows, for comparing: sorted, without quotes of code.
---@param rows table<string, string>[]
---@param column string
---@return string[]
function page.column(rows, column)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = page.code(row[column])
  end
  table.sort(list)
  return list
end

return page
