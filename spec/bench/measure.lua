-- One run: a proxy, its servers and its callers are started, calls are made, and what that
-- took is taken down.
local capture = require "bench.capture"
local figures = require "bench.figures"
local metrics = require "bench.metrics"
local peers = require "bench.peers"
local program = require "bench.program"
local traffic = require "bench.traffic"
local error, ipairs, math, string = error, ipairs, math, string

local _ENV = nil

local measure = {}

local settling = 2.2 -- seconds until the first checks are through
measure.overhead = 3.5 -- seconds of a run that are not calls
local patience = 40 -- seconds longer than the calls that sipp may take

local function used(list)
  local sum = 0
  for _, p in ipairs(list) do
    sum = sum + p:cpu().total
  end
  return sum
end

-- Starts all of it, calls fn(proxy, servers), and ends all of it. Options: those of
-- traffic.servers and peers.start.
function measure.with(peer, kind, o, fn)
  local servers = traffic.servers(kind, o)
  local proxy = peers.start(peer, kind, o)
  program.sleep(settling)
  local result = fn(proxy, servers)
  if proxy:ended() then
    error(peer .. " has died:\n" .. proxy:output(), 0)
  end
  proxy:stop()
  -- Its children may live a moment longer, with its socket.
  program.eventually(5, function() return not program.bound(o.ports.proxy, kind.transport) end)
  for _, p in ipairs(servers) do
    p:stop()
  end
  return result
end

local function delays(listening, kind, calls)
  local lost = capture.stop(listening)
  local routed, all, wire = capture.delays(listening, kind.routed)
  return {
    packets = wire.packets / calls, bytes = wire.bytes / calls,
    seen = #all, missed = lost,
    routed_p50 = figures.quantile(routed, 0.5), routed_p99 = figures.quantile(routed, 0.99),
    p50 = figures.quantile(all, 0.5), p99 = figures.quantile(all, 0.99),
  }
end

-- Who has no processor time left: the first of them that takes 0.9 of a processor, or all
-- of them together.
local function limit(r, processors)
  for _, who in ipairs { "caller", "servers", "proxy" } do
    if r.share[who] >= 0.9 then
      return who == "proxy" and "proxy" or "sipp"
    end
  end
  local sum = r.share.caller + r.share.servers + r.share.proxy
  return sum >= 0.9 * processors and "machine" or nil
end

-- Options: rate, seconds, ports, out, processors, delay (measure that instead of processor
-- time: writing down packets takes some itself), ctl (its control socket: then the figures
-- have its metrics before and after, and its memory). Returns the figures; processor time in
-- microseconds per call, `share` in processors.
function measure.run(peer, kind, o)
  return measure.with(peer, kind, o, function(proxy, servers)
    local calls = math.max(1, math.floor(o.rate * o.seconds))
    local listening, why
    if o.delay then
      listening, why = capture.start(o.ports, kind.transport, o.out)
      if not listening then
        return { delay_error = why }
      end
    end
    local metrics_before = o.ctl and metrics.read(o.ctl)
    local before, others, began = proxy:cpu(), used(servers), program.now()
    local caller = traffic.caller(kind, o, o.rate, calls)
    caller:wait(o.seconds + patience)
    local took = program.now() - began
    local callers = caller:cpu() -- of one that has ended and is waited for: in ticks
    program.sleep(0.5)
    local after = proxy:cpu()
    caller:stop()
    local r = traffic.result(o.out)
    r.failed = r.failed + math.max(0, calls - r.succeeded - r.failed) -- not even begun
    r.peer, r.rate, r.asked = peer, o.rate, calls
    r.seconds = r.seconds or took
    r.reached = r.succeeded / math.max(r.seconds, 0.001)
    local ticks = after.user - before.user + after.system - before.system
    r.cpu_us = (after.total - before.total) * 1e6 / calls
    r.user_us = ticks > 0 and r.cpu_us * (after.user - before.user) / ticks or nil
    r.system_us = r.user_us and math.max(0, r.cpu_us - r.user_us)
    -- Of the time that the calls are to take: the last repetitions may take much longer.
    r.share = { caller = (callers.user + callers.system) / o.seconds,
      servers = (used(servers) - others) / o.seconds,
      proxy = (after.total - before.total) / o.seconds }
    r.limit = limit(r, o.processors)
    if o.ctl then
      r.metrics = { metrics_before, metrics.read(o.ctl) }
      r.bytes = proxy:memory()
    end
    if listening then
      r.delay = delays(listening, kind, calls)
    end
    return r
  end)
end

-- Was the rate carried: no call failed, and it took no longer than that rate takes?
function measure.carried(r, seconds)
  return r.failed == 0 and r.seconds <= 1.05 * seconds + 1
end

function measure.line(r)
  return string.format("%s %d/s: %.1f us, %d failed, %d repeated%s", r.peer, r.rate, r.cpu_us,
    r.failed, r.again, r.limit and ", limit: " .. r.limit or "")
end

return measure
