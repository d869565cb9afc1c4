-- What checks, orders and holds make of a server.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

describe("health.step", function()
  local step = fake.new():require("tandem.health.health").step

  -- from, streak, good -> to, streak; with fall = 3, rise = 2
  for _, case in ipairs {
    { "unknown", 0, true, "up", 1 }, -- nothing says that it was ever away
    { "unknown", 0, false, "unknown", 1 },
    { "unknown", 1, false, "unknown", 2 },
    { "unknown", 2, false, "down", 3 },
    { "unknown", 2, true, "up", 1 },
    { "up", 1, true, "up", 1 },
    { "up", 1, false, "falling", 1 },
    { "falling", 1, false, "falling", 2 },
    { "falling", 2, false, "down", 3 },
    { "falling", 2, true, "up", 1 },
    { "down", 3, false, "down", 3 },
    { "down", 3, true, "rising", 1 },
    { "rising", 1, true, "up", 2 },
    { "rising", 1, false, "down", 0 },
  } do
    local from, streak, good, to, next_streak = table.unpack(case)
    it(("from %s/%d after a %s check is %s/%d"):format(from, streak, good and "good" or "bad",
      to, next_streak), function()
      assert.same({ to, next_streak }, { step(from, streak, good, 3, 2) })
    end)
  end

  it("needs no waiting with fall = 1 and rise = 1", function()
    assert.equal("down", (step("up", 1, false, 1, 1)))
    assert.equal("down", (step("unknown", 0, false, 1, 1)))
    assert.equal("up", (step("down", 1, true, 1, 1)))
  end)
end)

