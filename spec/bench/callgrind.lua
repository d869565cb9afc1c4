-- Instructions in user space, counted by valgrind: the same on every quiet or busy machine,
-- as long as binary and libraries are.
local program = require "bench.program"
local error, io, ipairs, string, tonumber = error, io, ipairs, string, tonumber

local _ENV = nil

local callgrind = {}

-- The words before a program that is to be counted. later: only once it is asked for.
function callgrind.prefix(file, later)
  return { "valgrind", "--tool=callgrind", "--callgrind-out-file=" .. file,
    "--instr-atstart=" .. (later and "no" or "yes") }
end

-- All instructions of a run of argv.
function callgrind.count(argv, out)
  local file = out .. "/count.callgrind"
  local words = callgrind.prefix(file)
  for _, word in ipairs(argv) do
    words[#words + 1] = word
  end
  local p = program.start(words, out .. "/count.log")
  p:wait(600)
  local total = tonumber(string.match(program.read(file) or "", "\ntotals: (%d+)"))
  local output = p:output()
  p:stop()
  return total or error("valgrind has not counted:\n" .. output, 0)
end

-- The library of an object file, by its bare name.
local function library(object)
  local name = string.match(object, "([^/]+)$") or object
  return (string.gsub(name, "%.so.*$", ""))
end

-- What a file of ours or a library is counted as.
local function layer(object, file)
  if string.find(object, "/tandem$") then
    return string.match(file, "src/(%l+)/[%w_]+%.[ch]$") or "other"
  end
  return library(object)
end

local allocators = { malloc = true, calloc = true, realloc = true }

-- Adds up a file of callgrind, each instruction where it is written, also when it was
-- inlined elsewhere. Returns instructions by layer, and by file, and how often memory was
-- allocated.
function callgrind.by_layer(name)
  local names = { ob = {}, fl = {}, fn = {} }
  local layers, files, allocations = {}, {}, 0
  local object, file, callee, skip = "", "", "", false

  -- "(3) name" gives a number a name, "(3)" uses it.
  local function resolve(kind, text)
    local id, given = string.match(text, "^(%(%d+%))%s*(.*)$")
    if not id then
      return text
    elseif given ~= "" then
      names[kind][id] = given
    end
    return names[kind][id] or "?"
  end

  for line in io.lines(name) do
    local key, value = string.match(line, "^(%l+)=(.*)$")
    local cost = not key and string.match(line, "^[%d+*-]%S* (%d+)$")
    if key == "ob" then
      object = resolve("ob", value)
    elseif key == "fl" or key == "fi" or key == "fe" then
      file = resolve("fl", value)
    elseif key == "cob" then
      resolve("ob", value)
    elseif key == "cfi" or key == "cfl" then
      resolve("fl", value)
    elseif key == "fn" then
      resolve("fn", value)
    elseif key == "cfn" then
      callee = resolve("fn", value)
    elseif key == "calls" then
      skip = true -- the next line is what the callee took
      allocations = allocations
        + (allocators[callee] and tonumber(string.match(value, "^%d+")) or 0)
    elseif cost and skip then
      skip = false
    elseif cost then
      local of = layer(object, file)
      layers[of] = (layers[of] or 0) + tonumber(cost)
      if file ~= "???" then -- a library without such information
        files[file] = (files[file] or 0) + tonumber(cost)
      end
    end
  end
  return layers, files, allocations
end

return callgrind
