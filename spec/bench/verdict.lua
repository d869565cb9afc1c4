-- What spec/bench/overload prints: each edge and crowd, each round, what came of them, and
-- whether the targets are reached.
local columns = require "bench.columns"
local ipairs, string, table = ipairs, string, table

local _ENV = nil

local verdict = {}

-- goodput: of saturation; well_after: seconds.
verdict.targets = { goodput = 0.8, well_after = 5 }

-- Columns: { head, field or function(row), format, times = what brings it into that unit }. What a
-- row does not have is "-".
local function cells(list, rows)
  local result = { {} }
  for i, column in ipairs(list) do
    result[1][i] = column[1]
  end
  for _, row in ipairs(rows) do
    local line = {}
    for i, column in ipairs(list) do
      local value = row[column[2]]
      line[i] = value and string.format(column[3], column.times and value * column.times or value)
        or "-"
    end
    result[#result + 1] = line
  end
  return result
end

local phase_columns = {
  { "per second", "name", "%s" }, { "offered", "made", "%.0f" },
  { "answered", "answered", "%.0f" }, { "quartiles", "quartiles", "%s" },
  { "503", "refused", "%.0f" }, { "again", "again", "%.0f" }, { "lost", "lost", "%d" },
  { "of its share", "cpu", "%.0f %%", times = 100 },
  { "throttled", "throttled", "%.0f %%", times = 100 },
  { "stolen", "stolen", "%.1f %%", times = 100 }, { "sipp", "others", "%.2f" },
  { "waits", "waited", "%.2f" },
}

local function phase_row(name, p, share)
  return { name = name .. (p.is_repeated and ", again" or ""), made = p.made,
    answered = p.answered, refused = p.refused, again = p.again,
    quartiles = string.format("%.0f to %.0f", p.quartiles[1], p.quartiles[2]), lost = p.all.lost,
    cpu = p.mean.cpu / (share / 100), throttled = p.throttled, stolen = p.stolen,
    others = p.others, waited = p.waited }
end

local round_columns = {
  { "round", "name", "%s" }, { "offered", "offered", "%.2f times" },
  { "answered", "goodput", "%.1f %%", times = 100 }, { "us/call", "call", "%.1f" },
  { "us/503", "refusal", "%.1f" }, { "r", "r", "%.3f" },
  { "(1-nr)/(1-r)", "remains", "%.1f %%", times = 100 }, { "well after", "well_after", "%g s" },
}

-- The rounds, their medians and quartiles.
local function round_rows(s)
  local rows, lower, upper = {}, { name = "lower quartile" }, { name = "upper quartile" }
  local median = { name = "median" }
  for i, one in ipairs(s.rounds) do
    rows[i] = { name = i }
    for _, column in ipairs { table.unpack(round_columns, 2) } do
      local key = column[2]
      rows[i][key], median[key] = one[key], s[key]
      lower[key], upper[key] = s.spread[key][1], s.spread[key][2]
    end
  end
  table.move({ median, lower, upper }, 1, 3, #rows + 1, rows)
  return rows
end

local crowd_columns = {
  { "crowd", "name", "%s" }, { "offered", "made", "%.0f" }, { "answered", "answered", "%.0f" },
  { "of it", "goodput", "%.0f %%", times = 100 }, { "503", "refused", "%.0f" },
  { "again", "again", "%.0f" }, { "BYE of calls", "bye", "%s" },
  { "calm: answered of made", "calm", "%s" }, { "well after", "well", "%s" },
}

local function crowd_row(name, r)
  return { name = name, made = r.made, answered = r.answered, goodput = r.goodput,
    refused = r.refused, again = r.again, bye = r.ended .. " of " .. r.all_answered,
    calm = r.calm_answered .. " of " .. r.calm_made, well = string.format("%g s", r.well_after) }
end

local function target(text, is_reached)
  return text .. (is_reached and ": reached" or ": NOT reached")
end

-- One line for each target.
function verdict.of_targets(on, targets)
  local t, spread = targets, on.spread
  local all_ended = on.ended == on.all_answered
  return {
    target(string.format("goodput %.1f %% of saturation (quartiles %.1f to %.1f), of at least "
      .. "%.0f %%", 100 * on.goodput, 100 * spread.goodput[1], 100 * spread.goodput[2],
      100 * t.goodput), on.goodput >= t.goodput),
    target(string.format("well after %g s (the worst %g), of at most %g s", on.well_after,
      on.worst_well_after, t.well_after), on.well_after <= t.well_after),
    target(string.format("%d of %d answered calls ended", on.ended, on.all_answered), all_ended),
  }
end

local function add(lines, rows, list)
  table.move(columns.lines(cells(list, rows), { true }), 1, #rows + 1, #lines + 1, lines)
end

local function cost_line(on, results)
  if not on.r or on.r <= 0 then
    return "what a refusal costs is not known: the machine was not the same in edges and crowds"
  end
  return string.format("a refusal costs %.3f of a call: of the calls at %d times saturation "
    .. "at most %.0f %% can remain, and %.0f calls/s are what the share is worth with no refusal",
    on.r, results.times, 100 * on.remains_at, results.share / 100 * 1e6 / on.call)
end

-- All of it as lines; results as spec/bench/overload.lua writes them.
function verdict.lines(results)
  local on, phases = results.on, {}
  for i, edge in ipairs(on.edges) do
    phases[#phases + 1] = phase_row("edge " .. i, edge, results.share)
    if on.crowds[i] then
      phases[#phases + 1] = phase_row("crowd " .. i, on.crowds[i], results.share)
    end
  end
  local lines = { string.format("saturation: %.0f calls/s with %d %% of a processor (%s)",
    on.saturation, results.share, results.carried
      and results.carried .. " carried without loss" or "not looked for") }
  add(lines, phases, phase_columns)
  add(lines, round_rows(on), round_columns)
  lines[#lines + 1] = cost_line(on, results)
  local crowds = { crowd_row("shedding", on) }
  if results.off then
    crowds[2] = crowd_row("overload = false", results.off)
  end
  add(lines, crowds, crowd_columns)
  return table.move(verdict.of_targets(on, verdict.targets), 1, 3, #lines + 1, lines)
end

return verdict
