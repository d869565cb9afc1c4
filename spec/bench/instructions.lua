-- What spec/bench/instructions runs.
local callgrind = require "bench.callgrind"
local json = require "cjson"
local peers = require "bench.peers"
local program = require "bench.program"
local settings = require "bench.settings"
local sh = require "support.sh"
local syscalls = require "bench.syscalls"
local traffic = require "bench.traffic"
local workload = require "bench.workload"
local error, io, ipairs, math, os = error, io, ipairs, math, os
local pairs, pcall, string, table, tonumber = pairs, pcall, string, table, tonumber
local tostring = tostring

local _ENV = nil

local out = sh.lines("pwd")[1] .. "/build/bench"
local place = { ports = settings.ports, out = out }
local calls, rate = tonumber(os.getenv "CALLS" or 500), tonumber(os.getenv "RATE" or 50)
local warm = 500 -- calls before it is counted: what is only done once is not in it

-- Operations: what is counted, how often, and the case that is in it and taken off.
local operations = {
  { "index of a message (msg_index)", "build/bench/micro index", 1000 },
  { "keys of an indexed message (msg_key)", "build/bench/micro key", 1000, "index" },
  { "fields of a request (field_check)", "build/bench/micro check", 1000, "key" },
  { "transaction of a request, among 1000 (server_find)", "build/bench/micro match", 1000, "key" },
  { "branch of a request (branch_write)", "build/bench/micro branch", 1000, "key" },
  { "request as forwarded: edits and text (edits_write)", "build/bench/micro edit", 1000, "key" },
  { "into the script and back (a timer)", "lua5.4 spec/bench/micro.lua timer", 1000 },
  { "choice of a server, ordered, of 2", "lua5.4 spec/bench/micro.lua pick:ordered:2", 5000 },
  { "choice of a server, in turn, of 200", "lua5.4 spec/bench/micro.lua pick:round_robin:200",
    5000 },
  { "choice of a server, by hash, of 200", "lua5.4 spec/bench/micro.lua pick:hash:200", 5000 },
}

-- Instructions of one: of twice as many less of so many.
local function one(command, times)
  local counts = {}
  for i = 1, 2 do
    local argv = {}
    for word in string.gmatch(command .. " " .. i * times, "%S+") do
      argv[#argv + 1] = word
    end
    counts[i] = callgrind.count(argv, out)
  end
  return (counts[2] - counts[1]) / times
end

local function count_operations()
  local rows, whole = {}, {}
  for _, op in ipairs(operations) do
    local name, command, times, within = table.unpack(op)
    local n = one(command, times)
    whole[string.match(command, "%S+$")] = n
    rows[#rows + 1] = { name = name, instructions = n - (within and whole[within] or 0) }
  end
  return rows
end

-- ---- a call through the whole proxy ----

local function control(p, word)
  local ok, text = sh.run("callgrind_control -i " .. word .. " " .. p.pid)
  if not ok then
    error(text, 0)
  end
end

local function make_calls(kind, n)
  local caller = traffic.caller(kind, place, rate, n)
  caller:wait(n / rate + 60)
  caller:stop()
  local seen = traffic.result(out)
  if seen.succeeded ~= n or seen.again > 0 then
    error(string.format("%d of %d calls, %d repetitions: a lower RATE?", seen.succeeded, n,
      seen.again), 0)
  end
end

-- Instructions per call: of all, by layer, by file.
local function count_calls(kind)
  local file = out .. "/calls.callgrind"
  os.remove(file)
  traffic.servers(kind, place)
  local p = peers.start("tandem", kind, { ports = settings.ports, out = out,
    prefix = callgrind.prefix(file, true) })
  program.sleep(5)
  make_calls(kind, warm)
  control(p, "on")
  make_calls(kind, calls)
  control(p, "off")
  p:stop(60)
  program.stop_all()
  local layers, files, allocations = callgrind.by_layer(file)
  local r = { calls = calls, all = 0, allocations = allocations / calls, layers = {}, files = {} }
  for name, n in pairs(layers) do
    r.layers[name] = n / calls
    r.all = r.all + n / calls
  end
  for name, n in pairs(files) do
    r.files[name] = n / calls
  end
  return r
end

-- System calls per call, by name: of a run of its own, at a rate where each message is a
-- wake of its own. Under load several share one.
local function count_system_calls(kind)
  traffic.servers(kind, place)
  local p = peers.start("tandem", kind, place)
  program.sleep(2.5)
  make_calls(kind, warm)
  local list, all = syscalls.count(p, out, function() make_calls(kind, calls) end), 0
  p:stop(5)
  program.stop_all()
  for name, n in pairs(list) do
    list[name], all = n / calls, all + n / calls
  end
  return { all = all, by_name = list }
end

-- ---- as text ----

local function sorted(list)
  local names = {}
  for name in pairs(list) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return list[a] > list[b] or list[a] == list[b] and a < b
  end)
  return names
end

local function write(text, ...)
  io.write(string.format(text .. "\n", ...))
end

local function show_call(name, r)
  write("%s: %.0f instructions per %s, %.1f allocations, %.1f system calls", name, r.all,
    workload.get(name).unit, r.allocations, r.system_calls.all)
  for _, layer in ipairs(sorted(r.layers)) do
    local n = r.layers[layer]
    if n >= r.all / 1000 then
      write("  %-20s %8.0f  %4.1f %%", layer, n, n / r.all * 100)
    end
  end
  local names = sorted(r.files)
  write "  the files with most of it:"
  for i = 1, math.min(12, #names) do
    write("    %-40s %8.0f", string.match(names[i], "[^/]*/?[^/]*$"), r.files[names[i]])
  end
  write "  system calls:"
  for _, call in ipairs(sorted(r.system_calls.by_name)) do
    if r.system_calls.by_name[call] >= 0.05 then
      write("    %-40s %8.1f", call, r.system_calls.by_name[call])
    end
  end
end

local function run()
  local results = { calls = {} }
  for _, name in ipairs { "udp", "register" } do
    results.calls[name] = count_calls(workload.get(name))
    results.calls[name].system_calls = count_system_calls(workload.get(name))
    show_call(name, results.calls[name])
  end
  results.operations = count_operations()
  write "instructions of single operations:"
  for _, row in ipairs(results.operations) do
    write("  %-52s %8.0f", row.name, row.instructions)
  end
  program.write(out .. "/instructions.json", json.encode(results) .. "\n")
  write "build/bench/instructions.json"
end

sh.run("mkdir -p " .. sh.quote(out))
local ok, why = pcall(run)
program.stop_all()
if not ok then
  io.stderr:write("bench: ", tostring(why), "\n")
  os.exit(1)
end
