-- What spec/bench/overload runs.
local json = require "cjson"
local machine = require "bench.machine"
local peers = require "bench.peers"
local program = require "bench.program"
local search = require "bench.search"
local sh = require "support.sh"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local assert, error, io, ipairs, math, os = assert, error, io, ipairs, math, os
local pairs, pcall, string, tonumber = pairs, pcall, string, tonumber

local _ENV = nil

local function setting(name, default)
  return tonumber(os.getenv(name) or default)
end

local share, times = setting("SHARE", 10), setting("TIMES", 3)
local crowd_s, calm_s = setting("CROWD", 20), setting("CALM", 15)
local first_port = setting("PORT", 15160)
local settle_s = 5 -- of a crowd, before it counts
local out = sh.lines("pwd")[1] .. "/build/bench"
local kind = workload.get "udp"
local ports = {
  proxy = first_port, servers = { first_port + 21, first_port + 22 }, caller = first_port + 39,
  calm = first_port + 40,
}

-- ---- a share of a processor ----

-- Quanta short enough that no message waits for the next one as long as in an overload.
local period_us = 10000
local group = nil

local function make_group()
  local name, quota = "/tandem-bench-" .. sh.lines("echo $PPID")[1], share * period_us // 100
  local two = program.read "/sys/fs/cgroup/cgroup.controllers"
  group = "/sys/fs/cgroup" .. (two and "" or "/cpu") .. name
  local files = two and { ["cpu.max"] = quota .. " " .. period_us }
    or { ["cpu.cfs_period_us"] = period_us, ["cpu.cfs_quota_us"] = quota }
  if two then
    sh.run "echo +cpu >/sys/fs/cgroup/cgroup.subtree_control"
  end
  assert(sh.run("mkdir -p " .. group), "no control group: it needs root")
  for file, value in pairs(files) do
    program.write(group .. "/" .. file, value .. "\n")
  end
end

local function start_proxy(settings)
  local o = { ports = ports, out = out, prefix = {
    "sh", "-c", "echo $$ >" .. group .. '/cgroup.procs; exec "$@"', "sh",
  } }
  local proxy = peers.start("tandem", kind, o)
  if settings then -- the same script with one line more
    proxy:stop(5)
    local name = out .. "/tandem.lua"
    local text = program.read(name)
    program.write(name, (text:gsub('\nlocal sip = require "tandem"\n', "%0" .. settings .. "\n")))
    proxy = program.start({ "sh", "-c", o.prefix[3], "sh", "build/tandem", "run", "-c", name,
      "--lua-dir", "lua", "-s", "none" }, out .. "/tandem.log")
    assert(program.eventually(30, function() return program.bound(ports.proxy, "udp") end))
  end
  program.sleep(3) -- its first checks
  return proxy
end

-- ---- who calls ----

local function caller(port, rate, seconds, name)
  local scenario = program.write(out .. "/crowd.xml", program.read "spec/bench/sipp/crowd.xml")
  return program.start({ "sipp", "-sf", scenario, "-i", "127.0.0.1", "-p", port, "-nostdin",
    "-skip_rlimit", "-l", 100000, "127.0.0.1:" .. ports.proxy, "-r", rate, "-m",
    rate * seconds, "-trace_stat", "-stf", out .. "/" .. name .. ".csv", "-fd", "1",
    "-timeout", seconds + 10 }, out .. "/" .. name .. ".log")
end

-- What happened in each second: { made =, answered =, refused =, failed =, ended =, again =,
-- response = seconds }.
local columns = {
  made = "TotalCallCreated", answered = "answered(C)", refused = "refused(C)",
  failed = "failed(C)", ended = "ended(C)", again = "Retransmissions(C)",
  lost = "FailedCall(C)",
}

