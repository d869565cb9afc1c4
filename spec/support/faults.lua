-- Rows of the table of faults (docs/explanation/backend-faults.md): what was done, what
-- came of it, and what was to come of it. A spec fails when a figure is beyond its
-- target. `make test` makes them short and at a low rate; `spec/bench/faults`, which sets
-- FAULTS=full, makes them long, and collects the rows in the file $FAULTS_ROWS.
--
--   local row = faults.row("C8", "a black hole")
--   row:figure("calls failed", n, { most = 0 })
--   row:done()
local diary = require "support.diary"
local field = require "support.field"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"
local json = require "cjson"
local error, io, ipairs, math, os = error, io, ipairs, math, os
local setmetatable, string, table, tonumber = setmetatable, string, table, tonumber

local _ENV = nil

local faults = {}
local Row = {}
Row.__index = Row

faults.full = os.getenv "FAULTS" == "full"

-- The first when it is to be long, else the second.
function faults.pick(long, short)
  if faults.full then
    return long
  end
  return short
end

local pick = faults.pick
-- What the callers do: calls per second, and ms.
faults.rate, faults.ring, faults.hold = pick(100, 25), pick(2000, 200), pick(20000, 500)
faults.rate = tonumber(os.getenv "RATE") or faults.rate
faults.late = pick(0.05, 0.3) -- seconds more than usual make a call late

-- ---- rows ----

function faults.row(id, fault)
  return setmetatable({ id = id, fault = fault, figures = {}, since = process.now() }, Row)
end

-- Target: most, least, and what it is in (unit). `loose`: the target while other things
-- run on this machine, when it is about milliseconds. None: only told.
function Row:figure(name, value, target)
  target = target or {}
  if not faults.full and target.loose then
    target.most = target.loose
  end
  self.figures[#self.figures + 1] = {
    name = name, value = value, most = target.most, least = target.least, unit = target.unit,
    ok = (not target.most or value <= target.most) and (not target.least or value >= target.least),
  }
end

-- A number as people write it.
local function short(n)
  return (string.gsub(string.gsub(string.format("%.2f", n), "0+$", ""), "%.$", ""))
end

-- "calls failed 0 (at most 0)"
local function words(f)
  local text = string.format("%s %s%s", f.name, short(f.value), f.unit and " " .. f.unit or "")
  if f.most or f.least then
    text = string.format("%s (%s%s %s)", text, f.ok and "" or "NOT ",
      f.most and "at most" or "at least", short(f.most or f.least))
  end
  return text
end

faults.words = words

