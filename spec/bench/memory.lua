-- What a proxy holds: calls that are answered and not hung up, and transactions that are
-- over and absorb repetitions. Resident memory, what processes share counted once.
local measure = require "bench.measure"
local metrics = require "bench.metrics"
local program = require "bench.program"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local ipairs, math, string = ipairs, math, string

local _ENV = nil

local memory = {}

local absorb = 32 -- seconds: 64*T1, timers J and L
local hold = 24 * 3600 * 1000 -- milliseconds: until the end of the run

-- Bytes that Tandem counts itself, of requests, transactions, calls and its script; nil of
-- others.
local function counted(peer, place)
  if peer ~= "tandem" then
    return nil
  end
  local list = metrics.read(place.ctl)
  return metrics.sum(list, "tandem_core_memory_bytes")
    + metrics.sum(list, "tandem_lua_memory_bytes")
end

-- What there is before and after; and what that is for each of `n`.
local function begin(r, place, proxy)
  r.counted_before = counted(r.peer, place) -- first: to be asked takes memory, once
  r.before = proxy:memory()
end

local function finish(r, place, proxy)
  r.bytes = proxy:memory()
  r.counted_after = counted(r.peer, place)
end

local function divide(r, n)
  r.n, r.each = n, (r.bytes - r.before) / math.max(1, n)
  r.counted = r.counted_after and (r.counted_after - r.counted_before) / math.max(1, n)
end

-- `n` calls are there, and the transactions that they began with are gone.
local function held(peer, o)
  local kind = workload.get "udp"
  local place = { ports = o.ports, out = o.out, ctl = o.out .. "/ctl.sock", hold = hold }
  return measure.with(peer, kind, place, function(proxy)
    local r = { peer = peer, what = "held call", asked = o.held }
    begin(r, place, proxy)
    local caller = traffic.caller(kind, place, o.ramp, o.held)
    program.sleep(o.held / o.ramp + absorb + 3)
    finish(r, place, proxy)
    caller:stop()
    local seen = traffic.result(o.out)
    r.failed = seen.failed
    divide(r, seen.calls - seen.failed)
    return r
  end)
end

-- `n` transactions within the time that the first of them is kept.
local function absorbing(peer, o)
  local kind = workload.get "register"
  local rate = math.max(o.ramp, math.ceil(o.absorbing / (absorb - 4)))
  local place = { ports = o.ports, out = o.out, ctl = o.out .. "/ctl.sock",
    absorb = absorb * 1000 }
  return measure.with(peer, kind, place, function(proxy)
    local r = { peer = peer, what = "absorbing transaction", asked = o.absorbing }
    begin(r, place, proxy)
    local began = program.now()
    local caller = traffic.caller(kind, place, rate, o.absorbing)
    caller:wait(absorb - 1)
    r.seconds = program.now() - began
    finish(r, place, proxy)
    caller:stop()
    local seen = traffic.result(o.out)
    r.failed = seen.failed
    divide(r, seen.succeeded)
    return r
  end)
end

function memory.seconds(o)
  local peers = 0
  for _, peer in ipairs(o.peers) do
    peers = peers + (peer == "relay" and 0 or 1)
  end
  return peers * (o.held / o.ramp + 2 * absorb + 3 + 2 * measure.overhead)
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
