-- lua5.4 spec/support/chaos/report.lua FROM LAST: reads the lines of worker.lua, shows how
-- it goes, and the totals at the end. Exit code 1: something failed.
local from, last = tonumber(arg[1]), tonumber(arg[2])
local began, shown = os.time(), os.time()

local totals = {
  seeds = 0, calls = 0, packets = 0, notes = 0, seconds = 0, busy = 0, memory = 0,
  outcomes = {}, faults = {},
}
local open, failures, hash = {}, {}, nil
local died = 0 -- that began and did not end

local function add(counts, text)
  for name, n in text:gmatch "([^=,]+)=(%d+)" do
    counts[name] = (counts[name] or 0) + math.tointeger(tonumber(n))
  end
end

local function sum(counts)
  local n = 0
  for _, count in pairs(counts) do
    n = n + count
  end
  return n
end

local function rate()
  return totals.calls / math.max(os.time() - began, 1)
end

local function progress()
  print(("%6d of %d seeds, %d calls, %d faults, %.0f calls/s, %d s, %d failed"):format(
    totals.seeds, last - from + 1, totals.calls, sum(totals.faults), rate(), os.time() - began,
    #failures))
  io.flush()
end

local function show_failure(seed)
  local file = io.open(("build/chaos/%d.txt"):format(seed))
  if file then
    print("\n" .. file:read "a")
    file:close()
  end
end

local on = {}

function on.begin(seed)
  open[seed] = true
end

function on.died(seed, why)
  open[seed] = nil
  died = died + 1
  failures[#failures + 1] = seed
  print(("seed %s: %s\nmake chaos SEED=%s"):format(seed, why, seed))
end

on["end"] = function(seed, calls, packets, notes, seconds, busy, memory, violations, trace,
  outcomes, faults)
  open[seed] = nil
  hash = trace
  totals.seeds = totals.seeds + 1
  totals.calls = totals.calls + math.tointeger(tonumber(calls))
  totals.packets = totals.packets + math.tointeger(tonumber(packets))
  totals.notes = totals.notes + math.tointeger(tonumber(notes))
  totals.seconds = totals.seconds + tonumber(seconds)
  totals.busy = totals.busy + tonumber(busy)
  totals.memory = math.max(totals.memory, tonumber(memory))
  add(totals.outcomes, outcomes)
  add(totals.faults, faults)
  if violations ~= "0" then
    failures[#failures + 1] = seed
    show_failure(seed)
  end
end

local function list(title, counts)
  local names = {}
  for name in pairs(counts) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return counts[a] > counts[b] or (counts[a] == counts[b] and a < b)
  end)
  for i, name in ipairs(names) do
    names[i] = ("%s %d"):format(name, counts[name])
  end
  print(title .. ": " .. (names[1] and table.concat(names, ", ") or "none"))
end

for line in io.lines() do
  local fields = {}
  for field in (line .. "\t"):gmatch "([^\t]*)\t" do
    fields[#fields + 1] = field
  end
  if on[fields[1]] then
    on[fields[1]](table.unpack(fields, 2))
  end
  if os.time() - shown >= 5 then
    shown = os.time()
    progress()
  end
end

for seed in pairs(open) do
  died = died + 1
  failures[#failures + 1] = seed
  print(("seed %s: the process died\nmake chaos SEED=%s"):format(seed, seed))
end

local established = totals.outcomes.established or 0
totals.outcomes.established = nil
print(("\n%d seeds, %d calls and other requests, %d calls established"):format(totals.seeds,
  totals.calls, established))
list("outcomes", totals.outcomes)
list("faults", totals.faults)
print(("%d packets, %d events checked, %.1f hours of virtual time"):format(totals.packets,
  totals.notes, totals.seconds / 3600))
print(("%d s, %.0f calls per second, %.0f s of processor time, at most %.0f MB of Lua"):format(
  os.time() - began, rate(), totals.busy, totals.memory / 1e6))
if totals.seeds == 1 and hash then
  print("trace " .. hash)
end
local missing = last - from + 1 - totals.seeds - died
if missing > 0 then
  print(("%d seeds were not run: their process died before"):format(missing))
end
print(#failures == 0 and missing == 0 and "no invariant was violated"
  or ("%d seeds failed"):format(#failures))
os.exit(#failures == 0 and missing == 0)
