-- lua5.4 spec/support/chaos/worker.lua SEED: runs CHUNK seeds from there, none after LAST,
-- and tells report.lua of each in one line. What failed is in build/chaos/SEED.txt.
local run = require "support.chaos.run"

local from = math.tointeger(tonumber(arg[1]))
local last = tonumber(os.getenv "LAST" or from)
local chunk = tonumber(os.getenv "CHUNK" or 1)
local calls = math.tointeger(tonumber(os.getenv "CALLS" or 500))

local function pairs_of(counts)
  local names, list = {}, {}
  for name in next, counts do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    list[i] = ("%s=%d"):format(name, counts[name])
  end
  return table.concat(list, ",")
end

local function describe(result)
  local faults = {}
  for i, fault in ipairs(result.plan.faults) do
    faults[i] = fault.kind
  end
  return ("seed %d: %s, %s, %d workers; %s\n"):format(result.seed, result.policy,
    result.plan.layout, result.plan.workers, table.concat(faults, " "))
end

local function write_failure(result)
  local file = assert(io.open(("build/chaos/%d.txt"):format(result.seed), "w"))
  file:write(describe(result))
  for _, violation in ipairs(result.violations) do
    file:write(("\n%s at %.6f s (event %d, packet %d): %s\n%s"):format(violation.invariant,
      violation.time / 1e6, violation.note, violation.packet or 0, violation.text,
      violation.ladder))
  end
  file:write(("\nmake chaos SEED=%d%s\n"):format(result.seed,
    calls ~= 500 and " CALLS=" .. calls or ""))
  file:close()
end

local function tell(...)
  io.write(table.concat({ ... }, "\t"), "\n")
  io.flush()
end

for seed = from, math.min(from + chunk - 1, last) do
  tell("begin", seed)
  local began = os.clock()
  local ok, result = xpcall(run.seed, debug.traceback, seed, { calls = calls })
  if not ok then
    tell("died", seed, (result:gsub("%s+", " "):sub(1, 2000)))
  else
    if #result.violations > 0 then
      write_failure(result)
    end
    tell("end", seed, result.calls, result.packets, result.notes, ("%.3f"):format(result.seconds),
      ("%.3f"):format(os.clock() - began), ("%d"):format(result.memory), #result.violations,
      result.hash, pairs_of(result.outcomes), pairs_of(result.faults))
  end
  collectgarbage()
end
