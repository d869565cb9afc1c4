-- A file has one job, a function can be seen at once. The numbers are where it
-- certainly went wrong, not where it is still good.
local tree = require "support.tree"

local max_file = 600
local max_function = 80

-- Calls found(name, first, last) for every function of a C file in our format:
-- the body's braces stand in column 0.
local function each_function(name, found)
  local head, first = nil, nil
  for number, line in ipairs(tree.lines(name)) do
    if line:find "^[%a_]" and not line:find "^[%w_]+:" then
      head, first = line:match "([%w_]+)%(", number
    elseif line:find "^}" then
      if line == "}" and head then
        found(head, first, number)
      end
      head, first = nil, nil
    end
  end
end

describe("size", function()
  for _, dir in ipairs { "src", "lua" } do
    for _, name in ipairs(tree.files(dir, dir == "src" and "[ch]" or "lua")) do
      it("of the file " .. name, function()
        local n = #tree.lines(name)
        assert(n <= max_file, n .. " lines, more than " .. max_file)
      end)
    end
  end

  for _, name in ipairs(tree.files("src", "[ch]")) do
    it("of the functions in " .. name, function()
      local wrong = {}
      each_function(name, function(head, first, last)
        local n = last - first + 1
        if n > max_function then
          table.insert(wrong, ("%s: %d lines, more than %d"):format(head, n, max_function))
        end
      end)
      assert.equal("", tree.report(wrong))
    end)
  end
end)
