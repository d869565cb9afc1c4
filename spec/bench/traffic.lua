-- sipp on both sides of a proxy.
local program = require "bench.program"
local workload = require "bench.workload"
local error, ipairs, math, string = error, ipairs, math, string
local table, tonumber = table, tonumber

local _ENV = nil

local traffic = {}

local max_calls = 30000 -- open at a time; beyond, sipp would hold back
-- What may wait in its socket, as in that of each proxy: of its own 64 KB a proxy that sends a
-- hundred messages in one go loses some, and that would be the proxy's fault in the table.
traffic.buffer = 4 * 1024 * 1024

-- The last line of a statistics file of sipp, by column.
local function statistics(text)
  local head, last = string.match(text, "^([^\n]*)\n"), string.match(text, "([^\n]+)\n*$")
  local names, row = {}, {}
  for name in string.gmatch(head or "", "([^;]*);") do
    names[#names + 1] = name
  end
  local i = 0
  for value in string.gmatch(last or "", "([^;]*);") do
    i = i + 1
    row[names[i] or i] = value
  end
  return row
end

-- The command of one sipp; `o` as below.
local function sipp(kind, o, scenario, name, port, own)
  local file = program.write(o.out .. "/" .. name .. ".xml",
    workload.scenario(kind, program.read(scenario), name, o))
  local argv = table.move(o.sipp_prefix or {}, 1, #(o.sipp_prefix or {}), 1, {})
  for _, word in ipairs { "sipp", "-sf", file, "-i", own, "-p", port, "-nostdin",
    "-skip_rlimit", "-t", kind.transport == "tcp" and "t1" or "u1", "-l", max_calls,
    "-trace_err", "-error_file", o.out .. "/" .. name .. ".errors" } do
    argv[#argv + 1] = word
  end
  if kind.transport ~= "tcp" then -- there the kernel finds out
    table.move({ "-buff_size", traffic.buffer }, 1, 2, #argv + 1, argv)
  end
  return argv
end

-- The servers: a list of programs that answer when this returns. Options: ports; out, a
-- folder; ring, milliseconds until a call is answered; sipp_prefix, words before the command.
function traffic.servers(kind, o)
  local list, ports = {}, o.ports
  for i = 1, kind.servers == 2 and 2 or 1 do
    local name = i == 1 and "a" or "b"
    -- Many: one answers at all addresses of the machine.
    local argv = sipp(kind, o, kind.answer, name, ports.servers[i],
      kind.servers == 2 and "127.0.0.1" or "0.0.0.0")
    list[i] = program.start(argv, o.out .. "/" .. name .. ".log")
  end
  for i, p in ipairs(list) do
    if not program.eventually(5, function()
      return program.bound(ports.servers[i], kind.transport)
    end) then
      error("sipp does not serve:\n" .. p:output(), 0)
    end
  end
  return list
end

-- The caller, which makes `calls` calls, so many a second, and ends. Options: as of servers,
-- and hold, milliseconds until an answered call is hung up; callers, from how many addresses
-- they come in turn, each with a socket of its own.
function traffic.caller(kind, o, rate, calls)
  local argv = sipp(kind, o, kind.call, "caller", o.ports.caller, "127.0.0.1")
  for _, word in ipairs { "127.0.0.1:" .. o.ports.proxy, "-r", rate, "-m", calls,
    "-trace_stat", "-stf", o.out .. "/caller.csv", "-fd", "1" } do
    argv[#argv + 1] = word
  end
  if o.callers then
    local file = program.write(o.out .. "/callers.inf", workload.addresses(o.callers))
    for _, word in ipairs { "-t", "ui", "-inf", file, "-ip_field", "0" } do
      argv[#argv + 1] = word
    end
  end
  return program.start(argv, o.out .. "/caller.log")
end

-- What a caller that has ended has seen: { calls =, failed =, again = retransmissions,
-- seconds = }.
function traffic.result(out)
  local row = statistics(program.read(out .. "/caller.csv") or "")
  local function column(name)
    return math.tointeger(tonumber(row[name])) or 0
  end
  local h, m, s = string.match(row["ElapsedTime(C)"] or "", "(%d+):(%d+):([%d.]+)")
  return {
    calls = column "TotalCallCreated", failed = column "FailedCall(C)",
    succeeded = column "SuccessfulCall(C)", again = column "Retransmissions(C)",
    seconds = h and h * 3600 + m * 60 + s,
  }
end

return traffic
