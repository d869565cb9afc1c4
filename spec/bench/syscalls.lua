-- System calls of a process, counted by strace.
local program = require "bench.program"
local error, string, tonumber = error, string, tonumber

local _ENV = nil

local syscalls = {}

-- How often each was called while fn ran, by all threads: { [name] = n }.
function syscalls.count(pid, out, fn)
  local file = out .. "/strace.txt"
  program.write(file, "")
  local p = program.start({ "strace", "-f", "-c", "-o", file, "-p", pid }, out .. "/strace.log")
  if not program.eventually(5, function() return string.find(p:output(), "attached") end) then
    error("strace cannot count:\n" .. p:output(), 0)
  end
  fn()
  p:signal "INT"
  p:wait(10)
  p:stop()
  local list = {}
  for line in string.gmatch(program.read(file), "[^\n]+") do
    -- % of the time, seconds, microseconds per call, calls, errors if any, name
    local calls, name = string.match(line,
      "^%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)%s+%d*%s*([%l_][%w_]*)$")
    if name and name ~= "total" then
      list[name] = tonumber(calls)
    end
  end
  return list
end

return syscalls
