-- `make format` mends what this finds.
local tree = require "support.tree"
local sh = require "support.sh"

describe("the format", function()
  local files = {}
  for _, dir in ipairs { "src", "spec" } do
    for _, name in ipairs(tree.files(dir, "[ch]")) do
      files[#files + 1] = name
    end
  end

  it("of the C files is that of .clang-format", function()
    local ok, output = sh.run("clang-format --dry-run -Werror " .. table.concat(files, " "))
    assert(ok, output)
  end)

  it("of the Lua files has two-space indents and no trailing space", function()
    local wrong = {}
    for _, dir in ipairs { "lua", "spec", "examples" } do
      for _, name in ipairs(tree.files(dir, "lua")) do
        for number, line in ipairs(tree.lines(name)) do
          if line:find "^ *\t" or line:find "%s$" then
            wrong[#wrong + 1] = name .. ":" .. number
          end
        end
      end
    end
    assert.equal("", tree.report(wrong))
  end)
end)
