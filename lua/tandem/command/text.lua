-- Text for terminals: how wide it is, what must not reach one, colours and tables.
local ipairs, math, string, table, utf8 = ipairs, math, string, table, utf8

local _ENV = nil

local text = {}

-- First and last of what takes two columns, and of what takes none.
local wide = {
  { 0x1100, 0x115F }, { 0x2E80, 0x303E }, { 0x3041, 0x33FF }, { 0x3400, 0x4DBF },
  { 0x4E00, 0x9FFF }, { 0xA000, 0xA4CF }, { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF },
  { 0xFE30, 0xFE6F }, { 0xFF00, 0xFF60 }, { 0xFFE0, 0xFFE6 }, { 0x1F300, 0x1F64F },
  { 0x1F900, 0x1F9FF }, { 0x20000, 0x3FFFD },
}
local none = {
  { 0x0300, 0x036F }, { 0x200B, 0x200F }, { 0x20D0, 0x20FF }, { 0xFE00, 0xFE0F },
}

local function is_in(ranges, code)
  for _, range in ipairs(ranges) do
    if code >= range[1] and code <= range[2] then
      return true
    end
  end
  return false
end

local function columns(code)
  if code < 0x300 then
    return 1
  end
  return is_in(none, code) and 0 or is_in(wide, code) and 2 or 1
end

-- What may be sent to a terminal: names and reasons come from scripts and the network,
-- and an escape sequence in one must not do anything. Bytes that are no text become
-- \xNN.
---@param s string
---@return string
function text.clean(s)
  local function hex(byte)
    return ("\\x%02X"):format(byte:byte())
  end
  s = s:gsub("[\0-\31\127]", hex)
  if utf8.len(s) then
    -- C1 controls, and what turns the direction of a line around
    return (s:gsub("\xC2[\x80-\x9F]", function(c)
      return c:gsub(".", hex)
    end):gsub("\xE2\x80[\x8E\x8F\xAA-\xAE]", function(c)
      return c:gsub(".", hex)
    end):gsub("\xE2\x81[\xA6-\xA9]", function(c)
      return c:gsub(".", hex)
    end))
  end
  return (s:gsub("[\x80-\xFF]", hex))
end

-- How many columns a clean text takes.
---@param s string
---@return integer
function text.width(s)
  if not s:find "[\x80-\xFF]" then
    return #s
  end
  local n = 0
  for _, code in utf8.codes(s) do
    n = n + columns(code)
  end
  return n
end

-- Its beginning, with an ellipsis where it was cut.
---@param s string clean
---@param most integer columns, 1 at least
---@return string
function text.cut(s, most)
  if text.width(s) <= most then
    return s
  end
  local n, last = 0, 0
  for at, code in utf8.codes(s) do
    n = n + columns(code)
    if n > most - 1 then
      break
    end
    last = utf8.offset(s, 2, at) - 1
  end
  return s:sub(1, last) .. "…"
end

-- ---- colours ----

local codes = { red = "31", green = "32", yellow = "33", bold = "1", dim = "2" }

---@param is_on boolean
---@return fun(s: string, colour?: string): string
function text.painter(is_on)
  return function(s, colour)
    return is_on and colour and ("\27[%sm%s\27[0m"):format(codes[colour], s) or s
  end
end

-- ---- tables ----

---@class tandem.Column
---@field title string
---@field align? "right"
---@field least? integer may be cut to so many columns where there is no room
---@field drop? integer may be left out; the highest goes first

local gap = 2

local function measure(column, rows, i)
  local most, is_used = text.width(column.title), false
  for _, row in ipairs(rows) do
    local cell = row[i]
    if cell ~= "" then
      is_used = true
      most = math.max(most, text.width(cell))
    end
  end
  return is_used and most or 0
end

local function total(list)
  local sum = -gap
  for _, item in ipairs(list) do
    sum = sum + item.width + gap
  end
  return sum
end

-- Makes what may be cut as narrow as needed, then leaves columns out.
local function squeeze(list, width)
  local over = total(list) - width
  for _, item in ipairs(list) do
    if over > 0 and item.column.least then
      local less = math.min(over, math.max(item.width - item.column.least, 0))
      item.width, over = item.width - less, over - less
    end
  end
  if over <= 0 then
    return list
  end
  local worst
  for i, item in ipairs(list) do
    local drop = item.column.drop
    if drop and (not worst or drop > list[worst].column.drop) then
      worst = i
    end
  end
  if not worst then
    return list
  end
  table.remove(list, worst)
  for _, item in ipairs(list) do
    item.width = item.full
  end
  return squeeze(list, width)
end

local function pad(s, width, align)
  local space = (" "):rep(width - text.width(s))
  return align == "right" and space .. s or s .. space
end

-- The lines of a table with a title over each column. A column in which nothing stands
-- is left out. A row is a list of texts; `row.colours[i]` colours one of them.
---@param heads tandem.Column[]
---@param rows table[]
---@param options? { width: integer?, paint: function?, indent: string? }
---@return string
function text.table(heads, rows, options)
  options = options or {}
  local paint, indent = options.paint or text.painter(false), options.indent or ""
  local clean, list = {}, {}
  for r, row in ipairs(rows) do
    clean[r] = {}
    for i = 1, #heads do
      clean[r][i] = text.clean(row[i] or "")
    end
  end
  for i, column in ipairs(heads) do
    local width = measure(column, clean, i)
    if width > 0 then
      list[#list + 1] = { at = i, column = column, width = width, full = width }
    end
  end
  if options.width then
    list = squeeze(list, options.width - #indent)
  end
  local lines = {}
  local function line(cells, colours)
    local parts = {}
    for i, item in ipairs(list) do
      local cell = text.cut(cells[item.at], item.width)
      local last = i == #list and item.column.align ~= "right"
      parts[i] = paint(last and cell or pad(cell, item.width, item.column.align),
        cell ~= "" and colours[item.at] or nil)
    end
    lines[#lines + 1] = (indent .. table.concat(parts, (" "):rep(gap))):gsub(" +$", "")
  end
  local titles, bold = {}, {}
  for i, column in ipairs(heads) do
    titles[i], bold[i] = column.title, "dim"
  end
  line(titles, bold)
  for r, row in ipairs(clean) do
    line(row, rows[r].colours or {})
  end
  return table.concat(lines, "\n") .. "\n"
end

-- "a, b, c"
---@param list string[]
---@return string
function text.join(list)
  return table.concat(list, ", ")
end

-- "1 server", "3 servers".
---@param n integer
---@param word string
---@return string
function text.count(n, word)
  return string.format("%d %s%s", n, word, n == 1 and "" or "s")
end

return text
