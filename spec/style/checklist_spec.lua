-- docs/reference/correctness-checklist.md names specs that are there, and specs name its
-- numbers.
local tree = require "support.tree"

local page = "docs/reference/correctness-checklist.md"
local items = 93

-- The rows: number -> { what, cell }.
local function read()
  local rows = {}
  for _, line in ipairs(tree.lines(page)) do
    local number, what, cell = line:match "^| (%d+) | (.-) | (.*) |$"
    if number then
      assert(not rows[tonumber(number)], "twice: " .. number)
      rows[tonumber(number)] = { what = what, cell = cell }
    end
  end
  return rows
end

-- Calls found(file, title, is_c) for every test that a cell names.
local function each_test(cell, found)
  for file, rest in cell:gmatch "%]%(%.%./%.%./([^)]+)%)([^%[]*)" do
    for title in rest:gmatch '"([^"]+)"' do
      found(file, title, false)
    end
    for title in rest:gmatch "`(%w+_[%w_]+)`" do
      if not rest:find('"[^"]*`' .. title .. '`[^"]*"') then
        found(file, title, true)
      end
    end
  end
end

-- Is it what an `it` says, or the name of a test in C?
local function is_there(file, title, is_c)
  local text = tree.read(file)
  if is_c then
    return text:find("\nTEST(" .. title .. ")", 1, true)
  end
  for _, line in ipairs(tree.lines(file)) do
    if line:find(title, 1, true) and not line:find "^%s*%-%-" then
      return true
    end
  end
  return false
end

describe(page, function()
  local rows = read()

  for number = 1, items do
    it("shows item " .. number .. ", or says why not", function()
      local row = assert(rows[number], "it is not there")
      local wrong, count = {}, 0
      each_test(row.cell, function(file, title, is_c)
        count = count + 1
        wrong[#wrong + 1] = not is_there(file, title, is_c) and file .. ": " .. title or nil
      end)
      assert.equal("", tree.report(wrong))
      assert(count > 0 or row.cell:find "^not: %l", row.cell)
    end)
  end

  it("has each spec that names one of its numbers", function()
    local wrong, count = {}, 0
    for _, dir in ipairs { "spec/sim", "spec/unit", "spec/e2e" } do
      for _, file in ipairs(tree.files(dir, "*")) do
        if file:find "_spec%.lua$" or file:find "_test%.c$" then
          for number in tree.read(file):gmatch "checklist (%d+)" do
            local row = rows[tonumber(number)]
            count = count + 1
            if not row or not row.cell:find("/" .. file .. ")", 1, true) then
              wrong[#wrong + 1] = ("%s names %s, which does not name it"):format(file, number)
            end
          end
        end
      end
    end
    assert.equal("", tree.report(wrong))
    assert(count > 20, count)
  end)
end)
