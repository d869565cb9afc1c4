-- What is in the source tree, for the style specs.
local sh = require "support.sh"
local assert, io, ipairs, os = assert, io, ipairs, os
local string, table = string, table

local _ENV = nil

local tree = {}

-- Where the objects are that the specs look into.
tree.build = os.getenv "BUILD" or "build/san"

-- Sorted names of the files under `dir`, which need not exist, with this ending.
function tree.files(dir, ending)
  return assert(sh.lines(("[ ! -d %s ] || find %s -type f -name '*.%s' | LC_ALL=C sort")
    :format(dir, dir, ending)))
end

function tree.read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- The lines of a file, without their ends.
function tree.lines(name)
  local list = {}
  for line in io.lines(name) do
    list[#list + 1] = line
  end
  return list
end

-- "src/util/str.c" -> "util", "str"; "src/main.c" -> nil.
function tree.layer(name)
  return string.match(name, "^src/(%w+)/([%w_]+)%.[ch]$")
end

function tree.object(name)
  return string.format("%s/obj/%s.o", tree.build,
    (string.match(name, "^src/(.*)%.c$")))
end

-- The Makefile's lists: { SRC_util = { "str", ... }, LAYERS = { ... }, ... }
function tree.makefile()
  local lists = {}
  local text = string.gsub(tree.read "Makefile", "\\\n", " ")
  for variable, words in string.gmatch(text, "([%w_]+)%s*:=([^\n]*)") do
    lists[variable] = {}
    for word in string.gmatch(words, "%S+") do
      table.insert(lists[variable], word)
    end
  end
  return lists
end

-- One text out of a list of complaints; "" when there is none.
function tree.report(list)
  for i, line in ipairs(list) do
    list[i] = "\n  " .. line
  end
  return table.concat(list)
end

return tree