-- Says it, writes it down, and raises when a target was missed.
function Row:done()
  local list, wrong = {}, {}
  for _, f in ipairs(self.figures) do
    list[#list + 1] = words(f)
    wrong[#wrong + 1] = not f.ok and words(f) or nil
  end
  io.write(string.format("\n%s %s, %.0f s: %s\n", self.id, self.fault,
    process.now() - self.since, table.concat(list, "; ")))
  local name = os.getenv "FAULTS_ROWS"
  if name then
    local file = io.open(name, "a")
    file:write(json.encode { id = self.id, fault = self.fault, figures = self.figures,
      ok = #wrong == 0 }, "\n")
    file:close()
  end
  if wrong[1] then
    error(self.id .. ": " .. table.concat(wrong, "; "), 2)
  end
end

-- ---- the world ----

-- examples/failover.lua at the address of the field, with servers a and b, and other
-- options of the pool in place of its check and failback.
function faults.failover(f, options)
  return proxy.example("failover", {
    ["127.0.0.1:5060"] = f.address,
    ["127.0.0.1:5081"] = f.host.a .. ":5060", ["127.0.0.1:5082"] = f.host.b .. ":5060",
    ["  check    = { interval = 2, timeout = 1, fall = 3, rise = 2 },   -- OPTIONS, seconds"]
      = options,
    ["  failback = { hold = 60 },      "
      .. "-- tier 1 must stay up 60 s before it takes new calls"] = "",
  })
end

-- A proxy with this script, for as long as the field; `servers` are up when it returns.
function faults.proxy(f, source, servers)
  local tandem = proxy.start { source = source, inside = f.proxy, limit = f.seconds,
    level = "info", binary = faults.full and "build/tandem" or nil }
  for _, name in ipairs(servers or {}) do
    tandem:wait_logged("server.health", { server = name, to = "up" }, 10)
  end
  return tandem
end

-- A server of the scenario kill_server, or another, at its machine.
function faults.server(f, name, scenario, values, options)
  options = options or {}
  options.values = values or { ring = faults.ring }
  options.name, options.inside, options.host = options.name or name, f[name], f.host[name]
  options.port, options.limit, options.quiet = 5060, f.seconds, options.quiet ~= false
  options.args = diary.args(options.name, "-max_invite_retrans", "10",
    "-recv_timeout", "40000", table.unpack(options.args or {}))
  return sipp.server(scenario or "kill_server", options)
end

-- Callers, for so many seconds; see sipp.start for more options.
function faults.callers(f, seconds, options)
  options = options or {}
  local rate = options.rate or faults.rate
  options.name, options.inside, options.host = options.name or "callers", f.phones, f.host.phones
  options.proxy, options.rate, options.limit = f.address, rate, f.seconds
  options.calls, options.quiet = math.floor(seconds * rate), options.quiet ~= false
  options.values = options.values or { hold = options.hold or faults.hold }
  -- Who waits for the answer of a request waits until its transaction is over.
  options.args = diary.args(options.name, "-l", "20000", "-recv_timeout", "40000",
    "-max_invite_retrans", "10", table.unpack(options.args or {}))
  local run = sipp.start(options.scenario or "kill_call", options)
  run.due = options.calls
  return run
end

-- What came of the calls of callers that have ended: { calls =, answered = { a = n },
-- refused = { [500] = n }, bye = { [200] = n }, failed = n: not answered, or without a
-- 200 to its BYE; late = { entries that rang faults.late s later than the median did },
-- median, longest = seconds until it rang }. without: ids that do not count.
function faults.outcome(run, without)
  run:wait()
  local told = diary.read(run)
  if #told.invite ~= run.due then -- what was not tried has not succeeded
    error(string.format("%s made %d calls of %d", run.name, #told.invite, run.due))
  end
  local o = { told = told, calls = 0, answered = {}, refused = {}, bye = {}, failed = 0,
    late = {}, longest = 0, median = 0 }
  local function add(counts, key)
    counts[key] = (counts[key] or 0) + 1
  end
  local rang, times = {}, {}
  for _, invite in ipairs(told.invite) do
    local id = invite.id
    if not (without and without[id]) then
      o.calls = o.calls + 1
      local answer, bye, refusal = told.answered.by[id], told.bye.by[id], told.refused.by[id]
      if answer then
        add(o.answered, answer.what)
        add(o.bye, bye and tonumber(bye.what) or 0)
      elseif refusal then
        add(o.refused, tonumber(refusal.what))
      end
      if not (answer and bye and bye.what == "200") then
        o.failed = o.failed + 1
      end
      local ringing = told.ringing.by[id]
      if ringing then
        rang[#rang + 1] = { id = id, at = invite.at, after = ringing.at - invite.at }
        times[#times + 1] = ringing.at - invite.at
      end
    end
  end
  table.sort(times)
  o.median, o.longest = times[(#times + 1) // 2] or 0, times[#times] or 0
  for _, r in ipairs(rang) do
    if r.after > o.median + faults.late then
      o.late[#o.late + 1] = r
    end
  end
  return o
end

-- The attempts at a server that the log tells of: { { outcome =, seconds = }, ... }.
function faults.attempts(tandem, server)
  local list = {}
  for _, event in ipairs(tandem:logged("request", { method = "INVITE" })) do
    for who, outcome, seconds in string.gmatch(event.tried, "([^,:]+):([^,:]+):([%d.]+)") do
      if who == server then
        list[#list + 1] = { outcome = outcome, seconds = tonumber(seconds) }
      end
    end
  end
  return list
end

-- Seconds until the log says so, polled.
function faults.until_logged(tandem, since, key, match, seconds)
  tandem:wait_logged(key, match, seconds or 15)
  return process.now() - since
end

-- What /proc says of a process: { kb = resident, fds = }.
function faults.size(run)
  local pid = run:pid()
  local status = process.read(string.format("/proc/%d/status", pid))
  return { kb = tonumber(string.match(status, "VmRSS:%s*(%d+)")),
    fds = #sh.lines(string.format("ls /proc/%d/fd", pid)) }
end

-- The field of a spec, or nil after it has said why there is none.
function faults.field(busted_pending, options)
  local f, why = field.open(options)
  if not f then
    busted_pending(why)
  end
  return f
end

-- The median, and what p of them do not exceed.
function faults.quantile(list, p)
  local sorted = {}
  for i, value in ipairs(list) do
    sorted[i] = value
  end
  table.sort(sorted)
  return sorted[math.max(1, math.ceil(#sorted * p))] or 0
end

-- How many transactions the INVITEs of one call were at this server, at most, and how many
-- calls it saw: the distinct branches of each Call-ID. It has written down its messages
-- (options { quiet = false }).
function faults.transactions(run)
  local seen, n, most, calls = {}, {}, 0, 0
  local received, branch
  for line in io.lines(process.path(run.name .. ".messages")) do
    if string.find(line, "^UDP message ") then
      received, branch = string.find(line, "received", 1, true), nil
    elseif received and string.find(line, "^INVITE ") then
      branch = ""
    elseif branch == "" then
      branch = string.match(line, "^Via:.-;branch=([^;%s]+)") or ""
    elseif branch and string.find(line, "^Call%-ID:") then
      local id = string.match(line, "^Call%-ID:%s*(%S+)")
      calls = calls + (n[id] and 0 or 1)
      n[id] = (n[id] or 0) + (seen[id .. branch] and 0 or 1)
      seen[id .. branch] = true
      most, branch = math.max(most, n[id]), nil
    end
  end
  return most, calls
end

return faults