describe("a checked server", function()
  local world, pool, a

  before_each(function()
    world, pool = pbx.new({ a = 1, b = 2 }, { failback = { hold = 60 } })
    a = pool:server "a"
    world:run(5)
  end)

  after_each(function()
    assert.same({}, world.errors)
  end)

  local function die()
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(10)
  end

  local function come_back()
    world:server("pbx/a", "OPTIONS", 200)
  end

  it("goes through every state and back", function()
    assert.same({ "up", "up", "ready" }, { a.health, a.status, a.admin })
    die()
    come_back()
    world:run(5)
    assert.same({ "unknown>up", "up>falling", "falling>down", "down>rising", "rising>up" },
      pbx.transitions(world, "a"))
  end)

  it("stays up when it answers in time again", function()
    world:server("pbx/a", "OPTIONS", "silent")
    for _ = 1, 50 do
      world:run(a.health == "falling" and 0 or 0.1)
    end
    assert.equal("falling", a.health)
    assert.equal("up", a.status)
    come_back()
    world:run(3)
    assert.same({ "unknown>up", "up>falling", "falling>up" }, pbx.transitions(world, "a"))
    assert.equal("up", a.status) -- it never fell: no failback hold
  end)

  it("says who, what and why in one line", function()
    die()
    local line = world:logged("server.health", { to = "down" })[1]
    assert.equal("warn", line.level)
    assert.same({ "pool", "server", "from", "to", "reason", "who", "checks", "left", "tier",
      "calls" }, line.order)
    assert.same({ "pbx", "a", "falling", "down", "timeout", "check", "3/3", "1/2", 2, 0 }, {
      line.pool, line.server, line.from, line.to, line.reason, line.who, line.checks, line.left,
      line.tier, line.calls,
    })
    come_back()
    world:run(5)
    local up = world:logged("server.health", { from = "rising", to = "up" })[1]
    assert.equal("info", up.level)
    assert.equal("2/2", up.checks)
    assert.equal(60, up.hold)
    assert.equal("hold", up.order[#up.order])
  end)

  it("tells the pool's state and tier when they change", function()
    die()
    assert.same({ "backup", 2 }, { pool.state, pool.active_tier })
    local state = pbx.changes(world, "pool.state")[1]
    assert.same({ "pbx", "up", "backup", "timeout" },
      { state.pool, state.from, state.to, state.reason })
    local tier = pbx.changes(world, "pool.tier")[1]
    assert.same({ "1", "2" }, { tier.from, tier.to })
    world:server("pbx/b", "OPTIONS", "silent")
    world:run(10)
    assert.same({ "down" }, { pool.state, pool.active_tier })
    assert.equal("warn", world:logged("pool.state", { to = "down" })[1].level)
  end)

  it("knows since when and for how long", function()
    local up = pbx.changes(world, "server.health", { server = "a", to = "up" })[1].at
    assert.near(up, a.since, 0.001)
    assert.near(5 - up, a.up_for, 0.001)
    die()
    assert.equal(0, a.up_for)
    assert.near(world:logged("server.health", { to = "down" })[1].at, a.since, 0.001)
  end)

  it("is held when it came back, and the backup goes on until the hold ends", function()
    die()
    come_back()
    world:run(30)
    assert.equal("held", a.status)
    assert.equal("up", a.health)
    assert.equal("backup", pool.state)
    assert.same({ "b", "a" }, pbx.order(pool))
    world:run(40)
    assert.equal("up", a.status)
    assert.same({ "a", "b" }, pbx.order(pool))
    local state = pbx.changes(world, "pool.state", { to = "up" })[1]
    assert.equal("hold ended", state.reason)
    local hold = world:logged("server.hold")[1]
    assert.same({ "a", "failback", "timer", 0 }, { hold.server, hold.reason, hold.who, hold.hold })
  end)

  it("takes over in spite of a failback hold when nothing else is usable", function()
    die()
    come_back()
    world:run(10)
    assert.equal("held", a.status)
    world:server("pbx/b", "OPTIONS", "silent")
    world:run(10)
    assert.equal("up", a.status)
    local hold = world:logged("server.hold")[1]
    assert.same({ "a", "failback", "need", 0 }, { hold.server, hold.reason, hold.who, hold.hold })
    assert.same({ "a" }, pbx.order(pool))
    assert.same({ "up", 1 }, { pool.state, pool.active_tier })
  end)

  it("earns a longer hold with every fall, and a shorter one after quiet time", function()
    local function hold_of_next_cycle()
      die()
      come_back()
      world:run(5)
      local ups = world:logged("server.health", { from = "rising", to = "up" })
      return ups[#ups].hold
    end
    assert.same({ 60, 120, 240, 480, 600, 600 }, {
      hold_of_next_cycle(), hold_of_next_cycle(), hold_of_next_cycle(),
      hold_of_next_cycle(), hold_of_next_cycle(), hold_of_next_cycle(),
    })
    world:run(700)
    assert.equal("up", a.status)
    assert.equal(60, hold_of_next_cycle())
  end)

  it("shows how often it fell lately", function()
    local function falls()
      return world:require("tandem.inspect").pools()[1].servers[1].falls
    end
    die()
    assert.equal(1, falls())
    come_back()
    world:run(10)
    die()
    assert.equal(2, falls())
    world:run(700)
    come_back()
    world:run(10)
    assert.equal(0, falls())
  end)

  it("has a hold as short as it was asked for, or none", function()
    for _, hold in ipairs { 0.5, 0 } do
      local other, other_pool = pbx.new({ "a", "b" }, { failback = { hold = hold } })
      other:run(3)
      other:server("pbx/a", "OPTIONS", "silent")
      other:run(10)
      other:server("pbx/a", "OPTIONS", 200)
      local server = other_pool:server "a"
      for _ = 1, 100 do
        other:run(server.health == "up" and 0 or 0.05)
      end
      assert.equal("up", server.health)
      assert.equal(hold > 0 and "held" or "up", server.status)
      other:run(0.6)
      assert.equal("up", server.status)
    end
  end)

  it("gets no calls while it flaps", function()
    die()
    for _ = 1, 10 do
      come_back()
      world:run(10)
      assert.equal("b", pool:pick().name)
      die()
      assert.equal("b", pool:pick().name)
    end
    assert.equal(10, #world:logged("server.health", { from = "rising", to = "up" }))
  end)

  it("has no failback hold for its first verdict, but for coming back after being found down",
    function()
      local other, other_pool = pbx.new({ "a", "b" }, { failback = { hold = 60 } })
      other:server("pbx/a", "OPTIONS", "silent")
      other:run(10)
      assert.same({ "unknown>down" }, pbx.transitions(other, "a"))
      other:server("pbx/a", "OPTIONS", 200)
      other:run(5)
      assert.equal("held", other_pool:server("a").status)
    end)
end)

describe("an order", function()
  local world, pool, a

  before_each(function()
    world, pool = pbx.new({ "a", "b" })
    a = pool:server "a"
    world:run(3)
  end)

  after_each(function()
    assert.same({}, world.errors)
  end)

  it("drain: no new requests, still checked, existing health stays", function()
    a:drain "upgrade"
    assert.same({ "drain", "drain", "up" }, { a.admin, a.status, a.health })
    assert.same({ "b" }, pbx.order(pool))
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(10)
    assert.same({ "drain", "down" }, { a.status, a.health })
    world:server("pbx/a", "OPTIONS", 200)
    world:run(10)
    assert.same({ "drain", "up" }, { a.status, a.health }) -- a good check enables nothing
    a:ready()
    assert.equal("ready", a.admin)
  end)

  it("maint: not checked, and unknown afterwards", function()
    a:maint()
    world:run(1.5) -- what was in flight
    local before = #world.node.checks
    world:server("pbx/a", "OPTIONS", function() error "checked in maint" end)
    world:server("pbx/b", "OPTIONS", function() return 200 end)
    world:run(20)
    assert.equal("maint", a.status)
    assert(#world.node.checks > before)
    world:server("pbx/a", "OPTIONS", 200)
    a:ready()
    assert.equal("unknown", a.health)
    assert.equal("up", a.status)
    assert.same({ "b", "a" }, pbx.order(pool))
    world:run(2)
    assert.same({ "up", "up" }, { a.health, a.status }) -- no failback hold
  end)

  it("is recorded with who, when and why, and logged", function()
    a:drain "upgrade"
    local line = world:logged("server.admin")[1]
    assert.same({ "a", "ready", "drain", "upgrade", "script route.lua:14", "1/2" },
      { line.server, line.from, line.to, line.reason, line.who, line.left })
    local shown = world:require("tandem.inspect").pools()[1].servers[1]
    assert.same({ "drain", "upgrade", "script route.lua:14", 1700000003 },
      { shown.admin, shown.admin_why, shown.admin_who, shown.admin_when })
    a:drain "again"
    assert.equal(1, #world:logged "server.admin")
  end)

  it("mark_down and mark_up: health by judgement, without a failback hold", function()
    a:mark_down "bad audio"
    assert.same({ "down", "down" }, { a.health, a.status })
    assert.equal("bad audio", world:logged("server.health", { to = "down" })[1].reason)
    a:mark_up()
    assert.same({ "up", "up" }, { a.health, a.status })
  end)

  it("mark_down lasts until checks have been good often enough", function()
    a:mark_down()
    world:run(5)
    assert.same({ "unknown>up", "up>down", "down>rising", "rising>up" },
      pbx.transitions(world, "a"))
    assert.equal("held", a.status)
  end)

  it("takes reasons that are strings only", function()
    assert.equal("route.lua:14: server:drain: why: a string expected, got number",
      fake.message(a.drain, a, 5))
    assert.equal("route.lua:14: server:hold: a number of seconds expected, got x",
      fake.message(a.hold, a, "x"))
    assert.matches("got %-1", fake.message(a.hold, a, -1))
    assert.matches("got %-?nan", fake.message(a.hold, a, 0 / 0))
  end)
end)

describe("before the start", function()
  it("no state can change", function()
    local world = fake.new()
    local sip = world:require "tandem"
    local pool = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } } })
    assert.equal("route.lua:14: the state of server 'pbx/a' cannot change while the script loads",
      fake.message(function() pool:server("a"):drain() end))
  end)
end)

describe("holds", function()
  local world, pool, a

  before_each(function()
    world, pool = pbx.new({ "a", "b" })
    a = pool:server "a"
    world:run(3)
  end)

  it("keep new requests away until they end", function()
    a:hold(10)
    assert.equal("held", a.status)
    assert.same({ "b" }, pbx.order(pool))
    world:run(9.9)
    assert.equal("held", a.status)
    world:run(0.2)
    assert.equal("up", a.status)
  end)

  it("are kept by reason, and the latest end counts", function()
    a:hold(30, "overload")
    a:hold(10, "retry_after")
    world:run(20)
    assert.equal("held", a.status)
    a:hold(0, "overload")
    assert.equal("up", a.status)
    a:hold(30, "overload")
    a:hold(5, "overload")
    world:run(6)
    assert.equal("held", a.status)
  end)

  it("of one reason end without those of another", function()
    a:hold(30, "overload")
    a:hold(10, "retry_after")
    a:hold(0, "overload")
    world:run(5)
    assert.equal("held", a.status)
    world:run(6)
    assert.equal("up", a.status)
  end)

  it("are not ended by good checks or mark_up", function()
    a:hold(30, "overload")
    world:run(10)
    a:mark_up()
    assert.equal("held", a.status)
  end)

  it("need one timer for a pool, however many there are", function()
    local function waiting()
      local count = 0
      for _, entry in ipairs(world.node.queue) do
        count = count + (entry.cancelled and 0 or 1)
      end
      return count
    end
    local before = waiting()
    for i = 1, 20 do
      a:hold(100 + i, "reason" .. i)
    end
    assert.equal(before + 1, waiting())
    world:stop()
    world:run(0)
    assert.equal(0, waiting())
  end)

  it("are shown with their reasons", function()
    a:hold(30, "overload")
    a:hold(10, "retry_after")
    local shown = world:require("tandem.inspect").pools()[1].servers[1]
    assert.same({ { reason = "overload", left = 30 }, { reason = "retry_after", left = 10 } },
      shown.holds)
    assert.equal(30, shown.held_for)
    local line = world:logged("server.hold")[1]
    assert.same({ "pbx", "a", "overload", 30 }, { line.pool, line.server, line.reason, line.hold })
  end)

  it("make the pool down, and up again when the first one ends", function()
    a:hold(20)
    pool:server("b"):hold(10)
    assert.equal("down", pool.state)
    world:run(10.5)
    assert.equal("up", pool.state)
    local changes = pbx.changes(world, "pool.state")
    assert.same({ "up", "down" }, { changes[1].from, changes[1].to })
    assert.equal("hold ended", changes[2].reason)
  end)

  it("survive a reload, and so do falls and orders", function()
    a:hold(30, "overload")
    pool:server("b"):drain "upgrade"
    world:stop()
    local after, after_pool = pbx.new({ "a", "b" }, nil, { beside = world })
    assert.equal("held", after_pool:server("a").status)
    assert.equal("drain", after_pool:server("b").status)
    after_pool:server("a"):hold(0, "overload")
    assert.equal("up", after_pool:server("a").status)
    assert.same({}, after.errors)
  end)
end)

describe("a server that nobody asked yet", function()
  it("has been unknown since the start", function()
    local world = pbx.new { "a" }
    world:run(100)
    world:stop()
    local late, pool = pbx.new({ "b" }, { check = false }, { beside = world })
    late:run(50)
    assert.near(100, pool:server("b").since, 0.001)
    assert.equal(0, pool:server("b").up_for)
  end)
end)
