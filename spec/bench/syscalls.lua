-- System calls of processes, counted by strace; and those of the way of a message, and
-- allocations, counted by spec/bench/counter.c.
local measure = require "bench.measure"
local program = require "bench.program"
local sh = require "support.sh"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local error, ipairs, pairs, string, tonumber = error, ipairs, pairs, string, tonumber

local _ENV = nil

local syscalls = {}

local counter = sh.lines("pwd")[1] .. "/build/bench/counter.so"
local slow = 100 -- calls per second; up to here strace changes nothing

-- How often each was called while fn ran, by all processes of a program and their threads:
-- { [name] = n }.
function syscalls.count(counted, out, fn)
  local file = out .. "/strace.txt"
  local argv = { "strace", "-f", "-c", "-o", file }
  local processes = counted:processes()
  for _, process in ipairs(processes) do
    argv[#argv + 1] = "-p"
    argv[#argv + 1] = process.pid
  end
  program.write(file, "")
  local p = program.start(argv, out .. "/strace.log")
  if not program.eventually(5, function()
    local _, attached = string.gsub(p:output(), " attached", "")
    return attached >= #processes
  end) then
    error("strace cannot count:\n" .. p:output(), 0)
  end
  fn()
  p:signal "INT"
  p:wait(10)
  p:stop()
  local list = {}
  for line in string.gmatch(program.read(file), "[^\n]+") do
    -- % of the time, seconds, microseconds per call, calls, errors if any, name
    local calls, name = string.match(line,
      "^%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)%s+%d*%s*([%l_][%w_]*)$")
    if name and name ~= "total" then
      list[name] = tonumber(calls)
    end
  end
  return list
end

-- ---- without stopping the program ----

-- What spec/bench/counter.c counts, in its order; and what belongs together in a table.
local counted = { "recv", "recvfrom", "recvmsg", "recvmmsg", "send", "sendto", "sendmsg",
  "sendmmsg", "epoll_wait", "epoll_ctl", "poll", "read", "write", "writev", "allocations" }
local kinds = { recv = "receive", recvfrom = "receive", recvmsg = "receive",
  recvmmsg = "receive", send = "send", sendto = "send", sendmsg = "send", sendmmsg = "send" }

-- The numbers in its file: { [name] = n }.
function syscalls.decode(text)
  local list = {}
  for i, name in ipairs(counted) do
    list[name] = string.unpack("<I8", text, 8 * i - 7)
  end
  return list
end

-- Per call, of two readings: `all` but allocations, by name, and receiving, sending, others.
function syscalls.per_call(before, after, calls)
  local r = { all = 0, receive = 0, send = 0, by_name = {} }
  for name, n in pairs(after) do
    local each, kind = (n - before[name]) / calls, kinds[name]
    if name == "allocations" then
      r.allocations = each
    else
      r.all, r.by_name[name] = r.all + each, each
      r[kind or "others"] = (r[kind or "others"] or 0) + each
    end
  end
  r.others = r.others - r.by_name.epoll_wait - r.by_name.write
  return r
end

local function make_calls(kind, place, o, rate)
  local caller = traffic.caller(kind, place, rate, rate * o.syscalls.seconds)
  caller:wait(o.syscalls.seconds + 40)
  local seen = traffic.result(place.out)
  caller:stop()
  return seen
end

-- One peer at one rate.
local function row(peer, kind, o, rate)
  local file, n = o.out .. "/counts", rate * o.syscalls.seconds
  local place = { ports = o.ports, out = o.out, prefix = { "env",
    "LD_PRELOAD=" .. counter, "BENCH_COUNTS=" .. program.write(file, "") } }
  local r = measure.with(peer, kind, place, function()
    make_calls(kind, place, o, rate) -- what is only done once is not in it
    local before = syscalls.decode(program.read(file))
    local seen = make_calls(kind, place, o, rate)
    local r = syscalls.per_call(before, syscalls.decode(program.read(file)), n)
    r.failed, r.again = n - seen.succeeded, seen.again
    return r
  end)
  r.peer, r.rate, r.n = peer, rate, n
  if peer ~= "tandem" then -- Kamailio has allocators of its own
    r.allocations = nil
  end
  if rate <= slow then
    place.prefix = nil
    r.strace = 0
    measure.with(peer, kind, place, function(proxy)
      for _, times in pairs(syscalls.count(proxy, o.out, function()
        make_calls(kind, place, o, rate)
      end)) do
        r.strace = r.strace + times / n
      end
    end)
  end
  return r
end

-- One row per peer and rate. At a low one strace has counted all of them as well; at a high
-- one it would make the proxy so slow that many messages share a wake.
function syscalls.run(o)
  local kind, rows = workload.get "udp", {}
  for _, rate in ipairs(o.syscalls.rates) do
    for _, peer in ipairs(o.peers) do
      local r = row(peer, kind, o, rate)
      o.say(string.format("  %s %d/s: %.1f system calls, %.1f allocations, %d failed", peer, rate,
        r.all, r.allocations or 0, r.failed))
      rows[#rows + 1] = r
    end
  end
  return rows
end

function syscalls.seconds(o)
  local runs = 0
  for _, rate in ipairs(o.syscalls.rates) do
    runs = runs + (rate <= slow and 2 or 1)
  end
  return runs * #o.peers * (1.5 * o.syscalls.seconds + measure.overhead + 1)
end

return syscalls
