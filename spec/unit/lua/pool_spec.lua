-- Which servers a request may go to, and in what order.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

describe("pool:each", function()
  it("goes tier by tier, as declared within a tier", function()
    local _, pool = pbx.new({ a = 2, b = 1, c = 2, d = 1 }, { check = false })
    assert.same({ "b", "d", "a", "c" }, pbx.order(pool))
  end)

  it("takes unknown servers after those that are up, within their tier", function()
    local world, pool = pbx.new({ a = 1, b = 1, c = 2 })
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(1.5)
    assert.same({ "unknown", "up", "up" },
      { pool:server("a").health, pool:server("b").health, pool:server("c").health })
    assert.same({ "b", "a", "c" }, pbx.order(pool))
  end)

  it("does not put servers behind for being unknown when there are no checks", function()
    local _, pool = pbx.new({ "a", "b" }, { check = false })
    pool:server("b"):mark_down()
    pool:server("b"):mark_up()
    assert.equal("up", pool:server("b").health)
    assert.same({ "a", "b" }, pbx.order(pool))
  end)

  it("leaves out what is down, held, drained or in maint", function()
    local world, pool = pbx.new({ "a", "b", "c", "d" }, { check = false })
    pool:server("a"):mark_down()
    pool:server("b"):hold(10)
    pool:server("c"):drain()
    assert.same({ "d" }, pbx.order(pool))
    pool:server("c"):maint()
    assert.same({ "d" }, pbx.order(pool))
    world:run(11)
    assert.same({ "b", "d" }, pbx.order(pool))
  end)

  it("looks again before every step", function()
    local _, pool = pbx.new({ "a", "b", "c" }, { check = false })
    local seen = {}
    for server in pool:each() do
      seen[#seen + 1] = server.name
      pool:server("b"):hold(10)
    end
    assert.same({ "a", "c" }, seen)
  end)

  it("finds a server that became usable meanwhile, and none twice", function()
    local _, pool = pbx.new({ "a", "b", "c" }, { check = false })
    pool:server("a"):hold(10)
    local seen = {}
    for server in pool:each() do
      seen[#seen + 1] = server.name
      pool:server("a"):hold(0)
      assert(#seen < 10)
    end
    assert.same({ "b", "a", "c" }, seen)
  end)

  it("does not skip the rest of a loop that another one disturbs", function()
    local _, pool = pbx.new({ "a", "b" }, { check = false })
    local first, second = pool:each(), pool:each()
    assert.equal("a", first().name)
    assert.equal("a", second().name)
    assert.equal("b", first().name)
    assert.is_nil(first())
    assert.is_nil(first())
    assert.equal("b", second().name)
  end)

  it("comes to servers on failback hold when all others were tried", function()
    local world, pool = pbx.new({ a = 1, b = 2, c = 3 }, { failback = { hold = 100 } })
    world:run(2)
    world:server("pbx/a", "OPTIONS", "silent")
    world:server("pbx/b", "OPTIONS", "silent")
    world:run(10)
    world:server("pbx/a", "OPTIONS", 200)
    world:server("pbx/b", "OPTIONS", 200)
    world:run(10)
    assert.same({ "c", "a", "b" }, pbx.order(pool))
  end)

  describe("when nothing is usable", function()
    local function all_down(options)
      local world, pool = pbx.new({ a = 1, b = 1, c = 2 }, options)
      world:run(2)
      for _, server in ipairs(pool.servers) do
        server:mark_down()
      end
      return world, pool
    end

    it("offers one last resort, the best of the bad", function()
      local _, pool = all_down()
      assert.same({ "a" }, pbx.order(pool))
      pool:server("c"):mark_up()
      pool:server("c"):hold(10)
      assert.same({ "c" }, pbx.order(pool)) -- held: it did answer
      pool:server("a"):maint()
      pool:server("c"):drain()
      assert.same({ "b" }, pbx.order(pool)) -- an operator is never overridden
    end)

    it("prefers one that is rising", function()
      local world, pool = all_down { check = { rise = 5 } }
      world:server("pbx/a", "OPTIONS", "silent")
      world:run(4)
      assert.same({ "down", "rising" }, { pool:server("a").health, pool:server("b").health })
      assert.same({ "b" }, pbx.order(pool))
    end)

    it("offers none after a server was tried", function()
      local _, pool = all_down()
      pool:server("c"):mark_up()
      assert.same({ "c" }, pbx.order(pool))
    end)

    it("offers none with all_down = \"fail\"", function()
      local _, pool = all_down { all_down = "fail" }
      assert.same({}, pbx.order(pool))
      assert.same({ nil, "down" }, { pool:pick() })
    end)

    it("offers none when operators took all out", function()
      local _, pool = pbx.new({ "a" }, { check = false })
      pool:server("a"):drain()
      assert.same({}, pbx.order(pool))
    end)
  end)

  it("of an empty pool is an empty loop", function()
    local _, pool = pbx.new({}, { check = false })
    assert.same({}, pbx.order(pool))
    assert.same({ nil, "empty" }, { pool:pick() })
    assert.equal("down", pool.state)
    assert.is_nil(pool.active_tier)
  end)

  it("begins with the server that challenged the same key", function()
    local world, pool = pbx.new({ a = 1, b = 2 }, { check = false })
    world.core.sticky_set("pbx", "call-7", "b", 60)
    assert.same({ "b", "a" }, pbx.order(pool, world:request { call_id = "call-7" }))
    assert.same({ "b", "a" }, pbx.order(pool, nil, { key = "call-7" }))
    assert.same({ "a", "b" }, pbx.order(pool, world:request { call_id = "call-8" }))
    pool:server("b"):hold(10)
    assert.same({ "a" }, pbx.order(pool, world:request { call_id = "call-7" }))
    world:run(61)
    assert.same({ "a", "b" }, pbx.order(pool, world:request { call_id = "call-7" }))
  end)

  it("does not trip over a remembered server that is gone", function()
    local world, pool = pbx.new({ "a" }, { check = false })
    world.core.sticky_set("pbx", "call-1", "gone", 60)
    assert.same({ "a" }, pbx.order(pool, world:request()))
  end)

  it("checks its options", function()
    local _, pool = pbx.new({ "a" })
    assert.equal("route.lua:14: pool:each: unknown option 'kye'; did you mean 'key'?",
      fake.message(function() pool:each(nil, { kye = "x" }) end))
  end)
end)

describe("pool:pick", function()
  it("is the first of the loop", function()
    local _, pool = pbx.new({ a = 2, b = 1 }, { check = false })
    assert.equal(pool:server "b", pool:pick())
  end)
end)

describe("a policy that is a function", function()
  it("orders the usable servers of a tier", function()
    local asked = {}
    local world, pool = pbx.new({ a = 1, b = 1, c = 2, d = 2 }, {
      check = false,
      policy = function(req, servers)
        local names = {}
        for i, server in ipairs(servers) do
          names[i] = server.name
        end
        asked[#asked + 1] = table.concat(names) .. (req and req.call_id or "")
        table.sort(servers, function(x, y)
          return x.name > y.name
        end)
        return servers
      end,
    })
    pool:server("c"):hold(5)
    assert.same({ "b", "a", "d" }, pbx.order(pool, world:request { call_id = "-x" }))
    assert.same({ "ab-x", "d-x" }, asked)
  end)

  it("may give one server, some, or none of a tier", function()
    local give
    local _, pool = pbx.new({ a = 1, b = 1, c = 2 }, {
      check = false, all_down = "fail",
      policy = function(_, servers)
        return give(servers)
      end,
    })
    give = function(servers)
      return servers[#servers]
    end
    assert.same({ "b", "a", "c" }, pbx.order(pool))
    give = function(servers)
      return servers[1].tier == 2 and servers or nil
    end
    assert.same({ "c" }, pbx.order(pool))
    give = function()
      return {}
    end
    assert.same({}, pbx.order(pool))
  end)

  it("cannot bring a server in twice, nor another one", function()
    local give
    local world, pool = pbx.new({ a = 1, b = 1 }, {
      check = false,
      policy = function(_, servers)
        return give(servers)
      end,
    })
    give = function(servers)
      return { servers[1], servers[1], servers[2] }
    end
    assert.same({ "a", "b" }, pbx.order(pool))
    local server_a = pool:server "a"
    give = function()
      return server_a
    end
    pool:server("a"):hold(5)
    assert.equal("route.lua:14: pool 'pbx': the policy returned something that is none of its "
      .. "servers (item 1)", fake.message(pbx.order, pool))
    give = function()
      return "a"
    end
    assert.matches("none of its servers", fake.message(pbx.order, pool))
    assert.same({}, world.errors)
  end)
end)

describe("policy.ordered", function()
  it("leaves servers as they were declared", function()
    local policy = fake.new():require("tandem.policy.ordered").new()
    local servers = { {}, {}, {} }
    assert.equal(servers[1], policy:choose(servers, { key = "key" }))
  end)
end)
