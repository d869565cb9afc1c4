-- docs/reference/rfc-conformance.md: the rows of its tables are written by hand, and
-- their last two columns from what sources and specs say of RFCs (references.lua).
-- `make rfc-conformance` writes the page; style/conformance_spec.lua compares.
local references = require "support.references"
local tree = require "support.tree"
local assert, io, ipairs, next, pairs = assert, io, ipairs, next, pairs
local table, tonumber = table, tonumber

local _ENV = nil

local conformance = { page = "docs/reference/rfc-conformance.md" }

local header = "| section | what it asks of a proxy | | where | specs |"

-- What a row may say, and whether it has to have sources and specs.
local statuses = {
  yes = { sources = true, specs = true }, otherwise = { sources = true, specs = true, why = true },
  passes = { specs = true }, no = { why = true },
}

-- ---- the page ----------------------------------------------------------------

-- "RFC 2308 5" or, below "## RFC 3261: SIP", "16.6 step 1": the RFC and the section.
local function key_of(cell, chapter)
  local rfc, section = cell:match "^RFC (%d+) ?(.*)$"
  if not rfc then
    return chapter, cell
  end
  return tonumber(rfc), section == "" and "-" or section
end

-- The lines of the page; of those that are rows, what is in them.
local function parse(text)
  local lines, chapter, inside = {}, nil, false
  for line in text:gmatch "([^\n]*)\n" do
    local item = { text = line }
    if line:find "^## " then
      chapter = tonumber((line:match "^## RFC (%d+)"))
    end
    if line == header then
      inside = true
    elseif not line:find "^|" then
      inside = false
    elseif inside and not line:find "^|%-" then
      local cell, says, status = line:match "^| ([^|]-) | ([^|]-) | ([^|]-) |"
      assert(cell, "a row that cannot be read: " .. line)
      item.cell, item.says, item.status = cell, says, status
      item.word = status:match "^%l+"
      item.why = status:match "^%l+: (.+)"
      item.rfc, item.section = key_of(cell, chapter)
      item.sources, item.specs = {}, {}
    end
    lines[#lines + 1] = item
  end
  return lines
end

-- ---- which row a reference is for ---------------------------------------------


local function index_of(lines)
  local index = { rows = {}, chapters = {} }
  for _, item in ipairs(lines) do
    if item.section then
      local rfc = index.rows[item.rfc] or {}
      index.rows[item.rfc] = rfc
      assert(not rfc[item.section], "two rows for " .. item.cell)
      rfc[item.section] = item
      local above = item.section:match "^(.*) step %d+$" or item.section
      while above do -- "16.6 step 1" is in 16.6, and that in 16
        index.chapters[item.rfc .. " " .. above] = true
        above = above:match "^(.*)%.%d+$"
      end
    end
  end
  return index
end

-- The row of a section, or of what it is part of.
local function look_up(index, rfc, section)
  local rows = index.rows[rfc] or {}
  local name = section
  while name do
    if rows[name] then
      return rows[name]
    end
    name = name:match "^(.*) step %d+$" or name:match "^(.*)%.%d+$"
  end
  return section ~= "-" and rows["-"] or nil
end

-- The row a reference is for; nil when it is for none, and then whether one is missing.
local function row_of(index, ref)
  local row = look_up(index, ref.rfc, ref.section)
  if row then
    return row
  end
  local is_chapter = index.chapters[ref.rfc .. " " .. ref.section]
    or ref.section == "-" and index.rows[ref.rfc]
  if is_chapter then
    return nil, false
  end
  if not ref.named and ref.section ~= "-" then -- a bare number, or of RFC 3261 after all
    return look_up(index, 3261, ref.section), false
  end
  return nil, true
end

-- ---- the columns ---------------------------------------------------------------

-- Fills the sets of files of the rows, from what the tree says now; the names that no
-- row is for.
local function fill(lines)
  local index, unknown = index_of(lines), {}
  for _, column in ipairs { "sources", "specs" } do
    for _, ref in ipairs(references[column]()) do
      local row, missing = row_of(index, ref)
      if row then
        row[column][ref.file] = true
      elseif missing and column == "sources" then
        unknown[#unknown + 1] = ("%s: RFC %d %s has no row"):format(ref.file, ref.rfc, ref.section)
      end
    end
  end
  return unknown
end

-- "src/proxy/way.h" and its .c are one link, named as short as can be.
local function links(files)
  local list = {}
  for name in pairs(files) do
    if not (name:find "%.h$" and files[name:gsub("h$", "c")]) then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  for i, name in ipairs(list) do
    local short = name:gsub("^src/", ""):gsub("^lua/tandem/", ""):gsub("^spec/", "")
      :gsub("_spec%.lua$", ""):gsub("_test%.c$", "")
    list[i] = ("[%s](../../%s)"):format(short, name)
  end
  return table.concat(list, " ")
end

local function row_text(item)
  local text = ("| %s | %s | %s | %s | %s |"):format(item.cell, item.says, item.status,
    links(item.sources), links(item.specs))
  return (text:gsub("|  |", "| |"):gsub("|  |", "| |"))
end

-- The page as it should be, and what is wrong with its rows.
function conformance.render()
  local lines = parse(tree.read(conformance.page))
  local wrong = fill(lines)
  local text = {}
  for i, item in ipairs(lines) do
    text[i] = item.cell and row_text(item) or item.text
    local needs = item.cell and statuses[item.word]
    local name = item.cell and ("RFC %s %s"):format(item.rfc, item.section)
    if item.cell and not needs then
      wrong[#wrong + 1] = name .. ": no such status as " .. item.status
    elseif item.cell then
      for _, column in ipairs { "sources", "specs" } do
        if needs[column] and not next(item[column]) then
          wrong[#wrong + 1] = ("%s says %s, but no %s name it"):format(name, item.word, column)
        end
      end
      if needs.why and not item.why then
        wrong[#wrong + 1] = name .. " does not say why"
      end
    end
  end
  return table.concat(text, "\n") .. "\n", wrong
end

function conformance.write()
  local text, wrong = conformance.render()
  local file = assert(io.open(conformance.page, "wb"))
  assert(file:write(text))
  assert(file:close())
  for _, line in ipairs(wrong) do
    io.stderr:write(line, "\n")
  end
  return #wrong == 0
end

return conformance
