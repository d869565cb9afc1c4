-- What is left of `sip`: events, timers, tasks, logs, shared tables, counters.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

local function heard_by(sip, names)
  local heard = {}
  for _, name in ipairs(names) do
    sip.on(name, function(event)
      heard[#heard + 1] = event
    end)
  end
  return heard
end

describe("sip.on", function()
  it("hears of health, admin, holds, state and tier, with objects", function()
    local heard
    local world, pool = pbx.new({ a = 1, b = 2 }, nil, {
      before = function(sip)
        heard = heard_by(sip, {
          "server.health", "server.admin", "server.hold", "pool.state", "pool.tier",
        })
      end,
    })
    world:run(2)
    local function next_ones(from)
      local names = {}
      for i = from, #heard do
        names[#names + 1] = heard[i].event
      end
      return names
    end
    assert.same({ "server.health", "server.health", "pool.state", "pool.tier", "server.health",
      "server.health" }, next_ones(1))
    assert.same({ nil, "unknown", "start", "start", "a" },
      { heard[1].from, heard[1].to, heard[1].reason, heard[1].who, heard[1].server.name })
    assert.same({ nil, "up", "start" }, { heard[3].from, heard[3].to, heard[3].reason })
    assert.same({ nil, 1 }, { heard[4].from, heard[4].to })
    assert.same({ "unknown", "up", "200", "check" },
      { heard[5].from, heard[5].to, heard[5].reason, heard[5].who })
    assert.equal(pool, heard[5].pool)
    assert.equal(pool:server(heard[5].server.name), heard[5].server)
    pool:server("a"):maint "disk"
    pool:server("b"):hold(5)
    world:run(0)
    assert.same({ "server.admin", "pool.state", "pool.tier", "server.hold", "pool.state",
      "pool.tier" }, next_ones(7))
    assert.same({ "up", "backup" }, { heard[8].from, heard[8].to })
    assert.same({ 1, 2 }, { heard[9].from, heard[9].to })
    assert.same({ "ready", "maint", "disk" }, { heard[7].from, heard[7].to, heard[7].reason })
  end)

  it("runs handlers in tasks: they may wait, and their errors stay theirs", function()
    local done
    local world = pbx.new({ "a" }, nil, {
      before = function(sip)
        sip.on("server.health", function()
          error "oops"
        end)
        sip.on("server.health", function()
          sip.sleep(1)
          done = sip.now()
        end)
      end,
    })
    world:run(3)
    assert.equal(2, #world.errors) -- what it is at the start, and its first verdict
    assert.matches("oops", world.errors[1])
    assert.near(1, done, 0.3)
  end)

  it("tells of start and stop", function()
    local heard
    local world = pbx.new({ "a" }, nil, {
      before = function(sip)
        heard = heard_by(sip, { "start", "stop", "config.reload" })
      end,
    })
    world:run(1)
    assert.same({ "start" }, { heard[1].event, heard[2] and heard[2].event })
    world:stop()
    assert.equal("stop", heard[2].event)
  end)

  it("tells the next generation of the reload", function()
    local first, second
    local world = pbx.new({ "a" }, nil, { before = function(sip)
      first = heard_by(sip, { "config.reload" })
    end })
    world:run(1)
    world:stop()
    local after = pbx.new({ "a" }, nil, { beside = world, before = function(sip)
      second = heard_by(sip, { "config.reload" })
    end })
    after:run(1)
    assert.same({ 0, 1 }, { #first, #second })
  end)

  it("knows the events there are", function()
    local sip = fake.new():require "tandem"
    assert.equal("route.lua:14: sip.on: there is no event 'server.healt'; "
      .. "did you mean 'server.health'?", fake.message(sip.on, "server.healt", print))
    assert.matches("a function expected, got nil", fake.message(sip.on, "start"))
    assert.matches("unknown option 'perworker'; did you mean 'per_worker'?",
      fake.message(sip.on, "start", print, { perworker = true }))
  end)
end)

describe("two workers", function()
  local zero, one, pool0, pool1
  local heard0, heard1

  before_each(function()
    zero, pool0 = pbx.new({ "a", "b" }, { check = false, passive = { fall = 2 } }, {
      before = function(sip)
        heard0 = heard_by(sip, { "server.hold", "branch.failed" })
      end,
    })
    one, pool1 = pbx.new({ "a", "b" }, { check = false, passive = { fall = 2 } }, {
      worker = 1, beside = zero,
      before = function(sip)
        heard1 = heard_by(sip, { "server.hold", "branch.failed" })
        sip.on("branch.failed", function()
          heard1[#heard1 + 1] = "here"
        end, { per_worker = true })
      end,
    })
    one:run(0)
  end)

  after_each(function()
    assert.same({}, zero.errors)
    assert.same({}, one.errors)
  end)

  it("leave decisions to worker 0, and see the same", function()
    pool1:server("a"):hold(10, "overload")
    assert.same({ 0, "tandem.server" }, { one.posted[1][1], one.posted[1][2] })
    one:run(0)
    assert.same({ "held", "held" }, { pool0:server("a").status, pool1:server("a").status })
    pool1:server("b"):drain "upgrade"
    one:run(0)
    assert.equal("drain", pool0:server("b").status)
    assert.equal(0, #one:logged "server.admin")
    assert.equal("script route.lua:14", zero:logged("server.admin")[1].who)
    local shown = one:require("tandem.inspect").pools()[1].servers
    assert.equal("overload", shown[1].holds[1].reason)
    assert.equal("upgrade", shown[2].admin_why)
  end)

  it("add up their evidence", function()
    zero:server("pbx/a", "*", "refuse")
    for _, side in ipairs { { zero, pool0 }, { one, pool1 } } do
      local req = side[1]:request()
      side[1]:call(function()
        return req:try(side[2]:server "a")
      end)
    end
    one:run(0)
    assert.equal("held", pool0:server("a").status)
  end)

  it("tell events once, in worker 0, but per_worker ones where they happen", function()
    zero:server("pbx/a", "*", "refuse")
    local req = one:request()
    one:call(function()
      return req:try(pool1:server "a")
    end)
    one:run(0)
    assert.same({ "here" }, heard1)
    assert.equal(1, #heard0)
    assert.equal(pool0:server "a", heard0[1].server)
    assert.equal("refused", heard0[1].cause)
  end)

  it("leave what comes after the end to the next generation", function()
    zero:stop()
    pool0:server("a"):hold(10)
    assert.equal("up", pool0:server("a").status)
    assert.same({ 0, "tandem.server" }, { zero.posted[1][1], zero.posted[1][2] })
  end)

  it("send no events that nobody there wants", function()
    local posted = #one.posted
    local req = one:request()
    one:server("pbx/a", "*", "refuse")
    one:call(function()
      return req:try(pool1:server "a")
    end)
    assert.equal(posted + 1, #one.posted)
    local alone = pbx.new({ "a" }, { check = false }, { worker = 1, before = function(sip)
      sip.on("start", function() end, { per_worker = true })
    end })
    assert.same({}, alone.posted)
  end)

  it("ignore what is said about servers that are gone", function()
    one.core.post(0, "tandem.server", '["hold","pbx/z",{"seconds":5,"why":"x"}]')
    one.core.post(0, "somebody else", "not even JSON")
    one:run(0)
  end)
end)

describe("sip.every and sip.after", function()
  it("begin with the proxy when asked for while loading", function()
    local ticks, once = 0, 0
    local world = pbx.new({}, nil, { before = function(sip)
      sip.every(2, function()
        ticks = ticks + 1
      end)
      sip.after(3, function()
        once = once + 1
      end)
    end })
    world:run(7)
    assert.same({ 3, 1 }, { ticks, once })
  end)

  it("can be cancelled, also before they began", function()
    local world, _, sip = pbx.new({}, nil, { before = function(sip)
      sip.after(1, function()
        error "was cancelled"
      end):cancel()
    end })
    local ticks = 0
    local timer
    timer = sip.every(1, function()
      ticks = ticks + 1
      timer:cancel()
    end)
    world:run(5)
    assert.equal(1, ticks)
    assert.same({}, world.errors)
    timer:cancel()
  end)

  it("of the load run in worker 0 only, unless asked otherwise", function()
    local every, after, all, handler = 0, 0, 0, 0
    local idle
    local world, _, sip = pbx.new({}, nil, { worker = 1, before = function(sip)
      idle = sip.every(1, function() every = every + 1 end)
      sip.after(1, function() after = after + 1 end)
      sip.every(1, function() all = all + 1 end, { per_worker = true })
    end })
    sip.every(1, function() handler = handler + 1 end)
    world:run(3.5)
    assert.same({ 0, 0, 3, 3 }, { every, after, all, handler })
    idle:cancel()
  end)

  it("check their arguments", function()
    local sip = fake.new():require "tandem"
    assert.equal("route.lua:14: sip.every: a number of seconds expected, got string",
      fake.message(sip.every, "1", print))
    assert.matches("at least 0.01 expected, got 0", fake.message(sip.every, 0, print))
    assert.matches("sip.after: a function expected, got nil", fake.message(sip.after, 1))
    assert.matches("unknown option 'per_wroker'", fake.message(sip.every, 1, print,
      { per_wroker = true }))
  end)
end)

describe("sip", function()
  local world, sip

  before_each(function()
    local _
    world, _, sip = pbx.new {}
  end)

  it("spawns tasks that can be waited for, but not while loading", function()
    local result = world:call(function()
      return sip.spawn(function()
        sip.sleep(2)
        return "done"
      end):wait()
    end)
    assert.equal("done", result)
    assert.matches("a function expected", fake.message(sip.spawn, 1))
    local loading = fake.new():require "tandem"
    assert.matches("use sip.on%(\"start\", fn%)", fake.message(loading.spawn, print))
  end)

  it("logs with sorted fields", function()
    sip.log.warn("it happened", { zone = "x", count = 3, ok = true, what = {} })
    local line = world:logged("script")[1]
    assert.same({ "message", "count", "ok", "what", "zone" }, line.order)
    assert.same({ "warn", "it happened", 3, true, "x" },
      { line.level, line.message, line.count, line.ok, line.zone })
    assert.matches("^table", line.what)
    for _, level in ipairs { "debug", "info", "error" } do
      sip.log[level](level)
    end
    assert.equal(4, #world:logged "script")
    assert.equal("route.lua:14: sip.log.info: a string expected, got table",
      fake.message(sip.log.info, {}))
    assert.matches("fields: a table expected, got string", fake.message(sip.log.info, "x", "y"))
  end)

  it("shares tables by name, but not ours", function()
    sip.shared("calls"):set("x", 5)
    assert.equal(5, sip.shared("calls"):get "x")
    assert.matches("names that begin with 'tandem.' are the proxy's own",
      fake.message(sip.shared, "tandem.server"))
    assert.matches("sip.shared: name: a name of", fake.message(sip.shared, "a b"))
  end)

  it("counts", function()
    local counter = sip.counter("calls_total", "Calls.", { kind = "a" })
    assert.same({ "calls_total", "Calls.", { kind = "a" } },
      { counter.name, counter.help, counter.labels })
    assert.matches("sip.counter: name: a name of small letters", fake.message(sip.counter, "Calls"))
    assert.matches("help: a string expected, got nil", fake.message(sip.counter, "calls"))
    assert.matches("labels: 'a b' is no label name",
      fake.message(sip.counter, "calls", "x", { ["a b"] = "1" }))
    assert.matches("labels: a: a string expected, got number",
      fake.message(sip.counter, "calls", "x", { a = 1 }))
  end)

  it("sends requests of its own", function()
    local res = world:call(function()
      return sip.request {
        method = "MESSAGE", uri = "sip:bob@192.0.2.1", timeout = 5,
        headers = { ["X-A"] = "1" }, body = "hi",
      }
    end)
    assert.equal(200, res.code)
    local spec = world.node.checks[1].spec
    assert.same({ { "X-A", "1" } }, spec.headers)
    assert.same({ "MESSAGE", "sip:bob@192.0.2.1", "hi", 5 },
      { spec.method, spec.uri, spec.body, spec.timeout })
    local bye = world:call(function()
      return res:request("BYE", { headers = { Reason = "SIP;cause=200" } })
    end)
    assert.equal(200, bye.code)
    spec = world.node.checks[2].spec
    assert.same({ "BYE", res, { { "Reason", "SIP;cause=200" } } },
      { spec.method, spec.dialog, spec.headers })
    assert.matches("res:request: method: a method expected, got nil",
      fake.message(res.request, res))
    assert.matches("sip.request: 'method' is missing",
      fake.message(sip.request, { uri = "sip:bob@192.0.2.1" }))
    assert.matches("sip.request: method: a method expected, got 'A B'",
      fake.message(sip.request, { method = "A B", uri = "sip:bob@192.0.2.1" }))
    assert.matches("sip.request: uri: 'bob' is no SIP URI",
      fake.message(sip.request, { method = "MESSAGE", uri = "bob" }))
  end)
end)

describe("the core", function()
  it("gets servers as objects by their full name", function()
    local world, pool = pbx.new { "a" }
    assert.equal(pool:server "a", world.server_of "pbx/a")
    assert.is_nil(world.server_of "pbx/z")
  end)
end)

describe("inspect", function()
  it("shows pools and servers as plain tables, as they were declared", function()
    local world, pool = pbx.new({ a = 1, b = 2 })
    world:run(3)
    pool:server("a"):drain()
    local inspect = world:require "tandem.inspect"
    local shown = inspect.pools()[1]
    assert.same({ "pbx", "backup", 2, "a", "b" },
      { shown.name, shown.state, shown.active_tier, shown.servers[1].name, shown.servers[2].name })
    local b = shown.servers[2]
    assert.same({ "up", "up", "ready", "sip:10.0.0.2", 2, 0, {} },
      { b.status, b.health, b.admin, b.uri, b.tier, b.held_for, b.holds })
    assert.equal("200", b.health_why)
  end)

  it("shows the failback hold among the holds", function()
    local world = pbx.new({ "a", "b" }, { failback = { hold = 100 } })
    world:run(3)
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(10)
    world:server("pbx/a", "OPTIONS", 200)
    world:run(5)
    local a = world:require("tandem.inspect").pools()[1].servers[1]
    assert.equal("failback", a.holds[1].reason)
    assert.near(98, a.holds[1].left, 3)
    assert.equal(a.held_for, a.holds[1].left)
  end)
end)
