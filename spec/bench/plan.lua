-- What would be the limit of 64 cores and 10 Gbit/s: arithmetic from what was measured, as a
-- table of Markdown.
local ipairs, math, pairs, string = ipairs, math, pairs, string

local _ENV = nil

local plan = {}

local cores, bits = 64, 10e9
local talk, absorb = 180, 32 -- seconds of a call, and that a transaction absorbs repetitions
local transactions = 2 -- per call: INVITE and BYE
local received = 6 -- messages per call that come to the proxy
local requests = 3 -- of them; responses come to the right worker
local at = 2000 -- calls per second of the rows that are used

-- The row of a section with these fields, or nil.
local function row(results, section, fields)
  for _, r in ipairs(results.sections[section] or {}) do
    local is_it = true
    for name, value in pairs(fields) do
      is_it = is_it and r[name] == value
    end
    if is_it then
      return r
    end
  end
  return nil
end

-- What the parts cost, as measured; nil when the run had not all of them.
function plan.parts(results)
  local own = row(results, "udp", { peer = "tandem", rate = at })
  local relay = row(results, "udp", { peer = "relay", rate = at })
  local one = row(results, "workers", { workers = 1, callers = 1 })
  local two = row(results, "workers", { workers = 2, callers = 1 })
  local many = row(results, "workers", { workers = 4, callers = 1 })
  local held = row(results, "memory", { peer = "tandem", what = "held call" })
  local record = row(results, "memory", { peer = "tandem", what = "absorbing transaction" })
  local lasting = row(results, "sustained", {})
  if not (own and own.wire_bytes and relay and two and many and held and record and lasting) then
    return nil
  end
  return {
    wire = own.wire_bytes, packets = own.wire_packets, cpu = own.cpu_us,
    kernel = relay.cpu_us / received,
    hand_over = math.max(0, (two.cpu_us - one.cpu_us) / two.handed),
    held = held.each, record = record.each, worker = (many.bytes - one.bytes) / 3,
    log = lasting.log_bytes,
  }
end

-- What follows from them: rates are calls per second.
function plan.follows(p)
  local f = { wire = bits / 8 / (p.wire / 2), cores = cores * 1e6 / p.cpu }
  f.packets = f.wire * p.packets
  -- One peer: all that it asks is received, and nearly all handed over, by one worker.
  f.one_peer = 1e6 / (requests * (p.kernel / 2 + p.hand_over))
  f.rate = math.min(f.wire, f.cores)
  f.held = f.rate * talk * p.held
  f.records = f.rate * transactions * absorb * p.record
  f.workers = cores * p.worker
  f.log = f.rate * p.log
  return f
end

local function thousands(n)
  return string.format("%.0f 000", n / 1000)
end

-- The lines; nil when something was not measured.
function plan.markdown(results)
  local p = plan.parts(results)
  if not p then
    return nil
  end
  local f, lines = plan.follows(p), {}
  local function add(text, ...)
    lines[#lines + 1] = string.format(text, ...)
  end
  add "| part | measured | section | so that |"
  add "|---|---|---|---|"
  add("| the wire | %.0f bytes per call, half of them in each direction | `udp` | %s calls/s in "
    .. "10 Gbit/s, %.1f million packets/s |", p.wire, thousands(f.wire), f.packets / 1e6)
  add("| processor | %.1f us per call | `udp` | %s calls/s on 64 cores, as if each were one of "
    .. "these and nothing shared |", p.cpu, thousands(f.cores))
  add("| a message in the kernel | %.1f us, received and sent (the relay) | `udp` | %.0f us of the "
    .. "%.0f of a call |", p.kernel, p.kernel * received, p.cpu)
  add("| handing over | %.2f us per message | `workers` | with what it takes to receive, %s "
    .. "calls/s from one peer |", p.hand_over, thousands(f.one_peer))
  add("| a held call | %.0f bytes | `memory` | %.1f GB at %s calls/s of %d s |", p.held,
    f.held / 1e9, thousands(f.rate), talk)
  add("| a record | %.0f bytes | `memory` | %.1f GB: two per call for %d s |", p.record,
    f.records / 1e9, absorb)
  add("| a worker | %.1f MB, with its Lua state | `workers` | %.0f MB of 64 |",
    p.worker / 2 ^ 20, f.workers / 2 ^ 20)
  add("| the log | %.0f bytes, one line per call | `sustained` | %.0f MB/s |", p.log, f.log / 1e6)
  return lines
end

return plan
