-- What spec/bench/report runs: tables of results into the documentation.
local instructions = require "bench.counted"
local json = require "cjson"
local marked = require "bench.marked"
local plan = require "bench.plan"
local program = require "bench.program"
local report = require "bench.report"
local io, ipairs, table = io, ipairs, table

local _ENV = nil

local page = "docs/explanation/benchmarks.md"
local text = program.read(page)

for _, part in ipairs {
  { "figures", "build/bench/results.json", report.markdown },
  { "plan", "build/bench/results.json", plan.markdown },
  { "instructions", "build/bench/instructions.json", instructions.markdown },
} do
  local name, file, lines_of = table.unpack(part)
  local results = program.read(file)
  local lines = results and lines_of(json.decode(results))
  if lines then
    text = marked.replace(text, name, lines)
    io.write(page, ": ", name, " of ", file, "\n")
  else
    io.stderr:write(file, ": not there, or not all of it; the ", name, " of before stay\n")
  end
end
program.write(page, text)
