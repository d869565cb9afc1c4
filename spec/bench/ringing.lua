-- How long a proxy keeps whoever asks it something waiting while many calls ring: they come
-- at a rate, ring all at once, and are answered at the same rate.
--
-- From outside: OPTIONS to the proxy every 10 ms, by a program that waits for nobody. From
-- within: what Tandem says of its loop. The proxy has a processor of its own, and it and the
-- probe go before all others where that is allowed (SCHED_FIFO): what is asked is how long the
-- proxy is busy with something else, not how long it waits for a processor that others have.
local figures = require "bench.figures"
local measure = require "bench.measure"
local metrics = require "bench.metrics"
local program = require "bench.program"
local sh = require "support.sh"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local ipairs, math, string, table = ipairs, math, string, table
local tonumber = tonumber

local _ENV = nil

local ringing = {}

local interval = 0.01 -- seconds between two questions
local quiet, plateau = 5, 10 -- seconds without calls, and while all ring
local lag = "tandem_event_loop_lag_seconds"

-- When what begins, in seconds from the first call: { { phase, seconds }, ... }, and the end.
local function schedule(o)
  local ramp = o.ringing / o.ramp
  return { { "none", -quiet }, { "come", 0 }, { "ring", ramp + 0.5 },
    { "answered", ramp + plateau } }, 2 * ramp + plateau + 2
end

-- Words before a command that give it these processors, before all others if `first`.
local function on_processors(which, first)
  local prefix = { "taskset", "-c", which }
  local command = table.concat(prefix, " ")
  if first and sh.run(command .. " chrt -f 10 true") then
    table.move({ "chrt", "-f", "10" }, 1, 3, #prefix + 1, prefix)
  end
  return sh.run(command .. " true") and prefix or {}
end

-- What a probe has written: { { at = seconds, took = seconds or nil }, ... }
function ringing.answers(text)
  local list, sent = {}, {}
  for kind, number, at in string.gmatch(text, "(%l) (%d+) ([%d.]+)\n") do
    local one = sent[number]
    if kind == "s" then
      one = { at = tonumber(at) }
      sent[number], list[#list + 1] = one, one
    elseif one then
      one.took = one.took or tonumber(at) - one.at
    end
  end
  return list
end

-- Of the answers to what was asked between two times: in milliseconds.
local function between(list, from, to)
  local times, lost = {}, 0
  for _, one in ipairs(list) do
    if one.at >= from and one.at < to then
      times[#times + 1] = one.took and one.took * 1000
      lost = lost + (one.took and 0 or 1)
    end
  end
  table.sort(times)
  return { n = #times, lost = lost, p50 = figures.quantile(times, 0.5),
    p99 = figures.quantile(times, 0.99), longest = times[#times] }
end

-- The answers by phase, and to all that was asked while there were calls: a list of { phase =,
-- n =, lost =, p50 =, p99 =, longest = }.
function ringing.phases(list, began, phases, finish)
  local result = {}
  for i, phase in ipairs(phases) do
    local to = phases[i + 1] and phases[i + 1][2] or finish
    result[i] = between(list, began + phase[2], began + to)
    result[i].phase = phase[1]
  end
  result[#result + 1] = between(list, began, began + finish)
  result[#result].phase = "all"
  return result
end

-- What the loop says of itself, in milliseconds; p99 and the longest are bounds.
local function of_the_loop(before, after)
  local h = metrics.histogram(before, after, lag)
  return { n = h.n, mean = h.n > 0 and h.sum / h.n * 1000 or nil,
    p99 = h.n > 0 and metrics.below(h, 0.99) * 1000 or nil,
    longest = h.n > 0 and metrics.below(h, 1) * 1000 or nil }
end

local function run(peer, o)
  local kind, phases, finish = workload.get "udp", schedule(o)
  local place = { ports = o.ports, out = o.out, ctl = o.out .. "/ctl.sock",
    ring = (o.ringing / o.ramp + plateau) * 1000 }
  if o.processors > 1 then
    place.prefix = on_processors(o.processors - 1, true)
    place.sipp_prefix = on_processors("0-" .. o.processors - 2)
  end
  return measure.with(peer, kind, place, function(proxy)
    local argv = on_processors("0-" .. math.max(0, o.processors - 2), true)
    table.move({ "lua5.4", "spec/bench/probe.lua", o.ports.proxy, interval,
      o.out .. "/probe.txt" }, 1, 5, #argv + 1, argv)
    local probe = program.start(argv, o.out .. "/probe.log")
    program.sleep(quiet)
    local before = peer == "tandem" and metrics.read(place.ctl)
    local began, cpu = program.now(), proxy:cpu().total
    local caller = traffic.caller(kind, place, o.ramp, o.ringing)
    program.sleep(finish - 1)
    caller:wait(40)
    program.sleep(1)
    local loop = before and of_the_loop(before, metrics.read(place.ctl))
    local seen = traffic.result(o.out)
    caller:stop()
    probe:stop()
    local rows = ringing.phases(ringing.answers(program.read(o.out .. "/probe.txt") or ""),
      began, phases, finish)
    for _, row in ipairs(rows) do
      row.peer, row.calls = peer, o.ringing
      o.say(string.format("  %s, %s: %d answers, %d lost, p99 %.2f ms, longest %.2f ms", peer,
        row.phase, row.n, row.lost, row.p99 or 0, row.longest or 0))
    end
    local all = rows[#rows]
    all.failed, all.again, all.loop = o.ringing - seen.succeeded, seen.again, loop
    all.cpu_us = (proxy:cpu().total - cpu) * 1e6 / o.ringing
    return rows
  end)
end

-- One row per peer and phase, and one per peer of all phases with calls.
function ringing.run(o)
  local rows = {}
  for _, peer in ipairs(o.peers) do
    if peer ~= "relay" then -- it answers nothing
      table.move(run(peer, o), 1, 5, #rows + 1, rows)
    end
  end
  return rows
end

function ringing.seconds(o)
  local _, finish = schedule(o)
  local peers = #o.peers
  for _, peer in ipairs(o.peers) do
    peers = peers - (peer == "relay" and 1 or 0)
  end
  return peers * (finish + quiet + measure.overhead + 2)
end

return ringing
