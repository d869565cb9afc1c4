-- What spec/bench/run runs: docs/explanation/benchmarks.md says what it measures.
local json = require "cjson"
local machine = require "bench.machine"
local memory = require "bench.memory"
local program = require "bench.program"
local report = require "bench.report"
local section = require "bench.section"
local settings = require "bench.settings"
local sh = require "support.sh"
local workload = require "bench.workload"
local assert, error, io, ipairs, os = assert, error, io, ipairs, os
local setmetatable, string, table, xpcall = setmetatable, string, table, xpcall
local debug, tostring, type = debug, tostring, type

local _ENV = nil

local out = sh.lines("pwd")[1] .. "/build/bench"

local function say(text)
  io.stderr:write(text, "\n")
end

-- Somebody else's would be measured, or would answer.
local function check_ports(ports)
  local list = { ports.proxy, ports.caller, table.unpack(ports.servers) }
  for _, port in ipairs(list) do
    for _, protocol in ipairs { "udp", "tcp" } do
      if program.bound(port, protocol) then
        error(string.format("port %d is in use: PORT=... says where to begin", port), 0)
      end
    end
  end
end

local function run()
  check_ports(settings.ports)
  local results = {
    machine = machine.describe(), settings = settings.describe(), order = {}, sections = {},
  }
  setmetatable(results.order, json.array_mt)
  local o = setmetatable({ out = out, processors = results.machine.processors, say = say },
    { __index = settings })
  for _, name in ipairs(settings.sections) do
    if name == "memory" then
      say "memory"
      results.memory = memory.run(o)
    else
      results.order[#results.order + 1] = name
      results.sections[name] = section.run(workload.get(name), o)
    end
  end
  results.ratios = report.ratios(results)
  program.write(out .. "/results.json", json.encode(results) .. "\n")
  for _, line in ipairs(report.lines(results)) do
    io.write(line, "\n")
  end
  io.write "build/bench/results.json\n"
end

assert(sh.run("mkdir -p " .. sh.quote(out)))
local ok, why = xpcall(run, function(e)
  if string.find(tostring(e), "interrupted!", 1, true) then
    return "interrupted"
  end
  return type(e) == "string" and string.find(e, "^[^\n]-%.lua:%d+:")
    and debug.traceback(e, 2) or tostring(e)
end)
program.stop_all()
if not ok then
  say("bench: " .. why)
  os.exit(1)
end
