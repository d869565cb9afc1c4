-- Pools that find their servers in DNS: who joins, who leaves, and when.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

local uri = "sip:trunk.example.com"

local function place(n, rank, weight, target)
  return {
    addr = ("10.0.0.%d:5060;transport=udp"):format(n), rank = rank or 0, weight = weight or 0,
    target = target or ("gw%d"):format(n),
  }
end

-- An answer of DNS.
local function answer(...)
  return { ttl = 10, place(...) }
end

local function add(list, ...)
  list[#list + 1] = place(...)
  return list
end

-- "gw1 1/1" of each server: its tier and weight.
local function servers(pool)
  local words = {}
  for i, server in ipairs(pool.servers) do
    words[i] = ("%s %d/%d"):format(server.name, server.tier, server.weight)
    assert.equal(server, pool:server(server.name))
  end
  table.sort(words)
  return words
end

local function new(options, more)
  more = more or {}
  local conf = { uri }
  for name, value in pairs(options or {}) do
    conf[name] = value
  end
  local world = fake.new(more.fake)
  world.dns[uri] = more.dns
  local sip = world:require "tandem"
  local pool_conf = { discover = conf, check = false }
  for name, value in pairs(more.pool or {}) do
    pool_conf[name] = value
  end
  local pool = sip.pool("trunk", pool_conf)
  world:start()
  return world, pool, sip
end

-- The last line of the log about what was found; the fields that are lists.
local function said(world)
  local lines = world:logged "pool.discovered"
  return lines[#lines] or {}
end

describe("a pool with discover", function()
  it("has no servers and takes nothing until there is an answer", function()
    local world, pool = new()
    assert.same({}, servers(pool))
    assert.equal("down", pool.state)
    assert.same({ nil, "empty" }, { pool:pick() })
    world:run(3)
    assert.equal("dns_none", world:logged("pool.undiscovered")[1].reason)
    world.dns[uri] = answer(1)
    world:run(10)
    assert.same({ "gw1 1/1" }, servers(pool))
    assert.equal("up", pool.state)
    assert.equal("gw1", pool:pick().name)
    assert.equal("gw1", said(world).added)
    assert.equal("sip:10.0.0.1:5060;transport=udp", pool:server("gw1").uri)
    assert.same({}, world.errors)
  end)

  it("says once that there is no answer, and asks again later and later", function()
    local world = new()
    world:run(200)
    assert.equal(1, #world:logged "pool.undiscovered")
    assert.same({}, world:logged "pool.discovered")
    local times = {}
    for i, lookup in ipairs(world.lookups) do
      times[i] = math.floor(lookup.at)
    end
    assert.same({ 0, 2, 6, 14, 30, 60, 90, 120, 150, 180 }, times)
  end)

  it("makes tiers of ranks and spreads by weight", function()
    local world, pool = new({}, { dns = add(add(answer(1, 0, 75), 2, 0, 25), 3, 1, 10) })
    world:run(1)
    assert.same({ "gw1 1/75", "gw2 1/25", "gw3 2/10" }, servers(pool))
    local got = { gw1 = 0, gw2 = 0, gw3 = 0 }
    for i = 1, 1000 do
      local name = pool:pick({ call_id = "call" .. i, method = "INVITE", _state = {} }).name
      got[name] = got[name] + 1
    end
    assert.near(750, got.gw1, 50)
    assert.equal(0, got.gw3)
  end)

  it("takes over a change of weight and rank at once", function()
    local world, pool = new({}, { dns = add(answer(1, 0, 75), 2, 0, 25) })
    world:run(1)
    world.dns[uri] = add(answer(1, 1, 10), 2, 0, 30)
    world:run(10)
    assert.same({ "gw1 2/10", "gw2 1/30" }, servers(pool))
    assert.equal("gw1,gw2", said(world).changed)
    assert.equal("gw2", pool:pick().name)
  end)

  it("says nothing when nothing has changed, whatever the order", function()
    local world, pool = new({}, { dns = add(answer(1), 2) })
    world:run(1)
    local first = pool:server "gw1"
    world.dns[uri] = add(answer(2), 1)
    world:run(60)
    assert.equal(1, #world:logged "pool.discovered")
    assert.equal(first, pool:server "gw1")
    assert(#world.lookups >= 6)
  end)

  it("keeps the name of an address when its target gets another one", function()
    local world, pool = new({}, { dns = answer(1, 0, 0, "gw") })
    world:run(1)
    world.dns[uri] = add(answer(1, 0, 0, "gw"), 2, 0, 0, "gw")
    world:run(10)
    assert.same({ "gw 1/1", "gw-10.0.0.2 1/1" }, servers(pool))
    assert.equal("gw-10.0.0.2", said(world).added)
  end)

  it("goes through several names, one after the other", function()
    local other = "sip:other.example.com"
    local world, pool = new({ [2] = other }, { dns = answer(1) })
    world:run(1)
    assert.same({ "gw1 1/1" }, servers(pool))
    world.dns[other] = add(answer(3, 5), 2)
    world:run(10)
    assert.same({ "gw1 1/1", "gw2 2/1", "gw3 3/1" }, servers(pool))
    world.dns[uri] = add(answer(1), 3, 1)
    world:run(10)
    assert.same({ "gw1 1/1", "gw2 3/1", "gw3 2/1" }, servers(pool))
  end)

  it("takes no more than it may", function()
    local world, pool = new({ max = 2 }, { dns = add(add(answer(1), 2), 3, 1) })
    world:run(1)
    assert.same({ "gw1 1/1", "gw2 1/1" }, servers(pool))
    assert.equal(1, said(world).dropped)
    assert.equal("warn", said(world).level)
  end)
end)

describe("a server that has left DNS", function()
  local world, pool, gw1

  before_each(function()
    world, pool = new({}, { dns = add(answer(1), 2, 1) })
    world:run(1)
    gw1 = pool:server "gw1"
  end)

  after_each(function()
    assert.same({}, world.errors)
  end)

  it("takes no new requests", function()
    world.dns[uri] = answer(2)
    world:run(10)
    assert.equal("drain", gw1.status)
    assert.equal("ready", gw1.admin)
    assert.same({ "gw2" }, pbx.order(pool))
    assert.equal("gw1", said(world).left)
    assert.equal("gw2", said(world).changed) -- its tier is the first now
    assert.equal(1, said(world).servers)
  end)

  it("is no last resort either", function()
    world.dns[uri] = answer(2)
    world:run(10)
    pool:server("gw2"):mark_down()
    assert.same({ "gw2" }, pbx.order(pool))
  end)

  it("goes when its calls have been over for a while", function()
    gw1 = world.node.facts["trunk/gw1"]
    gw1:set("calls", 1)
    world.dns[uri] = answer(2)
    world:run(200)
    assert.same({ "gw1 1/1", "gw2 1/1" }, servers(pool))
    gw1:set("calls", 0)
    world:run(30)
    assert.equal(2, #pool.servers)
    world:run(15)
    assert.same({ "gw2 1/1" }, servers(pool))
    assert.equal("gw1", said(world).removed)
  end)

  it("comes back with what is known of it", function()
    gw1:mark_down "broken"
    world.dns[uri] = answer(2)
    world:run(20)
    world.dns[uri] = add(answer(1), 2, 1)
    world:run(10)
    assert.equal(gw1, pool:server "gw1")
    assert.equal("down", gw1.status)
    assert.equal("gw1", said(world).back)
  end)

  it("has all its time again when it leaves once more", function()
    world.dns[uri] = answer(2)
    world:run(25)
    world.dns[uri] = add(answer(1), 2, 1)
    world:run(20)
    world.dns[uri] = answer(2)
    world:run(25)
    assert.equal("drain", gw1.status)
    world:run(30)
    assert.is_nil(pool:server "gw1")
  end)

  it("is of no use to who has kept it, when it is gone", function()
    world.dns[uri] = answer(2)
    world:run(60)
    assert.is_nil(pool:server "gw1")
    assert.matches("this server is not there any more", fake.message(function()
      return gw1.status
    end))
    assert.matches("this server is not there any more", fake.message(function()
      gw1:drain()
    end))
    assert.equal("server (gone)", tostring(gw1))
  end)

  it("stays in sight while an operator has taken it out", function()
    gw1:maint "waiting for a part"
    world.dns[uri] = answer(2)
    world:run(1000)
    assert.equal("maint", gw1.status)
    gw1:ready()
    world:run(60)
    assert.same({ "gw2 1/1" }, servers(pool))
  end)
end)

describe("when DNS does not answer", function()
  for _, why in ipairs { "dns_timeout", "dns_none" } do
    it("what was known stays until it is stale: " .. why, function()
      local world, pool = new({ stale = 300 }, { dns = answer(1) })
      world:run(5)
      world.dns[uri] = why
      world:run(200)
      assert.same({ "gw1" }, pbx.order(pool))
      local line = world:logged("pool.undiscovered")[1]
      assert.same({ "warn", why, 1 }, { line.level, line.reason, line.known })
      assert.near(290, line.left, 1)
      assert.equal(1, #world:logged "pool.discovered")
      world:run(140)
      assert.equal("gw1", said(world).left)
      assert.same({}, pbx.order(pool))
      world.dns[uri] = answer(1)
      world:run(35)
      assert.equal("gw1", said(world).added or said(world).back)
      assert.same({ "gw1" }, pbx.order(pool))
    end)
  end

  it("an old answer of the resolver is good for that long, too", function()
    local world, pool = new({ stale = 300 }, { dns = answer(1) })
    world:run(5)
    world.dns[uri].stale = true
    world:run(200)
    assert.same({ "gw1" }, pbx.order(pool))
    assert.equal("stale", world:logged("pool.undiscovered")[1].reason)
    world:run(140)
    assert.same({}, pbx.order(pool))
  end)

  it("says that it is there again", function()
    local world = new({}, { dns = answer(1) })
    world:run(5)
    world.dns[uri] = "dns_timeout"
    world:run(20)
    world.dns[uri] = answer(1)
    world:run(40)
    assert.equal(2, #world:logged "pool.discovered")
    assert.is_nil(said(world).added)
    assert.equal(1, said(world).servers)
  end)
end)

describe("discover in another worker", function()
  it("has the same servers", function()
    local world = new({}, { dns = add(answer(1), 2, 1) })
    local other, pool = new({}, { fake = { worker = 1, beside = world }, dns = answer(7) })
    world:run(1)
    assert.same({ "gw1 1/1", "gw2 2/1" }, servers(pool))
    assert.same({}, other.lookups)
    world.dns[uri] = answer(2)
    world:run(60)
    assert.same({ "gw2 1/1" }, servers(pool))
    assert.same({}, other.errors)
  end)
end)

describe("discover and a reload", function()
  it("goes on with the servers that are known", function()
    local world = new({}, { dns = add(answer(1), 2, 1) })
    world:run(1)
    world.core.shared "x"
    world:stop()
    local again, pool = new({}, { fake = { beside = world }, dns = "dns_timeout" })
    assert.same({ "gw1 1/1", "gw2 2/1" }, servers(pool))
    again:run(5)
    assert.same({ "gw1 1/1", "gw2 2/1" }, servers(pool))
    assert.same({}, again:logged "pool.discovered")
    assert.same({}, again.errors)
  end)

  it("lets those of a name leave that is no longer in the script", function()
    local world = new({}, { dns = answer(1) })
    world:run(1)
    world:stop()
    local again = fake.new { beside = world }
    again.dns["sip:other.example.com"] = answer(2)
    local sip = again:require "tandem"
    local pool = sip.pool("trunk", { discover = { "sip:other.example.com" }, check = false })
    again:start()
    again:run(1)
    assert.same({ "gw2" }, pbx.order(pool))
    assert.equal("drain", pool:server("gw1").status)
  end)
end)

describe("a pool that new servers join", function()
  it("lets them begin slowly, but not the first of all", function()
    local world, pool = new({}, { dns = answer(1), pool = { slow_start = 60 } })
    world:run(1)
    assert.equal(0, world.node.facts["trunk/gw1"]:get "returned")
    world.dns[uri] = add(answer(1), 2)
    world:run(10)
    assert(world.node.facts["trunk/gw2"]:get "returned" > 0)
    local got = 0
    for i = 1, 200 do
      local req = { call_id = "call" .. i, method = "INVITE", _state = {} }
      got = got + (pool:pick(req).name == "gw2" and 1 or 0)
    end
    assert(got < 40, got)
  end)

  it("lets all begin at once that a second name gives at first", function()
    local world = new({ [2] = "sip:other.example.com" }, {
      dns = answer(1), pool = { slow_start = 60 },
    })
    world.dns["sip:other.example.com"] = answer(2)
    world:run(5)
    assert.equal(0, world.node.facts["trunk/gw2"]:get "returned")
    world.dns["sip:other.example.com"] = answer(3)
    world:run(10)
    assert(world.node.facts["trunk/gw3"]:get "returned" > 0)
  end)

  it("checks them, and no longer when they have left", function()
    local world, pool = new({}, { dns = answer(1), pool = { check = {} } })
    world:run(5)
    assert.same({}, world.errors)
    assert.equal("up", pool:server("gw1").health)
    assert.equal("sip:trunk.example.com", world.node.checks[1].spec.uri)
    world.dns[uri] = answer(2)
    world:run(60)
    local n = #world.node.checks
    world:run(10)
    for i = n + 1, #world.node.checks do
      assert.equal("trunk/gw2", world.node.checks[i].server)
    end
    assert(#world.node.checks > n)
  end)

  it("waits for room that others need, and forgets whom it replaces", function()
    local world, pool = new({ max = 1 }, { dns = answer(1) })
    world:run(1)
    for n = 2, 3 do
      world.dns[uri] = answer(n)
      world:run(60)
    end
    assert.same({}, servers(pool)) -- gw1 and gw2 have left, but not long ago
    assert.equal(1, said(world).dropped)
    assert.is_truthy(world.node.shared["tandem.server"]["trunk/gw1"])
    world:run(600)
    assert.same({ "gw3 1/1" }, servers(pool))
    assert.is_nil(world.node.shared["tandem.server"]["trunk/gw1"])
    assert.same({}, world.errors)
  end)
end)

describe("two nodes with discover", function()
  -- One has seen them come one after the other, so their names are others there.
  for _, policy in ipairs { "weighted", "hash", "latency", "least_calls" } do
    it("choose alike, whatever they call the servers: " .. policy, function()
      local both = add(answer(1, 0, 1, "gw"), 2, 0, 1, "gw")
      local old, pool = new({}, { dns = answer(2, 0, 1, "gw"), pool = { policy = policy } })
      old:run(1)
      old.dns[uri] = both
      old:run(30)
      local young, other = new({}, { dns = both, pool = { policy = policy } })
      young:run(1)
      assert.same({ "gw 1/1", "gw-10.0.0.1 1/1" }, servers(pool))
      assert.same({ "gw-10.0.0.1 1/1", "gw-10.0.0.2 1/1" }, servers(other))
      for i = 1, 40 do
        local key = { key = ("call-%d"):format(i) }
        assert.equal(other:pick(nil, key).uri, pool:pick(nil, key).uri)
      end
    end)
  end
end)

describe("the option discover", function()
  local function message(discover, more)
    local world = fake.new()
    local sip = world:require "tandem"
    local conf = { discover = discover }
    for name, value in pairs(more or {}) do
      conf[name] = value
    end
    return fake.message(sip.pool, "trunk", conf)
  end

  it("is a list of SIP URIs and some options", function()
    assert.matches("discover: 1 to 8 items expected, got 0", message {})
    assert.matches("discover%[1%]: 'trunk' is no SIP URI", message { "trunk" })
    assert.matches("unknown option 'discover.stal'; did you mean 'discover.stale'",
      message { uri, stal = 1 })
    assert.matches("discover.max: at most 64 expected", message { uri, max = 65 })
    assert.matches("discover: a table of options expected", message(uri))
  end)

  it("goes without servers, and these without it", function()
    assert.matches("servers and discover exclude each other", message({ uri }, { servers = {} }))
    assert.matches("'servers' is missing", message())
  end)

  it("leaves room for the names of servers", function()
    local sip = fake.new():require "tandem"
    assert.matches("a name of at most 54 characters expected",
      fake.message(sip.pool, ("x"):rep(55), { discover = { uri } }))
    sip.pool(("x"):rep(54), { discover = { uri } })
  end)

  it("needs something that ends a passive fall", function()
    assert.matches("passive.hold: more than 0 expected",
      message({ uri }, { check = false, passive = { hold = 0 } }))
  end)
end)
