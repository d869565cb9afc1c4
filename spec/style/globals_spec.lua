-- No mutable globals: a process holds many nodes, a node many cores. Asked of the
-- objects, so that function-local statics are found too.
local tree = require "support.tree"
local sh = require "support.sh"

-- file -> symbol -> why it must be
local allowed = {
  ["src/message/field.c"] = {
    current = "libosip2's allocator hook has no user pointer; thread-local",
    once = "libosip2 fills tables of its own, once per process (parser_init)",
  },
}

-- Sections that can be written after the program has been loaded. Constant
-- tables of pointers are in .data.rel.ro, which the loader makes read-only.
local function is_writable(section)
  if section:find "^%.data%.rel%.ro" then
    return false
  end
  return section:find "^%.data" ~= nil or section:find "^%.bss" ~= nil
    or section:find "^%.tdata" ~= nil or section:find "^%.tbss" ~= nil
    or section:find "COM" ~= nil
end

-- What compilers add for sanitisers and coverage.
local function is_generated(symbol)
  return symbol:find "^__odr_asan" ~= nil or symbol:find "^__asan" ~= nil
    or symbol:find "^%.LASAN" ~= nil or symbol:find "gcov" ~= nil
end

describe("globals", function()
  for _, name in ipairs(tree.files("src", "c")) do
    it("that can change are not in " .. name, function()
      local wrong = {}
      local lines = assert(sh.lines("nm -f sysv " .. tree.object(name)))
      for _, line in ipairs(lines) do
        local symbol, section = line:match "^(%S+)%s*|.*|(%S+)%s*$"
        -- a function-local static is "name.123"
        local plain = symbol and symbol:gsub("%.%d+$", "")
        if symbol and is_writable(section) and not is_generated(symbol)
          and not (allowed[name] and allowed[name][plain]) then
          wrong[#wrong + 1] = plain .. " is in " .. section
        end
      end
      assert.equal("", tree.report(wrong))
    end)
  end
end)
