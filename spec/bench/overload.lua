-- What spec/bench/overload runs.
local json = require "cjson"
local machine = require "bench.machine"
local peers = require "bench.peers"
local program = require "bench.program"
local quota = require "bench.quota"
local rounds = require "bench.rounds"
local search = require "bench.search"
local seconds = require "bench.seconds"
local sh = require "support.sh"
local traffic = require "bench.traffic"
local verdict = require "bench.verdict"
local workload = require "bench.workload"
local assert, error, io, ipairs, math, os = assert, error, io, ipairs, math, os
local pairs, pcall, string, table, tonumber = pairs, pcall, string, table, tonumber

local _ENV = nil

local function setting(name, default)
  return tonumber(os.getenv(name) or default)
end

local share, times = setting("SHARE", 10), setting("TIMES", 3)
local round_count, crowd_s, calm_s = setting("ROUNDS", 5), setting("CROWD", 12), setting("CALM", 7)
local given_rate = setting "RATE"
local first_port = setting("PORT", 15160)
local full_s = 36 -- a proxy with full tables
local settle_s = math.min(4, crowd_s // 2) -- of a crowd, before it counts
local try_s = 6
local out = sh.lines("pwd")[1] .. "/build/bench"
local kind = workload.get "udp"
local ports = {
  proxy = first_port, servers = { first_port + 21, first_port + 22 }, caller = first_port + 39,
  calm = first_port + 40,
}
local group, servers = nil, nil
local repeats = 2 -- of edges and crowds that were disturbed

local function say(...)
  io.stderr:write(string.format(...), "\n")
end

-- ---- the proxy, and who calls ----

local function start_proxy(settings)
  local prefix = group:prefix()
  local proxy = peers.start("tandem", kind, { ports = ports, out = out, prefix = prefix })
  if settings then -- the same script with one line more
    proxy:stop(5)
    local name = out .. "/tandem.lua"
    local text = program.read(name)
    program.write(name, (text:gsub('\nlocal sip = require "tandem"\n', "%0" .. settings .. "\n")))
    local argv = { "build/tandem", "run", "-c", name, "--lua-dir", "lua", "-s", "none" }
    proxy = program.start(table.move(argv, 1, #argv, #prefix + 1, prefix), out .. "/tandem.log")
    assert(program.eventually(30, function() return program.bound(ports.proxy, "udp") end))
  end
  program.sleep(3) -- its first checks
  return proxy
end

local function caller(port, rate, lasts, name)
  local scenario = program.write(out .. "/crowd.xml", program.read "spec/bench/sipp/crowd.xml")
  for _, ending in ipairs { ".csv", ".errors" } do -- of an earlier run
    os.remove(out .. "/" .. name .. ending)
  end
  return program.start({ "sipp", "-sf", scenario, "-i", "127.0.0.1", "-p", port, "-nostdin",
    "-skip_rlimit", "-buff_size", traffic.buffer, "-l", 100000, "127.0.0.1:" .. ports.proxy,
    "-r", rate, "-m", rate * lasts, "-trace_stat", "-stf", out .. "/" .. name .. ".csv", "-fd", "1",
    "-timeout", lasts + 10, "-trace_err", "-error_file", out .. "/" .. name .. ".errors" },
    out .. "/" .. name .. ".log")
end

local function seen(name)
  return seconds.parse(program.read(out .. "/" .. name .. ".csv") or "")
end

-- ---- what is measured ----

-- Everybody is answered, and soon: nobody waited for half a second. Ends when that is not so.
local function carries_now(rate)
  local p = caller(ports.caller, rate, try_s, "steady")
  local deadline = program.now() + try_s + 15
  local rows, is_over
  repeat
    is_over, rows = p:wait(0.5), seen "steady"
    local bad = seconds.sum(rows, "refused") + seconds.sum(rows, "again")
  until is_over or bad > 0 or program.now() > deadline
  p:stop()
  program.sleep(1.5) -- the calls of one that was ended early
  return seconds.sum(rows, "answered") == rate * try_s and seconds.sum(rows, "again") == 0
end

-- Twice, if need be: the machine may have been away.
local function carries(rate)
  local ok = carries_now(rate) or carries_now(rate)
  say("  %d a second: %s", rate, ok and "carried" or "too much")
  return ok
end

-- Reads counters twice a second until `deadline`.
local function watch(sample, deadline)
  local samples = { sample() }
  repeat
    program.sleep(0.5)
    samples[#samples + 1] = sample()
  until program.now() > deadline
  return samples
end

-- Calls for so many seconds; what came of it is what the function returned says, when the
-- last calls are over.
local function calls(proxy, rate, lasts, name)
  local port = string.find(name, "^calm") and ports.calm or ports.caller
  local p = caller(port, rate, lasts, name)
  local sample = group:sampler(proxy, { p, table.unpack(servers) })
  local samples = watch(sample, program.now() + lasts)
  return function()
    p:wait(20)
    p:stop()
    if proxy:ended() then
      error("the proxy has died:\n" .. proxy:output(), 0)
    end
    local rows = seen(name)
    if #seconds.within(rows, 0, lasts) == 0 then
      error("sipp does not call:\n" .. p:output(), 0)
    end
    return rows, samples
  end
end

local function phase(proxy, rate, name)
  local finish = calls(proxy, rate, crowd_s, name)
  return function()
    local rows, samples = finish()
    local r = rounds.phase(rows, samples, settle_s, crowd_s)
    say("  %s: %d a second: %.0f answered, %.0f refused, %.0f %% of its share", name, rate,
      r.answered, r.refused, 1e4 * r.mean.cpu / share)
    return r
  end
end

-- A crowd, and at once calm: half of saturation.
local function crowd(proxy, rate, i)
  local finish = phase(proxy, math.floor(times * rate), "crowd" .. i)
  local finish_calm = calls(proxy, rate // 2, calm_s, "calm" .. i)
  local rows = finish_calm()
  program.sleep(1)
  return finish(), { made = seconds.sum(rows, "made"), answered = seconds.sum(rows, "answered"),
    well_after = seconds.well_after(rows) }
end

local function edge(proxy, rate, i)
  local r = phase(proxy, math.floor(rate * 5 // 4), "edge" .. i)()
  program.sleep(1)
  return r
end

-- fn(...), an edge or a crowd; once more when the proxy had not its share of the processor.
local function undisturbed(fn, ...)
  local r, calm = fn(...)
  if repeats > 0 and rounds.is_disturbed(r, share) then
    say "  that was disturbed: once more"
    repeats = repeats - 1
    program.sleep(5)
    r, calm = fn(...)
    r.is_repeated = true
  end
  return r, calm
end

-- The first edge, which is looked for again, twice at most, while it is none.
local function first_edge(proxy, rate)
  local r
  for _ = 1, 3 do
    r = undisturbed(edge, proxy, rate, 1)
    if not rounds.is_below(r) then
      break
    end
    rate = math.floor(r.answered)
  end
  return r
end

-- What a proxy carries that has just begun is more than it carries in the long run: its tables
-- are small, and all of them in the caches. A transaction stays for 32 s.
local function carried_at_length(proxy)
  local rate = search.highest(math.floor(80 * share), 20000, 3, carries)
  calls(proxy, rate * 5 // 4, full_s, "full")()
  program.sleep(1)
  while rate > share and not carries(rate) do
    rate = rate * 96 // 100
  end
  return rate
end

-- The rounds. Each goes by what is known of saturation by then.
local function shedding()
  local proxy = start_proxy(os.getenv "SETTINGS")
  local carried = not given_rate and carried_at_length(proxy) or nil
  local edges, crowds, calms = {}, {}, {}
  local rate = carried or given_rate
  for i = 1, round_count do
    edges[i] = i == 1 and first_edge(proxy, rate) or undisturbed(edge, proxy, rate, i)
    rate = math.floor(rounds.saturation(carried, edges))
    crowds[i], calms[i] = undisturbed(crowd, proxy, rate, i)
  end
  edges[#edges + 1] = undisturbed(edge, proxy, rate, #edges + 1)
  proxy:stop(10)
  local on = rounds.summary(edges, crowds, calms, carried)
  on.edges, on.crowds, on.calms = edges, crowds, calms
  on.remains_at = on.r and rounds.remains(times, on.r)
  return on, carried
end

local function without(saturation)
  local proxy = start_proxy "sip.settings { overload = false }"
  local one, calm = crowd(proxy, math.floor(saturation), "-off")
  proxy:stop(10)
  local off = rounds.crowd(one, calm, saturation)
  off.crowds = { one }
  return off
end

local function run()
  for _, port in pairs { ports.proxy, ports.caller, ports.calm, ports.servers[1] } do
    if program.bound(port, "udp") then
      error("port " .. port .. " is in use: PORT=... says where to begin", 0)
    end
  end
  local results = { machine = machine.describe(), share = share, times = times,
    targets = verdict.targets, seconds = { crowd = crowd_s, settle = settle_s, calm = calm_s } }
  group = quota.make(share)
  servers = traffic.servers(kind, { ports = ports, out = out })
  say("%d %% of a processor", share)
  results.on, results.carried = shedding()
  if os.getenv "OFF" ~= "0" then
    say "the same with overload = false"
    results.off = without(results.on.saturation)
  end
  for _, server in ipairs(servers) do
    server:stop()
  end
  program.write(out .. "/overload.json", json.encode(results) .. "\n")
  io.write(table.concat(verdict.lines(results), "\n"), "\n")
end

assert(sh.run("mkdir -p " .. sh.quote(out)))
local ok, why = pcall(run)
program.stop_all()
if group then
  group:remove()
end
if not ok then
  say("bench-overload: %s", why)
  os.exit(1)
end
