-- What a worker answers when it is asked for its numbers.
local pbx = require "support.pbx"

local function ask(world, args)
  return world:require("tandem.answers").give("metrics.servers", args)
end

describe("the numbers of pools and servers", function()
  it("are those of now", function()
    local world, pool = pbx.new({ a = 1, b = 2 })
    world:run(3)
    pool:server("a"):drain()
    local answer = ask(world)
    assert.is_nil(answer.next)
    local shown = answer.pools[1]
    assert.same({ "pbx", 2, 2, 1 }, { shown.pool, shown.tier, shown.servers, shown.usable })
    local a, b = answer.servers[1], answer.servers[2]
    assert.same({ "pbx", "a", "drain", 1 }, { a.pool, a.server, a.status, a.tier })
    assert.same({ "b", "up", 2 }, { b.server, b.status, b.tier })
    assert.equal(1, b.stats.to_up)
    assert.is_true(b.stats.check_ok > 0)
    pool:server("b"):drain()
    assert.equal(0, ask(world).pools[1].tier)
    assert.equal(0, ask(world).pools[1].usable)
  end)

  it("say for how long a server was down, across all its changes", function()
    local world = pbx.new({ "a", "b" })
    world:run(3)
    local function down()
      return ask(world).servers[1].stats.down
    end
    assert.equal(0, down())
    world:server("pbx/a", "OPTIONS", 503)
    world:run(30)
    local before = down()
    world:run(10)
    assert.near(before + 10, down(), 0.001)
    world:server("pbx/a", "OPTIONS", 200)
    world:run(30)
    local after = down()
    assert.is_true(after > before + 10 and after < 70)
    world:run(100)
    assert.equal(after, down())
  end)

  -- With many servers nobody may wait for all of them.
  it("come in pages, each server once", function()
    local sizes, declared = { 30, 69, 1, 250, 3 }, 0
    local world = require("support.fake_core").new()
    local sip = world:require "tandem"
    for i, size in ipairs(sizes) do
      local servers = {}
      for n = 1, size do
        servers[n] = { name = "s" .. n, uri = ("sip:10.%d.0.%d"):format(i, n) }
      end
      sip.pool("p" .. i, { servers = servers })
      declared = declared + size
    end
    world:start()
    local seen, count, from, pages = {}, 0, 1, 0
    while from do
      local page = ask(world, { from = from })
      assert.equal(from == 1, page.pools ~= nil)
      assert.is_true(#page.servers <= 100)
      for _, server in ipairs(page.servers) do
        local full = server.pool .. "/" .. server.server
        assert.is_nil(seen[full])
        seen[full] = true
        count = count + 1
      end
      pages, from = pages + 1, page.next
    end
    assert.equal(declared, count)
    assert.equal(4, pages)
  end)

  it("end exactly with a page that is full", function()
    local world = require("support.fake_core").new()
    local sip, servers = world:require "tandem", {}
    for n = 1, 100 do
      servers[n] = { name = "s" .. n, uri = "sip:10.0.0." .. n }
    end
    sip.pool("p", { servers = servers })
    world:start()
    local page = ask(world, { from = 1 })
    assert.same({ 100 }, { #page.servers, page.next })
    assert.equal(0, #ask(world, { from = 101 }).servers)
  end)

  it("and the counters of the script too", function()
    local world = require("support.fake_core").new()
    local sip = world:require "tandem"
    for i = 1, 1100 do
      sip.counter("c" .. i, "C.")
    end
    world:start()
    local answers, from, sizes, seen = world:require "tandem.answers", 1, {}, {}
    while from do
      local page = assert(answers.give("metrics.user", { from = from }))
      for _, counter in ipairs(page.user) do
        assert.is_nil(seen[counter.name])
        seen[counter.name] = true
      end
      sizes[#sizes + 1], from = #page.user, page.next
    end
    assert.same({ 500, 500, 100 }, sizes)
    assert.is_true(seen.c1100)
    assert.same({ nil, "from: a number from 1 on expected" },
      { answers.give("metrics.user", { from = 0 }) })
  end)

  it("are not given for a page that cannot be", function()
    local world = pbx.new({ "a" })
    for _, from in ipairs { 0, -1, 1.5, "2" } do
      assert.same({ nil, "from: a number from 1 on expected" }, { ask(world, { from = from }) })
    end
  end)
end)

describe("the numbers of a pool", function()
  it("count the requests that go on to another server, once each", function()
    local world, pool = pbx.new({ "a", "b", "c" })
    world:run(3)
    local function retries()
      return ask(world).pools[1].retries
    end
    local function relay()
      local req = world:request()
      world:call(function()
        return req:relay(pool, { attempts = 3 })
      end)
    end
    relay()
    assert.equal(0, retries())
    world:server("pbx/a", "INVITE", 503)
    world:server("pbx/b", "INVITE", 503)
    relay()
    assert.equal(1, retries())
    local req = world:request()
    world:call(function()
      for server in pool:each(req) do
        local res = req:try(server)
        if res and res.code == 200 then
          return res:forward()
        end
      end
    end)
    assert.equal(2, retries())
  end)

  it("count failovers, not the way back", function()
    local world = pbx.new({ a = 1, b = 2 }, { failback = { hold = 1 } })
    world:run(3)
    local function failovers()
      return ask(world).pools[1].failovers
    end
    for round = 1, 2 do
      world:server("pbx/a", "OPTIONS", 503)
      world:run(60)
      assert.equal(round, failovers())
      world:server("pbx/a", "OPTIONS", 200)
      world:run(300)
      assert.equal(1, ask(world).pools[1].tier)
    end
    assert.equal(2, failovers())
  end)

  it("count a failover also when for a moment there was none", function()
    local world = pbx.new({ a = 1, b = 2 }, { failback = { hold = 1 } })
    world:run(3)
    world:server("pbx/a", "OPTIONS", 503)
    world:server("pbx/b", "OPTIONS", 503)
    world:run(60)
    assert.equal(0, ask(world).pools[1].tier)
    local before = ask(world).pools[1].failovers
    world:server("pbx/b", "OPTIONS", 200)
    world:run(60)
    assert.same({ 2, 1 }, { ask(world).pools[1].tier, ask(world).pools[1].failovers })
    assert.is_true(before <= 1)
  end)

  it("count requests for which there was only a server that is down", function()
    local world, pool = pbx.new({ "a" }, { all_down = "try" })
    world:run(3)
    world:server("pbx/a", "OPTIONS", 503)
    world:run(60)
    assert.equal(0, ask(world).pools[1].last_resort)
    local req = world:request()
    world:call(function()
      return req:relay(pool)
    end)
    assert.equal(1, ask(world).pools[1].last_resort)
  end)
end)
