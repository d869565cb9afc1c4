-- The arithmetic of spec/bench/overload: rounds of an edge (a little more than can be carried)
-- and a crowd, and an edge after the last one. A machine of which processors are taken away now
-- and then, or that is slow for a minute, must not decide: what counts are medians, of seconds
-- and then of rounds, and each crowd is compared with the edges just before and after it.
local figures = require "bench.figures"
local seconds = require "bench.seconds"
local error, ipairs, math, table = error, ipairs, math, table

local _ENV = nil

local rounds = {}

local counts = { "made", "answered", "refused", "again" }

-- One edge or crowd. rows: of sipp; samples: of the kernel, { at =, cpu =, stolen =, periods =,
-- throttled =, others = seconds that sipp ran, waited = that it had no processor }. Of the
-- seconds `from` to `to` after sipp's start it has
--   made, answered, refused, again: medians, per second; quartiles of `answered`
--   mean = { answered =, refused =, cpu = processors }, of all of these seconds
--   throttled: of its periods; stolen: of the time; others, waited: processors
--   seconds: all of that for each
-- and of the whole of it all = { made =, answered =, refused =, ended =, lost = }.
function rounds.phase(rows, samples, from, to)
  local counted = seconds.within(rows, from, to)
  if #counted == 0 then
    error("sipp has seen no whole second of those that count", 0)
  end
  local r, list, answered = { all = {}, mean = {}, seconds = {} }, {}, {}
  for i, row in ipairs(counted) do
    local took, one = row.to - row.from, seconds.between(samples, row.from, row.to)
    for _, key in ipairs { "cpu", "others", "waited", "stolen" } do
      one[key] = one[key] / took
    end
    for _, key in ipairs(counts) do
      one[key] = row[key] / took
    end
    list[i], answered[i] = one, one.answered
  end
  table.sort(answered)
  r.seconds, r.quartiles = list, rounds.quartiles(answered)
  for _, key in ipairs(counts) do
    r[key] = figures.median(list, key)
  end
  for _, key in ipairs { "answered", "refused", "cpu" } do
    r.mean[key] = figures.sum(list, key) / #list
  end
  for _, key in ipairs { "others", "waited", "stolen" } do
    r[key] = figures.sum(list, key) / #list
  end
  r.throttled = figures.sum(list, "throttled") / math.max(1, figures.sum(list, "periods"))
  for _, key in ipairs { "made", "answered", "refused", "ended", "lost" } do
    r.all[key] = seconds.sum(rows, key)
  end
  return r
end

-- The lower and the upper quartile of a sorted list.
function rounds.quartiles(sorted)
  return { figures.quantile(sorted, 0.25), figures.quantile(sorted, 0.75) }
end

-- Was an edge none, because all or nearly all of it was answered?
function rounds.is_below(edge)
  return edge.answered >= 0.97 * edge.made
end

-- Was the proxy kept from what it was to do? It had not its share (percent of a processor),
-- though there was more to do than was done.
function rounds.is_disturbed(phase, share)
  return phase.mean.cpu < 0.9 * share / 100 and phase.answered < 0.95 * phase.made
end

-- Microseconds that an answered call and a refused one take: the least squares of
-- cpu = call * answered + refusal * refused. nil when some of it does not differ enough.
function rounds.cost(phases)
  local aa, ar, rr, ac, rc = 0, 0, 0, 0, 0
  for _, phase in ipairs(phases) do
    local a, r, c = phase.mean.answered, phase.mean.refused, phase.mean.cpu * 1e6
    aa, ar, rr, ac, rc = aa + a * a, ar + a * r, rr + r * r, ac + a * c, rc + r * c
  end
  local det = aa * rr - ar * ar
  if det <= 1e-9 * aa * rr then
    return nil
  end
  return { call = (ac * rr - rc * ar) / det, refusal = (rc * aa - ac * ar) / det }
end

-- What remains of the calls at n times saturation, if refusing takes the part r of a call.
function rounds.remains(n, r)
  return r < 1 and math.max(0, (1 - n * r) / (1 - r)) or 0
end

-- What can be carried: the highest rate at which everybody was answered (nil: not looked for),
-- or what is answered at the edge, if that is more: a busy proxy reads more in one go, and that
-- is cheaper.
function rounds.saturation(carried, edges)
  return math.max(carried or 0, figures.median(edges, "answered"))
end

-- What a crowd and the calm after it ({ made =, answered =, well_after = }) were, of a saturation.
function rounds.crowd(crowd, calm, saturation)
  return { made = crowd.made, answered = crowd.answered, refused = crowd.refused,
    again = crowd.again, goodput = crowd.answered / saturation, ended = crowd.all.ended,
    all_answered = crowd.all.answered, calm_made = calm.made, calm_answered = calm.answered,
    well_after = calm.well_after }
end

-- One round: a crowd between two edges, of which `more` is what saturation is.
local function round(before, crowd, after, calm, more)
  local saturation = more * (before.answered + after.answered) / 2
  local one = rounds.crowd(crowd, calm, saturation)
  one.offered = crowd.made / saturation
  local cost = rounds.cost { before, crowd, after }
  if cost then
    one.call, one.refusal, one.r = cost.call, cost.refusal, cost.refusal / cost.call
    one.remains = rounds.remains(one.offered, one.r)
  end
  return one
end

-- What medians are taken of, and what is added up.
local medians = { "made", "answered", "refused", "again", "goodput", "offered", "call",
  "refusal", "r", "remains", "well_after" }
local sums = { "ended", "all_answered", "calm_made", "calm_answered" }

-- All rounds: edges (one more than crowds), crowds, and the calm after each. Returns
-- { saturation =, rounds = { { goodput = of saturation, offered = times saturation, call =,
-- refusal = microseconds, r =, remains =, and what rounds.crowd has }, ... }, the medians of
-- those, spread = { goodput = their quartiles, ... }, sums of calls, worst_well_after = }.
function rounds.summary(edges, crowds, calms, carried)
  local result = { saturation = rounds.saturation(carried, edges), rounds = {}, spread = {} }
  local at_edge = figures.median(edges, "answered")
  if at_edge == 0 then
    error("nothing was answered at the edge", 0)
  end
  local more = result.saturation / at_edge
  for i, crowd in ipairs(crowds) do
    result.rounds[i] = round(edges[i], crowd, edges[i + 1], calms[i], more)
  end
  for _, key in ipairs(medians) do
    local values = {}
    for _, one in ipairs(result.rounds) do
      values[#values + 1] = one[key]
    end
    table.sort(values)
    result[key] = figures.median(result.rounds, key)
    result.spread[key] = rounds.quartiles(values)
  end
  for _, key in ipairs(sums) do
    result[key] = figures.sum(result.rounds, key)
  end
  for _, edge in ipairs(edges) do
    result.ended = result.ended + edge.all.ended
    result.all_answered = result.all_answered + edge.all.answered
  end
  result.worst_well_after = 0
  for _, one in ipairs(result.rounds) do
    result.worst_well_after = math.max(result.worst_well_after, one.well_after)
  end
  return result
end

return rounds
