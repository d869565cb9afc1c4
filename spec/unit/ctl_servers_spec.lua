-- Pools, servers, events and overrides as `tandem ctl` shows them.
local events = require "tandem.command.ctl.events"
local overrides = require "tandem.command.ctl.overrides"
local servers = require "tandem.command.ctl.servers"
local status = require "tandem.command.ctl.status"
local text = require "tandem.command.text"

local plain = { paint = text.painter(false) }
local narrow = { paint = text.painter(false), width = 80 }

local function server(fields)
  local one = {
    pool = "pbx", name = "a", uri = "sip:10.0.0.1", tier = 1, weight = 1, status = "up",
    health = "up", admin = "ready", calls = 0, setup = 0, inflight = 0, cps = 0, holds = {},
    history = {}, addresses = {}, resources = {}, failures = 0, falls = 0, streak = 5,
    attempts = { ok = 0, rejected = 0, ["503"] = 0, timeout = 0, transport = 0, cancelled = 0 },
    slow_start = 1, held_for = 0, up_for = 240, status_for = 240,
    status_when = os.time { year = 2026, month = 3, day = 1, hour = 12, min = 34, sec = 56 },
  }
  for name, value in pairs(fields) do
    one[name] = value
  end
  return one
end

local function pool(list, fields)
  local one = { name = "pbx", state = "up", active_tier = 1, servers = list, size = #list }
  one.usable, one.calls, one.unchecked = 0, 0, 0
  for _, item in ipairs(list) do
    one.usable = one.usable + (item.status == "up" and 1 or 0)
    one.calls = one.calls + item.calls
  end
  for name, value in pairs(fields or {}) do
    one[name] = value
  end
  return one
end

local down = server {
  status = "down", health = "down", health_why = "timeout", health_who = "check",
  max_calls = 480,
}
local backup = server {
  name = "b", tier = 2, calls = 12, max_calls = 480, inflight = 1, status_for = 12 * 86400,
}

describe("servers", function()
  it("are one line each, and those that take calls are marked", function()
    assert.equal([[
pbx: backup, tier 2 takes calls, 1 of 2 servers usable
   SERVER  TIER  STATE    FOR   CALLS  OPEN  WHY
   a          1  down   4 min   0/480     0  timeout (check)
*  b          2  up      12 d  12/480     1
]], servers.pool(pool({ down, backup }, { state = "backup", active_tier = 2 }), plain))
  end)

  it("have a weight where that differs", function()
    assert.equal([[
pbx: up, tier 1 takes calls, 2 of 2 servers usable
   SERVER  TIER  STATE    FOR  CALLS  OPEN  WEIGHT  WHY
*  a          1  up     4 min      0     0     100
*  b          1  up     4 min      5     0    12.5  slow start, 25 %
]], servers.pool(pool {
      server { weight = 100 }, server { name = "b", weight = 12.5, calls = 5, slow_start = 0.25 },
    }, plain))
  end)

  it("fit into 80 columns", function()
    local list = {}
    for i = 1, 3 do
      list[i] = server {
        name = ("media-server-%d.frankfurt.example.com"):format(i), weight = i, calls = 1234,
        max_calls = 5000, status = "maint", admin = "maint", admin_who = "ctl uid 1000",
        admin_why = "the disk is full and somebody has to go there", admin_left = 5400,
      }
    end
    local shown = servers.pool(pool(list), narrow)
    for line in shown:gmatch "[^\n]+" do
      assert(text.width(line) <= 80, line)
    end
    assert.matches("media-server-3.frankfurt.example.com", shown, 1, true)
    assert.matches("1234/5000", shown, 1, true)
  end)

  it("may be none", function()
    assert.equal("pbx: down, nothing takes calls, 0 of 0 servers usable\n",
      servers.pool({ name = "pbx", state = "down", servers = {}, size = 0, usable = 0 }, plain))
    assert.equal("There are no pools.\n", servers.all({}, plain))
    assert.equal("There are no pools.\n", servers.pools({}, plain))
  end)

  it("may be a thousand", function()
    local list = {}
    for i = 1, 1000 do
      list[i] = server { name = "s" .. i, status_for = i }
    end
    local began, n = os.clock(), 0
    local last
    for line in servers.pool(pool(list), narrow):gmatch "[^\n]+" do
      n, last = n + 1, line
    end
    assert.equal(1002, n)
    assert.equal("*  s1000      1  up     17 min      0     0", last)
    assert(os.clock() - began < 5)
  end)

  for _, case in ipairs {
    { { health = "unknown" }, "unchecked", "" },
    { { health = "falling", health_why = "timeout", health_who = "check" }, "up, falling",
      "timeout (check)" },
    { { status = "down", health = "rising", health_why = "200" }, "down, rising", "200" },
    { { status = "drain", admin = "drain", admin_why = "kernel", admin_who = "ctl root",
      admin_left = 7000 }, "drain", "ctl root, 117 min left: kernel" },
    { { status = "maint", admin = "maint", health = "down" }, "maint, down", "no reason given" },
    { { status = "drain", admin = "ready" }, "drain", "no longer in DNS" },
    { { status = "held", holds = { { reason = "503", left = 9.6 }, { reason = "failback" } } },
      "held", "503, 10 s left; failback" },
    { { calls = 30, max_calls = 30 }, "up", "full" },
  } do
    it("say what they are: " .. case[2] .. ", " .. case[3], function()
      local one = server(case[1])
      assert.same({ case[2], case[3] }, { (servers.state(one)), servers.why(one) })
    end)
  end

  it("are red, yellow and green on a terminal", function()
    local out = { paint = text.painter(true) }
    local shown = servers.pool(pool({ down, backup }, { state = "backup", active_tier = 2 }), out)
    assert.matches("\27[31mdown", shown, 1, true)
    assert.matches("\27[32mup", shown, 1, true)
    assert.matches("\27[33mbackup", shown, 1, true)
  end)
end)

describe("pools", function()
  it("are one line each", function()
    assert.equal([[
POOL     STATE   TIER  USABLE  CALLS
pbx      backup     2     1/2     12
carrier  down       -     0/0      0
]], servers.pools({
      pool({ down, backup }, { state = "backup", active_tier = 2 }),
      { name = "carrier", state = "down", servers = {}, size = 0, usable = 0, calls = 0 },
    }, plain))
  end)
end)

describe("a server", function()
  it("is shown with all that is known of it", function()
    local when = os.time { year = 2026, month = 3, day = 1, hour = 12, min = 34, sec = 56 }
    local one = server {
      status = "down", health = "down", health_why = "timeout", health_who = "check",
      max_calls = 480, calls = 3, setup = 1, inflight = 2, cps = 4, max_cps = 30, failures = 2,
      falls = 1, latency = 0.0124, pool_tier = 2, attempts = {
        ok = 1200, rejected = 0, ["503"] = 1, timeout = 3, transport = 0, cancelled = 0,
      }, resources = { pstn = { used = 3, capacity = 500 } },
      addresses = {
        { transport = "udp", address = "10.0.0.1:5060", health = "down" },
        { transport = "udp", address = "10.0.0.2:5060", health = "up" },
      },
      history = {
        { time = when - 60, what = "health", from = "unknown", to = "up", why = "200",
          who = "check" },
        { time = when - 50, what = "admin", from = "ready", to = "drain", seconds = 7200,
          why = "kernel\27[2J", who = "ctl root" },
        { time = when - 40, what = "hold", seconds = 30, why = "503", who = "script r.lua:3" },
        { time = when - 30, what = "hold", seconds = 0, why = "503", who = "timer" },
        { time = when, what = "health", from = "falling", to = "down", why = "timeout",
          who = "check" },
      },
    }
    assert.equal([[
pbx/a  down for 4 min, since 12:34:56
  why        timeout (check)
  uri        sip:10.0.0.1
  addresses  udp:10.0.0.1:5060 down
             udp:10.0.0.2:5060 up
  tier       1, tier 2 takes calls
  weight     1
  calls      3 of 480, 1 in set-up, 2 requests open, 4 new per second of 30
  resources  pstn 3 of 500
  health     down: timeout (check)
  latency    12 ms
  requests   1204 sent: 1200 ok, 1 503, 3 timeout
  failures   2 in a row, 1 fall lately

  WHEN                 WHAT    CHANGE                  WHY
  2026-03-01 12:34:56  health  falling -> down         timeout (check)
  2026-03-01 12:34:26  hold    ended                   503 (timer)
  2026-03-01 12:34:16  hold    for 30 s                503 (script r.lua:3)
  2026-03-01 12:34:06  admin   ready -> drain for 2 h  kernel\x1B[2J (ctl root)
  2026-03-01 12:33:56  health  unknown -> up           200 (check)
]], servers.show(one, plain))
  end)
end)

describe("the status", function()
  local now = os.time { year = 2026, month = 3, day = 1, hour = 12, min = 34, sec = 56 }

  local function value(fields)
    local one = {
      version = "1.2.3", script = "/etc/tandem/route.lua", pid = 4711, started = now - 7200,
      now = now, uptime = 7200, generation = 12, workers = 1,
      count = { pools = 1, servers = 2, usable = 1, calls = 12, requests = 1 },
    }
    for name, item in pairs(fields or {}) do
      one[name] = item
    end
    return one
  end

  it("says what is wrong", function()
    local pools = { pool({ down, backup },
      { state = "backup", active_tier = 2, unchecked = 1 }) }
    assert.equal([[
tandem 1.2.3, up for 2 h, since 10:34:56, process 4711
  script   /etc/tandem/route.lua
  config   generation 12, loaded 10 min ago (ctl)
           generation 13 rejected 30 s ago: route.lua:14: unexpected symbol
  calls    12 up, 1 request open
  warning  draining: new requests are answered 503 (tandem ctl drain --off)
           too much comes: new requests are answered 503 by 1 of 1 worker
           calls do not survive a restart: set state_dir or key_file
           pool pbx: 1 server without checks

POOL  STATE   TIER  USABLE  CALLS
pbx   backup     2     1/2     12

NOT UP  STATE    FOR  WHY
pbx/a   down   4 min  timeout (check)
]], status.text(value {
      draining = true, key_is_temporary = true, overloaded = 1, reload = {
        ok = false, when = now - 600, cause = "ctl", generation = 12,
        rejected = { generation = 13, when = now - 30, reason = "route.lua:14: unexpected symbol" },
      },
    }, pools, plain))
  end)

  it("is short when nothing is", function()
    assert.equal([[
tandem 1.2.3, up for 2 h, since 10:34:56, process 4711
  script   /etc/tandem/route.lua
  config   generation 12
  calls    12 up, 1 request open

POOL  STATE  TIER  USABLE  CALLS
pbx   up        1     1/1      0
]], status.text(value(), { pool { server {} } }, plain))
  end)

  it("shows the key that the nodes of a cluster share", function()
    local one = value { key = { origin = "file", signs = "8a5e9be9" } }
    assert.matches("\n  key      file: signs 8a5e9be9\n", status.text(one, {}, plain), 1, true)
    one.key.verifies = "17c2a04d"
    assert.matches("\n  key      file: signs 8a5e9be9, knows 17c2a04d\n",
      status.text(one, {}, plain), 1, true)
    one.key.origin = "state_dir"
    assert.not_matches("8a5e9be9", status.text(one, {}, plain), 1, true)
  end)

  it("names a dozen of what is not up, and says how many more", function()
    local list = {}
    for i = 1, 40 do
      list[i] = server { name = "s" .. i, status = "down", health = "down" }
    end
    local shown = status.text(value(), { pool(list) }, plain)
    assert.matches("pbx/s12 ", shown, 1, true)
    assert.not_matches("pbx/s13 ", shown, 1, true)
    assert.matches("\nand 28 more: tandem ctl servers\n$", shown)
  end)
end)

describe("overrides", function()
  it("stand beside what the script says", function()
    assert.equal([[
SERVER  WHAT     VALUE         SCRIPT        LEFT  SINCE                WHO           REASON
pbx/a   weight   50            100                 2026-03-01 12:34:56  ctl root      half of it
pbx/a   admin    drain         ready          2 h  2026-03-01 12:34:56  ctl uid 1000
pbx/c   server   sip:10.0.0.3                      2026-03-01 12:34:56  ctl root
pbx/d   removed                sip:10.0.0.4        2026-03-01 12:34:56  ctl root
]], overrides.text({
      { pool = "pbx", server = "a", what = "weight", value = 50, configured = 100,
        who = "ctl root", when = down.status_when, reason = "half of it" },
      { pool = "pbx", server = "a", what = "admin", value = "drain", configured = "ready",
        who = "ctl uid 1000", when = down.status_when, ends = os.time() + 7200 },
      { pool = "pbx", server = "c", what = "server", value = { uri = "sip:10.0.0.3" },
        who = "ctl root", when = down.status_when },
      { pool = "pbx", server = "d", what = "removed", value = true,
        configured = '{"name":"d","uri":"sip:10.0.0.4"}', who = "ctl root",
        when = down.status_when },
    }, plain))
  end)

  it("may be none", function()
    assert.equal("There are none: all is as the script says.\n", overrides.text({}, plain))
  end)
end)

describe("an event", function()
  local when = os.date("%Y-%m-%d %H:%M:%S", 1795807906)

  for written, seconds in pairs {
    ["2026-11-27T19:31:46.106Z"] = 1795807906.106, ["1970-01-01T00:00:00Z"] = 0,
    ["2000-02-29T12:00:00Z"] = 951825600, ["2100-03-01T00:00:00.5Z"] = 4107542400.5,
    ["2024-12-31T23:59:59Z"] = 1735689599,
  } do
    it("has a time: " .. written, function()
      assert.near(seconds, events.time(written), 1e-6)
    end)
  end

  for _, case in ipairs {
    { { event = "server.health", pool = "pbx", server = "a", from = "falling", to = "down",
      reason = "timeout", who = "check", left = "1/2" },
    "pbx/a  falling -> down  timeout (check), 1/2 left" },
    { { event = "server.health", pool = "pbx", server = "a", from = "none", to = "unknown",
      reason = "start", who = "start", left = "2/2" }, "pbx/a  unknown  start (start), 2/2 left" },
    { { event = "server.admin", pool = "pbx", server = "a", from = "ready", to = "drain",
      reason = "kernel", who = "ctl root", ["for"] = 7200 },
    "pbx/a  ready -> drain  kernel (ctl root), for 2 h" },
    { { event = "server.hold", pool = "pbx", server = "a", reason = "503", who = "x", hold = 30 },
      "pbx/a  held for 30 s: 503" },
    { { event = "server.hold", pool = "pbx", server = "a", reason = "503", who = "x", hold = 0 },
      "pbx/a  hold ended: 503" },
    { { event = "pool.state", pool = "pbx", from = "up", to = "backup", reason = "timeout" },
      "pbx  up -> backup  timeout" },
    { { event = "pool.tier", pool = "pbx", from = 1, to = 0, reason = "timeout" },
      "pbx  tier 1 -> none  timeout" },
    { { event = "pool.tier", pool = "pbx", from = "none", to = 2.0, reason = "start" },
      "pbx  tier none -> 2  start" },
    { { event = "reload", generation = 3.0, added = "pbx/c", changed = "pbx/a.weight,pbx/b.tier" },
      "reload  generation 3 runs: added pbx/c, changed pbx/a.weight, pbx/b.tier" },
    { { event = "reload", generation = 3 }, "reload  generation 3 runs" },
    { { event = "config.rejected", generation = 3, reason = "r.lua:3: \27]0;x" },
      "config.rejected  rejected: r.lua:3: \\x1B]0;x" },
  } do
    it("is a line: " .. case[2], function()
      local event = case[1]
      event.ts = "2026-11-27T19:31:46.106Z"
      local line = events.line(event, plain)
      assert.equal(case[2], line:match "^%S+ %S+  (.*)\n$" or line:match "^%S+  (.*)\n$")
      assert.equal(when:match "%S+$", line:match "%d%d:%d%d:%d%d")
    end)
  end
end)
