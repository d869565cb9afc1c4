-- An example is a complete script that loads, that can be read in one go, and whose
-- spec a user can copy.
local sh = require "support.sh"
local tree = require "support.tree"

local max_lines = 40 -- of code

local specs = {}
for _, dir in ipairs { "examples", "spec/sim", "spec/e2e" } do
  for _, name in ipairs(tree.files(dir, "lua")) do
    if name:find "_spec%.lua$" then
      specs[#specs + 1] = tree.read(name)
    end
  end
end

local function is_run(example)
  for _, text in ipairs(specs) do
    if text:find(example, 1, true) then
      return true
    end
  end
  return false
end

describe("the example", function()
  for _, name in ipairs(tree.files("examples", "lua")) do
    if name:find "^examples/[^/]*%.lua$" and not name:find "_spec%.lua$" then
      it(name .. " loads", function()
        local ok, output = sh.run(("%s/tandem check --lua-dir lua -c %s"):format(tree.build, name))
        assert(ok, output)
      end)

      it(name .. " is run by a spec", function()
        assert.is_true(is_run(name))
      end)

      it(name .. " says what it is for, and is short", function()
        local text = tree.read(name)
        assert.matches("^%-%- " .. name:gsub("%p", "%%%0") .. ": ", text)
        local code = 0
        for _, line in ipairs(tree.lines(name)) do
          code = code + (line:find "^%s*[^%s-]" and 1 or 0)
        end
        assert(code <= max_lines, code .. " lines of code, more than " .. max_lines)
      end)
    end
  end
end)

describe("an example shown in", function()
  local pages = tree.files("docs", "md")
  table.insert(pages, "README.md")
  for _, page in ipairs(pages) do
    for block in ("\n" .. tree.read(page)):gmatch "\n```lua\n(%-%- examples/.-)\n```" do
      local name = block:match "^%-%- ([%w/_.-]+)"
      name = name:gsub(":$", "")
      it(page .. " is " .. name .. " as it is", function()
        assert.equal(tree.read(name), block .. "\n")
      end)
    end
  end
end)
