-- The figures of a run that mean something on another machine, and how they compare with
-- those of a baseline: ratios to what other programs took in the same run, counts, and bytes.
-- Times of their own do not.
--
-- A figure is { value =, spread = }: so far the runs that it is the median of are from each
-- other, half of the way between the least and the most; 0 of what is counted once, where
-- `least` says which share of it is no change. All figures are better when they are less.
local figures = require "bench.figures"
local ipairs, math, pairs, string, table = ipairs, math, pairs, string, table

local _ENV = nil

local compare = {}

local least = 0.02 -- of a value: less than that is no change
local of_one_run = 0.05 -- the same of memory and counts, which are taken once
local slow = 100 -- calls per second; above, it is the machine how many share a system call

-- The ratio of two rows' processor times: the median of that of each pair of runs, which
-- were made one after the other: what the machine did otherwise hit both.
local function ratio(own, other)
  local a, b, pairs_of_runs, low, high = own.runs or {}, other.runs or {}, {}, math.huge, 0
  for i = 1, math.min(#a, #b) do
    local q = b[i] > 0 and a[i] / b[i] or nil
    pairs_of_runs[#pairs_of_runs + 1] = q and { q = q }
    low, high = math.min(low, q or low), math.max(high, q or high)
  end
  return #pairs_of_runs > 0
    and { value = figures.median(pairs_of_runs, "q"), spread = (high - low) / 2 } or nil
end

-- Adds what was taken once.
local function add(list, name, value)
  if value then
    list[name] = { value = value, spread = 0, least = of_one_run }
  end
end

local of = {} -- by section: what to add of its rows

-- Peers at one rate, one after the other: as udp, tcp, pool and register are.
local function of_peers(list, name, rows)
  for _, own in ipairs(rows) do
    for _, other in ipairs(own.peer == "tandem" and rows or {}) do
      if other.at == own.at and other.peer ~= "tandem" then
        local key = string.format("%s %s processor time / %s", name, own.at, other.peer)
        list[key] = ratio(own, other)
      end
    end
    if own.peer == "tandem" and own.at ~= "max" then
      add(list, string.format("%s %s failed", name, own.at), own.failed)
    end
  end
end

function of.memory(list, _, rows)
  for _, r in ipairs(rows) do
    if r.peer == "tandem" then
      add(list, "bytes per " .. r.what, r.each)
    end
  end
end

function of.sustained(list, _, rows)
  add(list, "sustained failed", rows[1].failed)
end

function of.growth(list, _, rows)
  add(list, "growth megabytes", rows[#rows].bytes / 2 ^ 20)
end

function of.workers(list, _, rows)
  local first
  for _, r in ipairs(rows) do
    first = first and first.callers == r.callers and first or r
    if r ~= first then
      list[string.format("%d workers, callers at %d addresses: processor time / 1 worker",
        r.workers, r.callers)] = ratio(r, first)
    end
  end
end

function of.syscalls(list, _, rows)
  for _, r in ipairs(rows) do
    if r.peer == "tandem" and r.rate <= slow then
      add(list, string.format("system calls per call at %d/s", r.rate), r.all)
      add(list, string.format("allocations per call at %d/s", r.rate), r.allocations)
    end
  end
end

-- All of a run's: { [name] = figure }. `results` as in results.json.
function compare.figures(results)
  local list = {}
  for name, rows in pairs(results.sections) do
    if #rows > 0 and name ~= "ringing" then -- that is of times
      (of[name] or of_peers)(list, name, rows)
    end
  end
  return list
end

-- By how much a figure may be more than another before it is worse: as much as the runs of
-- both are from each other, and at least 2 % of it, or what it says.
function compare.noise(now, before)
  return math.max(now.spread + before.spread, (now.least or least) * math.abs(before.value))
end

-- "worse", "better", or "" when the difference says nothing.
function compare.verdict(now, before)
  local more, noise = now.value - before.value, compare.noise(now, before)
  return more > noise and "worse" or -more > noise and "better" or ""
end

local function sorted(list)
  local names = {}
  for name in pairs(list) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- Two lists of figures as rows { name =, now =, before =, noise =, verdict = }, of those that
-- are in both; and how many are in one only.
function compare.rows(now, before)
  local rows, alone = {}, 0
  for _, name in ipairs(sorted(now)) do
    if before[name] then
      rows[#rows + 1] = { name = name, now = now[name].value, before = before[name].value,
        noise = compare.noise(now[name], before[name]),
        verdict = compare.verdict(now[name], before[name]) }
    else
      alone = alone + 1
    end
  end
  for name in pairs(before) do
    alone = alone + (now[name] and 0 or 1)
  end
  return rows, alone
end

-- What is to be said at the end of a run: the rows, and a line that says whether it is worse.
function compare.lines(now, before)
  local rows, alone = compare.rows(now, before)
  local lines, worse = {}, {}
  for _, r in ipairs(rows) do
    lines[#lines + 1] = string.format("  %-62s %10.2f %10.2f %+8.1f %%  %s", r.name, r.before,
      r.now, r.before ~= 0 and (r.now / r.before - 1) * 100 or 0,
      r.verdict == "worse" and "WORSE" or r.verdict)
    worse[#worse + 1] = r.verdict == "worse" and r.name or nil
  end
  if #rows > 0 then
    table.insert(lines, 1, string.format("  %-62s %10s %10s", "", "baseline", "now"))
  end
  lines[#lines + 1] = #rows == 0 and "nothing of this run is in the baseline"
    or #worse == 0 and string.format("none of %d figures is worse than the baseline's", #rows)
    or string.format("WORSE than the baseline by more than the noise: %d of %d figures: %s",
      #worse, #rows, table.concat(worse, "; "))
  if alone > 0 and #rows > 0 then
    lines[#lines] = lines[#lines] .. string.format(" (%d are in one of them only)", alone)
  end
  return lines
end

return compare
