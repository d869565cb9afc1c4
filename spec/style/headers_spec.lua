-- A header says what its module is for, is guarded, and needs no other header to
-- have been included first.
local tree = require "support.tree"
local sh = require "support.sh"

describe("the header", function()
  local compile = tree.read(tree.build .. "/obj/flags"):gsub("\n", "")

  for _, name in ipairs(tree.files("src", "h")) do
    local include = name:match "^src/(.*)$"

    it(name .. " begins with its purpose", function()
      assert.truthy(tree.read(name):find "^/%*")
    end)

    it(name .. " is guarded by its name", function()
      local guard = include:gsub("[/.]", "_"):upper()
      local first, second = tree.read(name):match "\n#ifndef (%S+)\n#define (%S+)\n"
      assert.equal(guard, first)
      assert.equal(guard, second)
    end)

    it(name .. " compiles on its own", function()
      local ok, output = sh.run(("%s -Werror -fsyntax-only -include %s -x c /dev/null")
        :format(compile, sh.quote(include)))
      assert(ok, output)
    end)
  end
end)
