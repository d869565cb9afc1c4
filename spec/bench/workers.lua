-- What more workers cost: processor time per call at the same rate, with one, two, ... of
-- them. From one address, where all that callers send arrives at one socket and what belongs
-- to other workers is handed over; and from many.
local figures = require "bench.figures"
local measure = require "bench.measure"
local metrics = require "bench.metrics"
local workload = require "bench.workload"
local ipairs, string = ipairs, string

local _ENV = nil

local workers = {}

local many = 64 -- addresses

local function options(o, n, callers)
  return { ports = o.ports, out = o.out, processors = o.processors, seconds = o.seconds,
    rate = o.workers.rate, workers = n, callers = callers, ctl = o.out .. "/ctl.sock" }
end

local function per_call(r, name)
  return (metrics.sum(r.metrics[2], name) - metrics.sum(r.metrics[1], name)) / r.asked
end

-- The row of one number of workers. `wakes` and `handed` are per call.
local function summary(runs, n, callers)
  local row = { peer = "tandem", workers = n, callers = callers or 1, rate = runs[1].rate,
    failed = figures.sum(runs, "failed"), again = figures.sum(runs, "again"), runs = {},
    share = {} }
  for _, field in ipairs { "cpu_us", "user_us", "system_us", "handed", "wakes", "bytes" } do
    row[field] = figures.median(runs, field)
  end
  local shares = {}
  for i, r in ipairs(runs) do
    row.runs[i], shares[i] = r.cpu_us, r.share
    row.limit = row.limit or r.limit
  end
  for _, who in ipairs { "caller", "servers", "proxy" } do
    row.share[who] = figures.median(shares, who)
  end
  return row
end

-- One row per number of workers, for one caller and for many; `ratio` is to the first of
-- them, of the medians.
function workers.run(o)
  local kind, rows = workload.get "udp", {}
  for _, callers in ipairs { false, many } do
    local runs = {}
    for _ = 1, o.runs do
      for i, n in ipairs(o.workers.numbers) do
        local r = measure.run("tandem", kind, options(o, n, callers or nil))
        r.handed = per_call(r, "tandem_handovers_total")
        r.wakes = per_call(r, "tandem_worker_wakes_total")
        o.say(string.format("  %d workers, %d callers: %s", n, callers or 1, measure.line(r)))
        runs[i] = runs[i] or {}
        runs[i][#runs[i] + 1] = r
      end
    end
    local first
    for i, n in ipairs(o.workers.numbers) do
      local row = summary(runs[i], n, callers or nil)
      first = first or row
      row.ratio = row.cpu_us / first.cpu_us
      rows[#rows + 1] = row
    end
  end
  return rows
end

function workers.seconds(o)
  return 2 * #o.workers.numbers * o.runs * (o.seconds + measure.overhead)
end

return workers
