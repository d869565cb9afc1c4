-- A rate for a minute, at one worker: does any call fail? And of what each of the programs
-- takes, what the proxy could do with a processor of its own.
local measure = require "bench.measure"
local program = require "bench.program"
local workload = require "bench.workload"

local _ENV = nil

local sustained = {}

-- One row: Tandem alone.
function sustained.run(o)
  local r = measure.run("tandem", workload.get "udp", { ports = o.ports, out = o.out,
    processors = o.processors, rate = o.sustained.rate, seconds = o.sustained.seconds })
  o.say("  " .. measure.line(r))
  return { {
    peer = r.peer, rate = r.rate, seconds = r.seconds, n = r.asked, failed = r.failed,
    again = r.again, reached = r.reached, cpu_us = r.cpu_us, share = r.share, limit = r.limit,
    possible = 1e6 / r.cpu_us, log_bytes = program.size(o.out .. "/tandem.log") / r.asked,
  } }
end

function sustained.seconds(o)
  return o.sustained.seconds + measure.overhead
end

return sustained
