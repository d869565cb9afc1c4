-- One workload: every peer at every rate, in turn, so that what the machine does otherwise
-- hits all of them alike; and the medians.
local figures = require "bench.figures"
local measure = require "bench.measure"
local search = require "bench.search"
local ipairs, string = ipairs, string

local _ENV = nil

local section = {}

local function options(o, rate, more)
  local r = { rate = rate, seconds = o.seconds, ports = o.ports, out = o.out,
    processors = o.processors }
  r.delay = more
  return r
end

-- The highest rate that a peer carries, and who is the limit beyond it.
local function highest(peer, kind, o)
  local limit = nil
  local rate, is_bound = search.highest(o.highest.from, o.highest.limit, o.highest.steps,
    function(tried)
      local r = measure.run(peer, kind, options(o, tried))
      local ok = measure.carried(r, o.seconds)
      o.say("  trying " .. measure.line(r) .. (ok and "" or ": too much"))
      limit = not ok and (r.limit or "no processor") or limit
      return ok
    end)
  return { rate = rate, limit = is_bound and "the search ends there" or limit }
end

-- The medians of the runs of one peer at one rate.
local function summary(rows, delays, word, top)
  local median, row = figures.median, { peer = rows[1].peer, rate = rows[1].rate }
  row.at = word
  for _, field in ipairs { "cpu_us", "user_us", "system_us", "reached" } do
    row[field] = median(rows, field)
  end
  row.failed, row.again = figures.sum(rows, "failed"), figures.sum(rows, "again")
  row.share, row.runs = {}, {}
  local shares = {}
  for i, r in ipairs(rows) do
    shares[i], row.runs[i] = r.share, r.cpu_us
    row.limit = row.limit or r.limit
  end
  for _, who in ipairs { "caller", "servers", "proxy" } do
    row.share[who] = median(shares, who)
  end
  for _, field in ipairs { "p50", "p99", "routed_p50", "routed_p99" } do
    row["delay_" .. field] = median(delays, field)
  end
  row.wire_packets, row.wire_bytes = median(delays, "packets"), median(delays, "bytes")
  row.delay_messages = #delays > 0 and figures.sum(delays, "seen") or nil
  row.delay_missed = #delays > 0 and figures.sum(delays, "missed") or nil
  row.limit = top and top.limit or row.limit
  return row
end

-- Who of those that were asked for is compared at a rate.
local function compared(kind, word, o)
  local list = {}
  for _, peer in ipairs(o.peers) do
    for _, one in ipairs(word == "max" and kind.at_max or kind.peers) do
      list[#list + 1] = one == peer and peer or nil
    end
  end
  return list
end

-- Delays are not measured at the edge: they would be those of a queue.
local function delay_runs(word, o)
  return word == "max" and 0 or o.delay_runs
end

-- All rows of one rate. `word` is what was asked for: a number, or "max".
local function at_rate(kind, word, o)
  local top, runs, delays, rows = {}, {}, {}, {}
  local list = compared(kind, word, o)
  for _, peer in ipairs(list) do
    top[peer] = word == "max" and highest(peer, kind, o) or { rate = word }
    runs[peer], delays[peer] = {}, {}
  end
  for i = 1, o.runs + delay_runs(word, o) do
    for _, peer in ipairs(list) do
      local rate, is_delay = top[peer].rate, i > o.runs
      local r = rate > 0 and measure.run(peer, kind, options(o, rate, is_delay))
      if r and r.delay_error then
        o.say("  no delays: " .. string.match(r.delay_error, "^[^\n]*"))
      elseif r then
        o.say("  " .. measure.line(r) .. (is_delay and " (delays)" or ""))
        local to = is_delay and delays[peer] or runs[peer]
        to[#to + 1] = is_delay and r.delay or r
      end
    end
  end
  for _, peer in ipairs(list) do
    rows[#rows + 1] = #runs[peer] > 0
      and summary(runs[peer], delays[peer], word, word == "max" and top[peer])
      or { peer = peer, at = word, rate = 0, failed = 0, again = 0, limit = top[peer].limit }
  end
  return rows
end

-- About how long it takes: a search is three tries to double and the steps.
function section.seconds(kind, o)
  local runs = 0
  for _, word in ipairs(o.rates or kind.rates) do
    runs = runs + #compared(kind, word, o)
      * (o.runs + delay_runs(word, o) + (word == "max" and 3 + o.highest.steps or 0))
  end
  return runs * (o.seconds + measure.overhead)
end

-- Options: peers, rates (or nil), runs, delay_runs, seconds, highest, ports, out, processors, say.
function section.run(kind, o)
  local rows = {}
  for _, word in ipairs(o.rates or kind.rates) do
    o.say(string.format("%s, %s", kind.title, word == "max" and "as many as it carries"
      or word .. "/s"))
    for _, row in ipairs(at_rate(kind, word, o)) do
      rows[#rows + 1] = row
    end
  end
  return rows
end

return section
