-- What is wrong at the proxy's own side under load: a script that loops or hoards, the
-- clock on the wall, scanners, no descriptors. The rows C16 to C19 of
-- docs/explanation/backend-faults.md.
local faults = require "support.faults"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local pick = faults.pick
local build = os.getenv "BUILD" or "build/san"

local source = [[
local sip = require "tandem"
sip.listen { "udp:%{address}", "tcp:%{address}", "tcp:127.0.0.1:5060" }
sip.settings { tcp = { per_source = 1000 } }
local pbx = sip.pool("pbx", { check = %{check}, passive = %{check}, servers = {
  { name = "a", uri = "sip:%{a}", tier = 1 }, { name = "b", uri = "sip:%{b}", tier = 2 } } })
sip.route(function(req)
  if req.source.ip ~= "%{phones}" and req.source.ip ~= "%{a}" then
    if req.method == "INVITE" then return req:drop "a stranger" end
    return req:reply(403)
  elseif req.ruri.user == "loop" then
    while true do end
  elseif req.ruri.user == "hoard" then
    local list = {}
    for i = 1, 1 << 27 do list[i] = { i } end
  end
  return req:relay(pbx, { timeout = 2 })
end)
]]

describe("under load", function()
  local f

  local function open(options)
    f = faults.field(pending, options)
    return f
  end

  -- options: check (of the pool, false), and those of proxy.start.
  local function start(options)
    options = options or {}
    options.source = process.fill(source, { address = f.address, a = f.host.a, b = f.host.b,
      phones = f.host.phones, check = options.check or "false" })
    options.inside, options.limit = options.inside or f.proxy, f.seconds
    options.level = "info"
    options.binary = options.binary or (faults.full and "build/tandem" or nil)
    return proxy.start(options)
  end

  -- What 99 of 100 calls did not exceed until they rang: seconds.
  local function slow(o)
    local list = {}
    for _, ringing in ipairs(o.told.ringing) do
      list[#list + 1] = ringing.at - o.told.invite.by[ringing.id].at
    end
    return faults.quantile(list, 0.99)
  end

  after_each(process.clean)

  it("C16: a script that loops or hoards for 1 % of the calls costs these", function()
    local row = faults.row("C16", "the script loops for ever, or takes 1 GB, for 1 % of the calls")
    if not open { seconds = pick(100, 60) } then return end
    faults.server(f, "a")
    local tandem = start()
    local callers = faults.callers(f, pick(30, 2))
    local bad = {}
    for _, user in ipairs { "loop", "hoard" } do
      bad[user] = faults.callers(f, pick(30, 2), { name = user, scenario = "refused",
        rate = pick(0.5, 1), quiet = false,
        values = { code = 500, uri = "sip:" .. user .. "@example.com" } })
    end
    local o = faults.outcome(callers)
    local slowest, refused = 0, 0
    for _, run in pairs(bad) do
      for _, taken in ipairs(run:succeed():delays("INVITE", "500 INVITE")) do
        slowest, refused = math.max(slowest, taken), refused + 1
      end
    end
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("rang after (99 %)", slow(o) * 1000, { most = 100, loose = 1000, unit = "ms" })
    row:figure("bad calls, each refused with 500", refused, { least = pick(30, 4) })
    row:figure("the slowest after", slowest * 1000, { most = 60, loose = 2000, unit = "ms" })
    row:figure("errors of the script in the log", #tandem:logged "lua.error", { least = 2 })
    row:done()
  end)

  it("C17: a clock that jumps fires no timer early, and none late", function()
    local row = faults.row("C17", "the wall clock goes an hour ahead, then an hour behind")
    if not open { seconds = pick(100, 60) } then return end
    faults.server(f, "b")
    f:cable("a", { loss = 1 })
    local file = process.write("clock", string.pack("d", 0))
    local tandem = start { binary = "build/tandem",
      env = "LD_PRELOAD=build/clock.so CLOCK_FILE=" .. file }
    local function set(seconds)
      local clock = io.open(file, "r+b")
      clock:write(string.pack("d", seconds))
      clock:close()
    end
    local callers = faults.callers(f, pick(30, 3))
    for _, wrong in ipairs { 3600, -3600, 0 } do
      process.sleep(pick(7, 1.2))
      set(wrong)
    end
    local o = faults.outcome(callers)
    local least, most, hours = math.huge, 0, {}
    for _, attempt in ipairs(faults.attempts(tandem, "pbx/a")) do
      assert.equal("silent", attempt.outcome)
      least, most = math.min(least, attempt.seconds), math.max(most, attempt.seconds)
    end
    for _, event in ipairs(tandem:logged("request", { method = "INVITE" })) do
      hours[event.ts:match "T(%d+)"] = true
    end
    local seen = 0
    for _ in pairs(hours) do seen = seen + 1 end
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("a timer of 2 s: the first after", least, { least = 1.99, unit = "s" })
    row:figure("the last after", most, { most = 2.05, loose = 3, unit = "s" })
    row:figure("hours that the log speaks of", seen, { least = 3 })
    row:done()
  end)

  it("C18: scanners and broken messages get one answer each, and calls go on", function()
    local row = faults.row("C18", "a scanner sends OPTIONS, REGISTER and torture messages")
    if not open { seconds = pick(100, 60), machines = { "phones", "a", "scanner" } } then return end
    f.host.b = f.host.a
    faults.server(f, "a")
    local tandem = start()
    local rate, seconds = pick(1000, 200), pick(40, 2)
    local scanner = process.start { name = "scanner", inside = f.scanner, limit = f.seconds,
      env = ("'LUA_PATH=%s'"):format(os.getenv "LUA_PATH"),
      argv = { "lua5.4", "spec/support/scanner.lua", "10.77.1.1", 5060, rate, seconds } }
    local o = faults.outcome(faults.callers(f, seconds, { rate = pick(50, 25) }))
    assert.equal(0, scanner:wait(), scanner:output())
    local probes, replies, most, got, sent = scanner:output():match
      "probes (%d+), replies (%d+), most (%d+), bytes (%d+) in (%d+)"
    row:figure("probes", tonumber(probes), { least = rate * seconds * 0.9 })
    row:figure("replies", tonumber(replies), { least = 1, most = tonumber(probes) })
    row:figure("replies to one of its requests", tonumber(most), { least = 1, most = 1 })
    row:figure("bytes back per byte", got / sent, { most = 1.5 })
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("rang after (99 %)", slow(o) * 1000, { most = 100, loose = 1000, unit = "ms" })
    row:done()
    assert.is_false(tandem:ended())
  end)

  it("C19: without descriptors calls go on, and connections come back", function()
    local row = faults.row("C19", "ulimit -n 64, and 200 clients that connect")
    if not open { seconds = pick(100, 60) } then return end
    faults.server(f, "a")
    local words = f.proxy:prefix()
    words[#words + 1], words[#words + 2] = "prlimit", "--nofile=64:64"
    local tandem = start { inside = setmetatable({ prefix = function()
      return { table.unpack(words) }
    end }, { __index = f.proxy }) }
    local crowd = process.start { name = "crowd", inside = f.proxy, limit = f.seconds,
      argv = { build .. "/slow_clients", 5060, 200, 0 } }
    assert(process.eventually(10, function() return crowd:output():find "open" end))
    local o = faults.outcome(faults.callers(f, pick(20, 1)))
    local fds = faults.size(tandem).fds
    crowd:kill()
    tandem:wait_logged("listener.accepting", { state = "resumed" }, 15)
    sipp.call("call", { name = "by-tcp", inside = f.phones, host = f.host.phones,
      proxy = f.address, values = { hold = 0 }, args = { "-t", "t1" } })
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("rang after (99 %)", slow(o) * 1000, { most = 100, loose = 1000, unit = "ms" })
    row:figure("descriptors", fds, { most = 64 })
    row:figure("times that accepting paused",
      #tandem:logged("listener.accepting", { state = "paused" }), { least = 1 })
    row:figure("calls by TCP once they are gone", 1, { least = 1 })
    row:done()
  end)
end)
