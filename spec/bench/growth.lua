-- Does a proxy grow with the number of calls that it has ever carried? Memory when so many
-- short calls are over and their transactions gone, and after more of them.
local measure = require "bench.measure"
local program = require "bench.program"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local ipairs, string = ipairs, string

local _ENV = nil

local growth = {}

local absorb = 36 -- seconds: 64*T1, timers J and L, and a little
local patience = 60 -- seconds longer than the calls that they may take

-- One row per number of calls, Tandem alone: { n =, bytes =, more = share by which it is more
-- than after the first, failed =, again = }, those since the row before.
function growth.run(o)
  local kind, rows, place = workload.get "udp", {}, { ports = o.ports, out = o.out }
  measure.with("tandem", kind, place, function(proxy)
    local done, before = 0, proxy:memory()
    for _, n in ipairs(o.growth.calls) do
      local caller = traffic.caller(kind, place, o.growth.rate, n - done)
      caller:wait((n - done) / o.growth.rate + patience)
      local seen = traffic.result(o.out)
      caller:stop()
      program.sleep(absorb)
      local r = { peer = "tandem", n = n, rate = o.growth.rate, before = before,
        bytes = proxy:memory(), failed = n - done - seen.succeeded, again = seen.again }
      rows[#rows + 1] = r
      r.more = r.bytes / rows[1].bytes - 1
      o.say(string.format("  after %d calls: %.1f MB, %+.2f %%, %d failed", n, r.bytes / 2 ^ 20,
        r.more * 100, r.failed))
      done = n
    end
  end)
  return rows
end

function growth.seconds(o)
  local calls = o.growth.calls
  return calls[#calls] / o.growth.rate + #calls * (absorb + 1) + measure.overhead
end

return growth
