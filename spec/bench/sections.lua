-- All that `make bench` can measure, by name: either what callers ask of a proxy
-- (workload.kinds), which all peers are compared at, or a module of its own.
local growth = require "bench.growth"
local memory = require "bench.memory"
local ringing = require "bench.ringing"
local section = require "bench.section"
local sustained = require "bench.sustained"
local syscalls = require "bench.syscalls"
local workers = require "bench.workers"
local workload = require "bench.workload"
local ipairs = ipairs

local _ENV = nil

local sections = {}

local own = { memory = memory, ringing = ringing, sustained = sustained, growth = growth,
  workers = workers, syscalls = syscalls }

sections.default = "udp tcp pool register memory ringing sustained growth workers syscalls"

function sections.exists(name)
  return own[name] ~= nil or workload.kinds[name] ~= nil
end

-- Its rows. Options: those of settings.lua; out, processors, say.
function sections.run(name, o)
  if own[name] then
    o.say(name)
    return own[name].run(o)
  end
  return section.run(workload.get(name), o)
end

-- About how many seconds all of them take.
function sections.seconds(names, o)
  local sum = 0
  for _, name in ipairs(names) do
    sum = sum + (own[name] and own[name].seconds(o) or section.seconds(workload.get(name), o))
  end
  return sum
end

return sections
