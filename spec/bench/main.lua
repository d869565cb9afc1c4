-- What spec/bench/run runs: docs/explanation/benchmarks.md says what it measures.
local baseline = require "bench.baseline"
local compare = require "bench.compare"
local json = require "cjson"
local machine = require "bench.machine"
local program = require "bench.program"
local report = require "bench.report"
local sections = require "bench.sections"
local settings = require "bench.settings"
local sh = require "support.sh"
local assert, error, io, ipairs, math, os = assert, error, io, ipairs, math, os
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

local function show(lines)
  for _, line in ipairs(lines) do
    io.write(line, "\n")
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
  say(string.format("about %.0f minutes", math.max(1, sections.seconds(o.sections, o) / 60)))
  for _, name in ipairs(settings.sections) do
    results.order[#results.order + 1] = name
    results.sections[name] = sections.run(name, o)
  end
  results.ratios = report.ratios(results)
  results.figures = compare.figures(results)
  program.write(out .. "/results.json", json.encode(results) .. "\n")
  show(report.lines(results))
  if os.getenv "BASELINE" == "write" then
    baseline.write(results.figures, results.machine)
    io.write(baseline.file, "\n")
  else
    show(baseline.lines(results.figures))
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
