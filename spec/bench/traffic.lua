-- sipp on both sides of a proxy.
local program = require "bench.program"
local workload = require "bench.workload"
local error, ipairs, math, string = error, ipairs, math, string
local tonumber = tonumber

local _ENV = nil

local traffic = {}

local max_calls = 30000 -- open at a time; beyond, sipp would hold back

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

local function sipp(kind, scenario, out, name, port, own, hold)
  local file = program.write(out .. "/" .. name .. ".xml",
    workload.scenario(kind, program.read(scenario), name, hold))
  return { "sipp", "-sf", file, "-i", own, "-p", port, "-nostdin", "-skip_rlimit",
    "-t", kind.transport == "tcp" and "t1" or "u1", "-l", max_calls,
    "-trace_err", "-error_file", out .. "/" .. name .. ".errors" }
end

-- The servers: a list of programs that answer when this returns.
function traffic.servers(kind, ports, out)
  local list = {}
  for i = 1, kind.servers == 2 and 2 or 1 do
    local name = i == 1 and "a" or "b"
    -- Many: one answers at all addresses of the machine.
    local argv = sipp(kind, kind.answer, out, name, ports.servers[i],
      kind.servers == 2 and "127.0.0.1" or "0.0.0.0")
    list[i] = program.start(argv, out .. "/" .. name .. ".log")
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

-- The caller, which makes `calls` calls, so many a second, and ends.
function traffic.caller(kind, ports, out, rate, calls, hold)
  local argv = sipp(kind, kind.call, out, "caller", ports.caller, "127.0.0.1", hold)
  for _, word in ipairs { "127.0.0.1:" .. ports.proxy, "-r", rate, "-m", calls,
    "-trace_stat", "-stf", out .. "/caller.csv", "-fd", "1" } do
    argv[#argv + 1] = word
  end
  return program.start(argv, out .. "/caller.log")
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