local function per_second(name)
  local rows, head, before = {}, nil, {}
  for line in string.gmatch(program.read(out .. "/" .. name .. ".csv") or "", "[^\n]+") do
    local words, row = {}, {}
    for word in string.gmatch(line, "([^;]*);") do
      words[#words + 1] = word
    end
    if head then
      for key, column in pairs(columns) do
        local value = tonumber(words[head[column]]) or 0
        row[key], before[key] = value - (before[key] or 0), value
      end
      local m, s, us = string.match(words[head["ResponseTime1(P)"]] or "", "(%d+):(%d+):(%d+)$")
      row.response = m and m * 60 + s + us / 1e6
      rows[#rows + 1] = row
    else
      head = {}
      for i, word in ipairs(words) do
        head[word] = i
      end
    end
  end
  return rows
end

local function sum(rows, key, from, to)
  local total = 0
  for i = from or 1, math.min(to or #rows, #rows) do
    total = total + rows[i][key]
  end
  return total
end

-- ---- what is measured ----

local function say(...)
  io.stderr:write(string.format(...), "\n")
end

-- Everybody is answered, and soon: nobody waited for half a second.
local function carries(rate)
  local seconds = 6
  local p = caller(ports.caller, rate, seconds, "steady")
  p:wait(seconds + 15)
  p:stop()
  local rows = per_second "steady"
  local ok = sum(rows, "answered") == rate * seconds and sum(rows, "again") == 0
  say("  %d a second: %s", rate, ok and "carried" or "too much")
  program.sleep(1)
  return ok
end

-- The last seconds of a crowd that lasts `seconds`: what happened there per second, and how
-- many calls were answered for a second of the proxy's processor, whoever else wanted one.
local function watch(proxy, p, seconds, name)
  program.sleep(settle_s)
  local cpu, began = proxy:cpu().total, program.now()
  program.sleep(seconds - settle_s)
  cpu, began = proxy:cpu().total - cpu, program.now() - began
  return function()
    p:wait(30)
    p:stop()
    local rows, r = per_second(name), { cpu = cpu / began }
    for _, key in ipairs { "made", "answered", "refused", "again" } do
      r[key] = sum(rows, key, 1 + settle_s, seconds) / (seconds - settle_s)
    end
    r.per_cpu = r.answered / r.cpu
    r.all_answered, r.all_ended = sum(rows, "answered"), sum(rows, "ended")
    return r
  end
end

-- What is answered when somewhat more is offered than can be carried.
local function edge_of(proxy, rate)
  local seconds = 12
  local r = watch(proxy, caller(ports.caller, rate * 5 // 4, seconds, "edge"), seconds, "edge")()
  say("  %d a second: %.0f answered, %.2f of a processor", rate * 5 // 4, r.answered, r.cpu)
  program.sleep(1)
  return r
end

-- The highest rate that is carried; or, if that is more, what is answered at the edge: a busy
-- proxy reads more in one go, and that is cheaper.
local function saturation()
  local proxy = start_proxy()
  local rate = tonumber(os.getenv "RATE") or search.highest(100, 20000, 3, carries)
  local edge = edge_of(proxy, rate)
  proxy:stop(10)
  edge.rate = math.max(os.getenv "RATE" and 0 or rate, math.floor(edge.answered))
  return edge
end

-- A crowd, and calm after it. `rate` is that of saturation.
local function crowd(rate, settings)
  local proxy = start_proxy(settings)
  local finish = watch(proxy, caller(ports.caller, times * rate, crowd_s, "many"), crowd_s, "many")
  local few = caller(ports.calm, rate // 2, calm_s, "few")
  few:wait(calm_s + 15)
  few:stop()
  local r, rows = finish(), per_second "few"
  r.edge = edge_of(proxy, rate) -- once more: who else uses the machine changes
  proxy:stop(10)
  r.calm_made, r.calm_answered = sum(rows, "made"), sum(rows, "answered")
  r.well_after = 0
  for i, row in ipairs(rows) do
    if row.refused + row.failed + row.lost > 0 then
      r.well_after = i
    end
  end
  return r
end

local function show(name, r, edge)
  local per_cpu = name == "shedding" and (edge.per_cpu + r.edge.per_cpu) / 2 or edge.per_cpu
  io.write(string.format("%-18s %8.0f %8.0f %7.0f%% %7.2f %7.0f%% %7.0f %7.0f %13s %11s %6s\n",
    name, r.made, r.answered, 100 * r.answered / edge.rate, r.cpu, 100 * r.per_cpu / per_cpu,
    r.refused, r.again, r.all_ended .. "/" .. r.all_answered,
    r.calm_answered .. "/" .. r.calm_made, r.well_after .. " s"))
end

local function run()
  for _, port in pairs { ports.proxy, ports.caller, ports.calm, ports.servers[1] } do
    if program.bound(port, "udp") then
      error("port " .. port .. " is in use: PORT=... says where to begin", 0)
    end
  end
  make_group()
  local servers = traffic.servers(kind, { ports = ports, out = out })
  say("%d %% of a processor", share)
  local edge = saturation()
  local results = { machine = machine.describe(), share = share, times = times,
    saturation = edge }
  say("%d times %d a second", times, edge.rate)
  results.on = crowd(edge.rate)
  say "the same with overload = false"
  results.off = crowd(edge.rate, "sip.settings { overload = false }")
  for _, server in ipairs(servers) do
    server:stop()
  end
  program.write(out .. "/overload.json", json.encode(results) .. "\n")
  io.write(string.format("saturation: %d calls/s with %d %% of a processor; crowd: %d times "
    .. "that for %d s; then half of it\n", edge.rate, share, times, crowd_s))
  io.write(string.format("%-18s %8s %8s %8s %7s %8s %7s %7s %13s %11s %6s\n", "per second",
    "offered", "answered", "of it", "cpu", "per cpu", "503", "again", "BYE/calls", "half", "well"))
  show("shedding", results.on, edge)
  show("overload = false", results.off, edge)
end

assert(sh.run("mkdir -p " .. sh.quote(out)))
local ok, why = pcall(run)
program.stop_all()
if group then
  sh.run("sleep 0.5; rmdir " .. group)
end
if not ok then
  say("bench-overload: %s", why)
  os.exit(1)
end
