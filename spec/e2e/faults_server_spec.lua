-- Servers that fail under load, each on a machine of its own: closed ports, black holes,
-- storms of 5xx, all of them at once. The rows C7 to C10 of
-- docs/explanation/backend-faults.md.
local diary = require "support.diary"
local faults = require "support.faults"
local process = require "support.process"

local pick = faults.pick
local seconds = pick(100, 60)

-- The check of the rows: seconds.
local check = { interval = 1, fast = 0.5 }
local pool = [[
  check = { interval = 1, fast_interval = 0.5, timeout = 0.4, fall = 3, rise = 2 },
  passive = { hold = 1 }, failback = { hold = 0 }, %s]]
-- Until two good checks in a row have been seen: the first comes an interval and its
-- jitter after the last bad one; one second is given.
local recovery = check.interval * 1.1 + check.fast * 1.1 + 1

-- Closed ports and refusals are in failover_spec and kill_spec as well: here long only.
local long = faults.full and it or function() end

describe("under load", function()
  local f, tandem

  local function open(options)
    f = faults.field(pending, { seconds = seconds })
    if f then
      f.script = faults.failover(f, pool:format(options or ""))
    end
    return f
  end

  -- Of both servers, and the proxy that has seen that they are up.
  local function start()
    local a, b = faults.server(f, "a"), faults.server(f, "b")
    tandem = faults.proxy(f, f.script, { "a", "b" })
    return a, b
  end

  after_each(process.clean)

  long("C7: a closed port costs no new call, and no time", function()
    local row = faults.row("C7", "the port of the primary closes")
    if not open "shared_dialogs = true, attempt = { ring_timeout = 4 }," then return end
    local a = start()
    local callers = faults.callers(f, pick(30, 4))
    process.sleep(pick(10, 2))
    local killed = process.now()
    a:signal "KILL"
    local down = faults.until_logged(tandem, killed, "server.health", { server = "a", to = "down" })
    callers:wait()

    -- What rings at a server when that dies is lost, whoever is before it. The calls that
    -- were up are ended at the other server.
    local lost, answered = {}, diary.read(callers).answered.by
    for _, entry in ipairs(diary.read(a).ringing) do
      lost[entry.id] = not answered[entry.id] or nil
    end
    local o = faults.outcome(callers, lost)
    local slowest, events = 0, 0
    for _, attempt in ipairs(faults.attempts(tandem, "pbx/a")) do
      if attempt.outcome == "icmp_port" then
        slowest, events = math.max(slowest, attempt.seconds), events + 1
      end
    end
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("failover of the slowest", slowest * 1000, { most = 20, loose = 400, unit = "ms" })
    row:figure("late calls", #o.late, { most = 0 })
    row:figure("calls that met the closed port", events, { least = 1, loose = 20, most = 3 })
    row:figure("down after", down, { most = 1, loose = 5, unit = "s" })
    row:done()
  end)

  it("C8: a black hole costs the first calls two seconds, and no call at all", function()
    local row = faults.row("C8", "all frames from and to the primary are lost")
    if not open() then return end
    start()
    local callers = faults.callers(f, pick(40, 5.5))
    process.sleep(pick(5, 1))
    local since = process.now()
    f:cable("a", { loss = 1 })
    local down = faults.until_logged(tandem, since, "server.health", { server = "a", to = "down" })
    process.sleep(pick(10, 1))
    f:cable "a"
    local back = process.now()
    local up = faults.until_logged(tandem, back, "server.health", {
      server = "a", from = "rising", to = "up" })
    local o = faults.outcome(callers)
    local first = o.late[1] and o.late[1].at or 0
    local after, longest = 0, 0
    for _, late in ipairs(o.late) do
      after = after + (late.at - first > down + 0.3 and 1 or 0)
      longest = math.max(longest, late.after - o.median)
    end
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("down after", down, { most = 2.5, loose = 6, unit = "s" })
    row:figure("late calls", #o.late, { least = 1, most = faults.rate * (down + 0.3) })
    row:figure("the latest by", longest, { least = 1.9, most = 2.2, loose = 3, unit = "s" })
    row:figure("late though it was down", after, { most = 0 })
    row:figure("up again after", up, { most = recovery, loose = recovery + 3, unit = "s" })
    row:done()
  end)

  long("C9: a storm of 503 moves every call within a round trip", function()
    local row = faults.row("C9", "the primary, 20 ms away, says 503 to every call")
    if not open() then return end
    faults.server(f, "a", "refuse", { status = "503 Service Unavailable", header = "X-Row: C9" })
    faults.server(f, "b")
    f:cable("a", { delay = 10 })
    tandem = faults.proxy(f, f.script, { "a", "b" })
    local o = faults.outcome(faults.callers(f, pick(20, 3)))
    local list = {}
    for _, attempt in ipairs(faults.attempts(tandem, "pbx/a")) do
      list[#list + 1] = attempt.seconds * 1000
    end
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("answered by the backup", o.answered.b or 0, { least = o.calls })
    row:figure("next server after (median)", faults.quantile(list, 0.5),
      { least = 20, most = 30, loose = 100, unit = "ms" })
    row:figure("next server after (99 %)", faults.quantile(list, 0.99),
      { most = 40, loose = 500, unit = "ms" })
    row:done()
  end)

  long("C9: other refusals are passed on, and say nothing about the server", function()
    local row = faults.row("C9", "the primary says 500, 486 and 408")
    if not open() then return end
    local b = faults.server(f, "b")
    local status = { [500] = "500 Server Internal Error", [486] = "486 Busy Here",
      [408] = "408 Request Timeout" }
    for _, code in ipairs { 500, 486, 408 } do
      local a = faults.server(f, "a", "refuse", { status = status[code], header = "X-Row: C9" })
      if code == 500 then
        tandem = faults.proxy(f, f.script, { "a", "b" })
      end
      local callers = faults.callers(f, pick(5, 0.6), {
        name = "callers-" .. code, scenario = "refused", values = { code = code } })
      callers:succeed()
      local s = callers:statistics()
      row:figure("passed on " .. code, tonumber(s["SuccessfulCall(C)"]),
        { least = pick(5, 0.6) * faults.rate })
      a:kill()
    end
    row:figure("at the backup", #diary.read(b).ringing, { most = 0 })
    row:figure("calls counted against it",
      #tandem:logged("server.health", { server = "a", who = "calls" }), { most = 0 })
    row:done()
  end)

  -- Both are down: callers hear a 500 within `most` ms. Then back() brings b back.
  local function nobody(row, most, loose, back)
    for _, name in ipairs { "a", "b" } do
      tandem:wait_logged("server.health", { server = name, to = "down" }, 15)
    end
    local o = faults.outcome(faults.callers(f, pick(10, 1)))
    local slowest = 0
    for _, event in ipairs(tandem:logged("request", { method = "INVITE", code = 500 })) do
      slowest = math.max(slowest, o.told.refused.by[event.call_id] and event.total or 0)
    end
    local since = process.now()
    back()
    local up = faults.until_logged(tandem, since, "server.health", {
      server = "b", from = "rising", to = "up" })
    local again = faults.outcome(faults.callers(f, pick(10, 1), { name = "again" }))
    row:figure("refused with 500", o.refused[500] or 0, { least = o.calls })
    row:figure("the slowest after", slowest * 1000, { most = most, loose = loose, unit = "ms" })
    row:figure("up again after", up, { most = recovery, loose = recovery + 3, unit = "s" })
    row:figure("calls after that", again.calls, { least = 1 })
    row:figure("failed", again.failed, { most = 0 })
    row:done()
  end

  local function close_both(options)
    if open(options) then
      local a, b = start()
      a:kill()
      b:kill()
      return true
    end
  end

  local function open_b()
    faults.server(f, "b", nil, nil, { name = "b-again" })
  end

  long("C10: with every port closed callers hear so, and with one open it works", function()
    local row = faults.row("C10", "the ports of both are closed, then one opens")
    if close_both() then
      -- The last attempt (all_down = "try"): a kernel sends one ICMP error per second to a
      -- host, and the others are silence.
      nobody(row, 2050, 3000, open_b)
    end
  end)

  long("C10: without a last attempt they hear so at once", function()
    local row = faults.row("C10", 'the same, with all_down = "fail"')
    if close_both 'all_down = "fail",' then
      nobody(row, 50, 500, open_b)
    end
  end)

  long("C10: the same goes for black holes", function()
    local row = faults.row("C10", 'both in a black hole, all_down = "fail"; then one is not')
    if open 'all_down = "fail",' then
      start()
      f:cable("a", { loss = 1 })
      f:cable("b", { loss = 1 })
      nobody(row, 50, 500, function() f:cable "b" end)
    end
  end)
end)
