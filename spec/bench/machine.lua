-- What the figures were measured on.
local program = require "bench.program"
local sh = require "support.sh"
local string, tonumber = string, tonumber

local _ENV = nil

local machine = {}

local function first_line(command)
  local lines = sh.lines(command .. "; true")
  return lines and lines[1] or nil
end

function machine.describe()
  local cpuinfo = program.read "/proc/cpuinfo" or ""
  local load = program.read "/proc/loadavg" or ""
  return {
    cpu = string.match(cpuinfo, "model name%s*: ([^\n]+)"),
    processors = tonumber(first_line "nproc"),
    memory_kb = tonumber(string.match(program.read "/proc/meminfo" or "", "MemTotal:%s*(%d+)")),
    kernel = first_line "uname -r",
    load_average = tonumber(string.match(load, "^%S+")),
    date = first_line "date -u +%Y-%m-%dT%H:%M:%SZ",
    commit = first_line "git describe --always --dirty 2>/dev/null",
    tandem = first_line "build/tandem -V 2>/dev/null",
    compiler = first_line "cc --version 2>/dev/null",
    kamailio = string.match(first_line "kamailio -v 2>/dev/null" or "", "version: (.-)%s*$"),
    sipp = string.match(first_line "sipp -v 2>&1 | grep -o 'SIPp v[^ ]*'" or "",
      "SIPp (.-)%.?$"),
  }
end

return machine
