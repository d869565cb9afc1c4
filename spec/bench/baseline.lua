-- spec/bench/baseline.json: the figures that runs are compared with, each on a line of its
-- own, and the machine that they were taken on.
local compare = require "bench.compare"
local json = require "cjson"
local program = require "bench.program"
local ipairs, pairs, string, table = ipairs, pairs, string, table

local _ENV = nil

local baseline = {}

baseline.file = "spec/bench/baseline.json"

local function encoded(b)
  local names, lines = {}, {}
  for name in pairs(b.figures) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    local f = b.figures[name]
    lines[i] = string.format('    %s: {"value": %.4g, "spread": %.3g}', json.encode(name),
      f.value, f.spread)
  end
  return string.format('{\n  "machine": %s,\n  "figures": {\n%s\n  }\n}\n',
    json.encode(b.machine), table.concat(lines, ",\n"))
end

local function read(file)
  local text = program.read(file)
  return text and json.decode(text)
end

-- Writes figures; those of others that are there stay.
function baseline.write(figures, machine, file)
  local b = read(file or baseline.file) or { figures = {} }
  b.machine = machine
  for name, figure in pairs(figures) do
    b.figures[name] = figure
  end
  program.write(file or baseline.file, encoded(b))
end

-- The lines that say how figures compare with those written.
function baseline.lines(figures, file)
  local b = read(file or baseline.file)
  if not b then
    return { "there is no baseline: BASELINE=write makes one" }
  end
  local lines = compare.lines(figures, b.figures)
  table.insert(lines, 1, string.format("beside the baseline (%s, %s):", b.machine.commit or "?",
    b.machine.cpu or "?"))
  return lines
end

return baseline
