-- What a proxy holds: calls that are answered and not hung up, and transactions that are
-- over and absorb repetitions. Resident memory, what processes share counted once.
local measure = require "bench.measure"
local program = require "bench.program"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local ipairs, math, string = ipairs, math, string

local _ENV = nil

local memory = {}

local absorb = 32 -- seconds: 64*T1, timers J and L
local hold = 24 * 3600 * 1000 -- milliseconds: until the end of the run

-- `n` calls are there, and the transactions that they began with are gone.
local function held(peer, o)
  local kind = workload.get "udp"
  return measure.with(peer, kind, { ports = o.ports, out = o.out }, function(proxy)
    local before = proxy:memory()
    local caller = traffic.caller(kind, o.ports, o.out, o.ramp, o.held, hold)
    program.sleep(o.held / o.ramp + absorb + 3)
    local r = { peer = peer, what = "held calls", asked = o.held, before = before,
      bytes = proxy:memory() }
    caller:stop()
    local seen = traffic.result(o.out)
    r.n, r.failed = seen.calls - seen.failed, seen.failed
    r.each = (r.bytes - before) / math.max(1, r.n)
    return r
  end)
end

-- `n` transactions within the time that the first of them is kept.
local function absorbing(peer, o)
  local kind = workload.get "register"
  local rate = math.max(o.ramp, math.ceil(o.absorbing / (absorb - 4)))
  return measure.with(peer, kind, { ports = o.ports, out = o.out, absorb = absorb * 1000 },
    function(proxy)
      local before, began = proxy:memory(), program.now()
      local caller = traffic.caller(kind, o.ports, o.out, rate, o.absorbing)
      caller:wait(absorb - 1)
      local r = { peer = peer, what = "absorbing transactions", asked = o.absorbing,
        before = before, bytes = proxy:memory(), seconds = program.now() - began }
      caller:stop()
      local seen = traffic.result(o.out)
      r.n, r.failed = seen.succeeded, seen.failed
      r.each = (r.bytes - before) / math.max(1, r.n)
      return r
    end)
end

-- Options: peers, held, absorbing, ramp (calls per second), ports, out, say.
function memory.run(o)
  local rows = {}
  for _, fill in ipairs { held, absorbing } do
    for _, peer in ipairs(o.peers) do
      if peer ~= "relay" then -- it holds nothing
        local r = fill(peer, o)
        o.say(string.format("  %s: %d %s, %.1f MB, %.0f bytes each", peer, r.n, r.what,
          r.bytes / 2 ^ 20, r.each))
        rows[#rows + 1] = r
      end
    end
  end
  return rows
end

return memory
