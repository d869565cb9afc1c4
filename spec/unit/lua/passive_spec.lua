-- What the outcomes of calls say about a server.
local pbx = require "support.pbx"

local function try(world, pool, name, act, req)
  world:server("pbx/" .. name, "INVITE", act)
  req = world:request(req)
  return world:call(function()
    return req:try(pool:server(name), { timeout = 1 })
  end)
end

local function fail(world, pool, name, times, act)
  for _ = 1, times do
    try(world, pool, name, act or "silent")
  end
end

describe("with checks, passive evidence", function()
  local world, pool, a

  before_each(function()
    world, pool = pbx.new({ "a", "b" }, { check = { interval = 3 }, passive = { hold = 40 } })
    a = pool:server "a"
    world:run(3)
  end)

  after_each(function()
    assert.same({}, world.errors)
  end)

  it("takes a server after three failures in a row", function()
    fail(world, pool, "a", 2)
    assert.equal("up", a.status)
    fail(world, pool, "a", 1)
    assert.same({ "down", "down" }, { a.health, a.status })
    assert.equal("passive silent", world:logged("server.health", { to = "down" })[1].reason)
  end)

  it("is forgotten with any answer", function()
    for _, answer in ipairs { 200, 486, 503 } do
      fail(world, pool, "a", 2)
      try(world, pool, "a", answer)
    end
    fail(world, pool, "a", 2)
    assert.equal("up", a.status)
  end)

  it("is also the codes that the pool names, and no others", function()
    world, pool = pbx.new({ "a", "b" }, { passive = { fall = 2, codes = { 500, 503 } } })
    a = pool:server "a"
    world:run(3)
    try(world, pool, "a", 503)
    try(world, pool, "a", 486)
    try(world, pool, "a", 500)
    assert.equal("up", a.status)
    try(world, pool, "a", 503)
    assert.equal("down", a.status)
    local line = world:logged("server.health", { to = "down" })[1]
    assert.same({ "passive 503", "calls" }, { line.reason, line.who })
  end)

  it("is what local failures are: silence, hanging, refusal", function()
    try(world, pool, "a", "silent")
    try(world, pool, "a", "hang")
    try(world, pool, "a", "refuse")
    assert.equal("down", a.health)
  end)

  it("is not what we are to blame for, nor the caller, nor a phone nobody answers", function()
    for _ = 1, 5 do
      try(world, pool, "a", "no_source")
      try(world, pool, "a", "too_big")
      try(world, pool, "a", "ring")
      try(world, pool, "a", "silent", { cancel_at = world.node.now + 0.5 })
    end
    assert.same({ "unknown>up" }, pbx.transitions(world, "a"))
    assert.equal(0, #world:logged "server.kept")
  end)

  it("does not take part in a fall that is over", function()
    fail(world, pool, "a", 9, "refuse")
    assert.equal(1, #world:logged("server.health", { server = "a", to = "down" }))
    assert.equal(1, #world:logged("server.hold"))
    assert.equal(1, world.node.facts["pbx/a"]:get "falls")
  end)

  it("changes what the pool is", function()
    fail(world, pool, "b", 3, "refuse")
    a:drain()
    assert.equal("down", pool.state)
    assert.equal(1, #world:logged("pool.state", { to = "down" }))
  end)

  it("starts from nothing when the server is up again", function()
    fail(world, pool, "a", 2, "refuse")
    a:mark_down()
    a:mark_up()
    fail(world, pool, "a", 2, "refuse")
    assert.equal("up", a.status)
    a:maint()
    a:ready()
    fail(world, pool, "a", 2, "refuse")
    assert.equal("up", a.status)
  end)

  it("asks for good checks and for the hold to end", function()
    fail(world, pool, "a", 3)
    world:run(10)
    assert.equal("up", a.health)
    assert.equal("held", a.status)
    world:run(25)
    assert.equal("held", a.status)
    world:run(10)
    assert.equal("up", a.status)
    assert.same({ "unknown>up", "up>down", "down>rising", "rising>up" },
      pbx.transitions(world, "a"))
  end)

  it("of a hold is not overridden when nothing else is usable, unlike a failback hold", function()
    fail(world, pool, "a", 3)
    world:server("pbx/b", "OPTIONS", "silent")
    world:run(15)
    assert.equal("up", a.health)
    assert.equal("down", pool.state)
  end)

  it("keeps one server", function()
    fail(world, pool, "a", 3, "refuse")
    fail(world, pool, "b", 6, "refuse")
    assert.same({ "down", "up" }, { a.status, pool:server("b").status })
    local kept = world:logged "server.kept"
    assert.equal(2, #kept)
    assert.same({ "b", "refused", 3, 1 },
      { kept[1].server, kept[1].reason, kept[1].failures, kept[1].keep })
  end)

  it("counts a server on failback hold among those left", function()
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(15)
    world:server("pbx/a", "OPTIONS", 200)
    world:run(6)
    assert.same({ "held", "up" }, { a.status, a.health })
    fail(world, pool, "b", 3)
    assert.equal("down", pool:server("b").status)
    assert.same({ "a" }, pbx.order(pool))
  end)
end)

describe("attempts that no script made", function()
  it("count as well, and those at strangers do not", function()
    local world, pool = pbx.new({ "a", "b" }, { passive = { fall = 2 } })
    local facts = world.node.facts["pbx/a"]
    world.on_attempt(facts, nil, "silent", 32)
    world.on_attempt(nil, nil, "silent", 32)
    assert.equal("up", pool:server("a").status)
    world.on_attempt(facts, nil, "icmp_port", 0.1)
    assert.equal("down", pool:server("a").status)
  end)
end)

describe("passive = false", function()
  it("takes nobody", function()
    local world, pool = pbx.new({ "a", "b" }, { passive = false })
    world:run(3)
    fail(world, pool, "a", 10)
    assert.equal("up", pool:server("a").status)
  end)
end)

describe("keep", function()
  it("can be more or none", function()
    for keep, downs in pairs { [0] = 3, [1] = 2, [2] = 1, [3] = 0 } do
      local world, pool = pbx.new({ "a", "b", "c" }, { keep = keep })
      world:run(3)
      for _, name in ipairs { "a", "b", "c" } do
        fail(world, pool, name, 3, "refuse")
      end
      local count = 0
      for _, server in ipairs(pool.servers) do
        count = count + (server.status == "down" and 1 or 0)
      end
      assert.equal(downs, count, "keep = " .. keep)
    end
  end)
end)

describe("without checks, passive evidence", function()
  local world, pool, a

  before_each(function()
    world, pool = pbx.new({ "a", "b" }, { check = false, passive = { fall = 2, hold = 20 } })
    a = pool:server "a"
  end)

  after_each(function()
    assert.same({}, world.errors)
  end)

  local function eject()
    fail(world, pool, "a", 2)
    assert.same({ "held", "unknown" }, { a.status, a.health })
  end

  it("is a hold alone", function()
    eject()
    assert.same({ "b" }, pbx.order(pool))
    world:run(20.1)
    assert.equal("up", a.status)
    assert.same({ "a", "b" }, pbx.order(pool))
    assert.equal("passive", world:logged("server.hold")[1].reason)
  end)

  it("then one request at a time is the trial", function()
    eject()
    world:run(20.1)
    world:server("pbx/a", "INVITE", { code = 200, after = 0.9 })
    local first, orders = world:request(), {}
    local task = world:task(function()
      return first:try(pool:server "a", { timeout = 1 })
    end)
    world:run(0.5)
    orders[1] = pbx.order(pool)
    world:run(0.5)
    assert.is_true(task.done)
    orders[2] = pbx.order(pool)
    assert.same({ { "b" }, { "a", "b" } }, orders)
  end)

  it("ends with a trial that is answered, whatever the answer", function()
    eject()
    world:run(20.1)
    try(world, pool, "a", 404)
    fail(world, pool, "a", 1)
    assert.equal("up", a.status)
    assert.same({ "a", "b" }, pbx.order(pool))
  end)

  it("ends the trial early when it fails, and holds twice as long", function()
    eject()
    world:run(20.1)
    fail(world, pool, "a", 1)
    assert.equal("held", a.status)
    world:run(39)
    assert.equal("held", a.status)
    world:run(2)
    assert.equal("up", a.status)
  end)

  it("leaves the trial open when the caller hangs up", function()
    eject()
    world:run(20.1)
    try(world, pool, "a", "silent", { cancel_at = world.node.now + 0.5 })
    assert.same({ "a", "b" }, pbx.order(pool))
    fail(world, pool, "a", 1)
    assert.equal("held", a.status)
  end)

  it("is ended by mark_up", function()
    for _ = 1, 2 do -- the second time its health is up already
      fail(world, pool, "a", 2)
      assert.equal("held", a.status)
      a:mark_up()
      assert.equal("up", a.status)
      fail(world, pool, "a", 1)
      assert.equal("up", a.status)
      try(world, pool, "a", 200)
    end
  end)

  it("is ended by maint", function()
    eject()
    world:run(20.1)
    a:maint()
    a:ready()
    fail(world, pool, "a", 1)
    assert.equal("up", a.status)
  end)

  it("is not ended by the answer to a request from before", function()
    eject()
    world.on_attempt(world.node.facts["pbx/a"], 200, nil, 9)
    world:run(20.1)
    fail(world, pool, "a", 1)
    assert.equal("held", a.status)
  end)

  it("takes no failure of a request from before for a failed trial", function()
    eject()
    world:run(20.1)
    world.on_attempt(world.node.facts["pbx/a"], nil, "silent", 32)
    assert.equal("up", a.status)
  end)

  it("tells the pool's state", function()
    pool:server("b"):drain()
    fail(world, pool, "a", 4)
    assert.equal("up", pool.state) -- kept
    pool:server("b"):ready()
    pool:server("b"):hold(1)
    pool:server("b"):hold(0)
    fail(world, pool, "a", 2)
    pool:server("b"):drain()
    assert.equal("down", pool.state)
    assert.equal(1, #world:logged("pool.state", { to = "down" }))
    world:run(20.1)
    assert.equal(1, #world:logged("pool.state", { from = "down", to = "up" }))
  end)
end)
