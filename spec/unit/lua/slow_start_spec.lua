-- How a server that came back gets its share, and when that begins.
local pbx = require "support.pbx"

-- Which of n calls go to a server first, in percent.
local function percent(world, pool, name, n)
  local count = 0
  for i = 1, n or 2000 do
    local first = pool:pick(world:request { call_id = "call-" .. i })
    count = count + (first.name == name and 1 or 0)
  end
  return 100 * count / (n or 2000)
end

describe("slow_start", function()
  local world, pool

  local function open(names, options)
    options.check = options.check == nil and { interval = 2, rise = 1, jitter = 0 } or options.check
    world, pool = pbx.new(names, options)
    world:run(3)
  end

  local function fall_and_return()
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(8)
    assert.equal("down", pool:server("a").status)
    world:server("pbx/a", "OPTIONS", 200)
    while pool:server("a").status == "down" do
      world:run(0.01)
    end
  end

  it("is none at the start of the proxy", function()
    open({ a = 1, b = 2 }, { slow_start = 100 })
    assert.equal(100, percent(world, pool, "a"))
  end)

  for _, case in ipairs {
    { "ordered", { a = 1, b = 2 }, 100 }, { "ordered", { a = 1, b = 1 }, 100 },
    { "weighted", { a = 1, b = 1 }, 50 }, { "hash", { a = 1, b = 1 }, 50 },
    { "round_robin", { a = 1, b = 1 }, 50 }, { "least_calls", { a = 1, b = 1 }, 50 },
  } do
    local policy, names, all = table.unpack(case)
    it(("lets the share grow under %s (tier %d)"):format(policy, names.b), function()
      open(names, { slow_start = 100, failback = { hold = 0 }, policy = policy })
      assert.near(all, percent(world, pool, "a"), 3)
      fall_and_return()
      assert.near(0.1 * all, percent(world, pool, "a"), 3)
      world:run(50)
      assert.near(0.55 * all, percent(world, pool, "a"), 4)
      world:run(49)
      assert.near(0.99 * all, percent(world, pool, "a"), 3)
      world:run(1)
      assert.near(all, percent(world, pool, "a"), 3)
    end)
  end

  it("holds for a policy of the script", function()
    open({ a = 1, b = 1 }, { slow_start = 100, failback = { hold = 0 }, policy = function(_, list)
      return list[1]
    end })
    fall_and_return()
    assert.near(10, percent(world, pool, "a"), 3)
  end)

  it("begins when the failback hold ends", function()
    open({ a = 1, b = 2 }, { slow_start = 100, failback = { hold = 60 } })
    fall_and_return()
    world:run(59.9)
    assert.equal(0, percent(world, pool, "a"))
    world:run(0.2)
    assert.near(10, percent(world, pool, "a"), 3)
    world:run(50)
    assert.near(55, percent(world, pool, "a"), 4)
  end)

  it("begins after maint, and after an order", function()
    open({ a = 1, b = 2 }, { slow_start = 100, failback = { hold = 60 } })
    pool:server("a"):maint()
    pool:server("a"):ready()
    world:run(5)
    assert.near(15, percent(world, pool, "a"), 3)
    world:run(100)
    pool:server("a"):mark_down()
    pool:server("a"):mark_up()
    assert.near(10, percent(world, pool, "a"), 3)
  end)

  it("begins, without checks, when the trial has ended well", function()
    open({ a = 1, b = 2 }, { slow_start = 100, check = false, passive = { fall = 1, hold = 10 } })
    world:server("pbx/a", "INVITE", "silent")
    local function call()
      local req = world:request()
      world:call(function()
        return req:relay(pool)
      end)
      return req.tried[1]
    end
    assert.equal("pbx/a", call())
    world:server("pbx/a", "INVITE", 200)
    world:run(10)
    assert.equal("pbx/a", call()) -- the trial
    assert.near(10, percent(world, pool, "a"), 3)
    world:run(100)
    assert.equal(100, percent(world, pool, "a"))
  end)

  it("keeps a key that it has taken", function()
    open({ a = 1, b = 2 }, { slow_start = 100, failback = { hold = 0 } })
    fall_and_return()
    local taken = {}
    for _ = 1, 11 do
      for i = 1, 200 do
        local name = pool:pick(world:request { call_id = "call-" .. i }).name
        assert(name == "a" or not taken[i])
        taken[i] = name == "a"
      end
      world:run(10)
    end
    for i = 1, 200 do
      assert.is_true(taken[i])
    end
  end)

  it("refuses nobody who has no other place, but servers on failback hold", function()
    open({ a = 1, b = 2, c = 3 }, { slow_start = 100, failback = { hold = 60 } })
    fall_and_return()
    world:run(60)
    world:server("pbx/c", "OPTIONS", "silent")
    world:run(8)
    world:server("pbx/c", "OPTIONS", 200)
    world:run(3)
    assert.equal("held", pool:server("c").status)
    pool:server("b"):drain()
    assert.equal(100, percent(world, pool, "a"))
    assert.same({ "a", "c" }, pbx.order(pool, world:request()))
  end)

  it("gives the refused requests the server after the usable ones", function()
    open({ a = 1, b = 1, c = 2 }, { slow_start = 100, failback = { hold = 0 } })
    fall_and_return()
    local orders = {}
    for i = 1, 200 do
      local order = pbx.order(pool, world:request { call_id = "call-" .. i })
      orders[table.concat(order)] = true
    end
    assert.same({ abc = true, bca = true }, orders)
  end)

  it("is checked", function()
    assert.has_error(function()
      open({ a = 1 }, { slow_start = -1 })
    end)
  end)
end)
