-- The rows that spec/support/faults.lua wrote down, one JSON object per line: as a table
-- of Markdown to standard output, and as one JSON document.
--
--   lua5.4 spec/bench/faults.lua ROWS JSON >MARKDOWN
local json = require "cjson"
local arg, io, ipairs, string, table, tonumber = arg, io, ipairs, string, table, tonumber

local _ENV = nil

local function short(n)
  return (string.gsub(string.gsub(string.format("%.2f", n), "0+$", ""), "%.$", ""))
end

local function amount(n, unit)
  return n and short(n) .. (unit and " " .. unit or "")
end

local function target(f)
  if f.least and f.most then
    return f.least == f.most and short(f.least)
      or string.format("%s to %s", short(f.least), amount(f.most, f.unit))
  end
  return f.most and "≤ " .. amount(f.most, f.unit) or f.least and "≥ " .. amount(f.least, f.unit)
    or ""
end

local rows = {}
local file = io.open(arg[1])
for line in file and file:lines() or function() end do -- none: nothing ran
  rows[#rows + 1] = json.decode(line)
  rows[#rows].order = #rows
end
-- By number; of the same number, as they came.
table.sort(rows, function(a, b)
  local x, y = tonumber(string.match(a.id, "%d+")), tonumber(string.match(b.id, "%d+"))
  if x ~= y then
    return x < y
  end
  return a.order < b.order
end)
for _, row in ipairs(rows) do
  row.order = nil
end
io.write "| # | fault | figure | measured | target | |\n|---|---|---|---|---|---|\n"
for _, row in ipairs(rows) do
  for i, f in ipairs(row.figures) do
    io.write(string.format("| %s | %s | %s | %s | %s | %s |\n", i == 1 and row.id or "",
      i == 1 and row.fault or "", f.name, amount(f.value, f.unit), target(f),
      f.ok and "" or "**missed**"))
  end
end
local out = io.open(arg[2], "w")
out:write(json.encode(rows), "\n")
out:close()
