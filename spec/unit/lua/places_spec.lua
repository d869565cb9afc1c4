-- Servers with names, and with several addresses: who is asked, what that means for the
-- server, and what the other workers and the next generation know of it.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

local uri = "sip:pbx.example.com"
local one, two = "10.0.0.1:5060;transport=udp", "10.0.0.2:5060;transport=udp"

-- What DNS says: these addresses, in order of rank.
local function answer(ttl, ...)
  local list = { ttl = ttl }
  for i, addr in ipairs { ... } do
    list[i] = { addr = addr, rank = i - 1, weight = 10 }
  end
  return list
end

local function load(options, world_options)
  local world = fake.new(world_options)
  local sip = world:require "tandem"
  local conf = { servers = options.servers or { { name = "a", uri = uri } } }
  for name, value in pairs(options) do
    conf[name] = value
  end
  return world, sip.pool("pbx", conf)
end

local function start(options, world_options)
  local world, pool = load(options, world_options)
  world:start()
  return world, pool, pool:server "a"
end

local function healths(server)
  local list = {}
  for i, address in ipairs(server.addresses) do
    list[i] = address.health
  end
  return table.concat(list, " ")
end

-- What the core was told: the addresses that are down in brackets.
local function told(world, name)
  local list = {}
  for i, place in ipairs(world.node.facts["pbx/" .. (name or "a")].places or {}) do
    local addr = place.addr:match "^(.*):"
    list[i] = place.down and "(" .. addr .. ")" or addr
  end
  return table.concat(list, " ")
end

local function times(world)
  local list = {}
  for i, lookup in ipairs(world.lookups) do
    list[i] = lookup.at
  end
  return list
end

local several = { servers = { {
  name = "a", uri = "sip:10.0.0.1", addresses = { "10.0.0.1", "10.0.0.2" },
} } }

local function with(options)
  for name, value in pairs(several) do
    options[name] = options[name] or value
  end
  return options
end

describe("a server that is known by name", function()
  it("is looked up at start, by worker 0, and the core hears where it is", function()
    local world, _, a = start({ check = false }, { dns = { [uri] = answer(60, one, two) } })
    assert.equal(0, #a.addresses)
    world:run(1)
    assert.same({ { addr = one, rank = 0, weight = 10, down = false },
      { addr = two, rank = 1, weight = 10, down = false } }, world.node.facts["pbx/a"].places)
    assert.same({ address = "10.0.0.2:5060", transport = "udp", rank = 1, weight = 10,
      health = "unknown" }, (function()
        local copy = {}
        for key, value in pairs(a.addresses[2]) do copy[key] = value end
        return copy
      end)())
    local line = world:logged("server.resolved")[1]
    assert.same({ "pbx", "a", uri, one .. "," .. two, 60 },
      { line.pool, line.server, line.uri, line.addresses, line.ttl })
    assert.same({}, world.errors)
  end)

  it("is not looked up by another worker", function()
    local world = start({ check = false }, { worker = 1, dns = { [uri] = answer(60, one) } })
    world:run(100)
    assert.same({}, world.lookups)
  end)

  it("is looked up again when that has run out, and not before", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one) } })
    world:run(200)
    assert.equal(4, #world.lookups)
    for i, at in ipairs(times(world)) do
      assert.near(60 * (i - 1), at, 0.1)
    end
    assert.equal(1, #world:logged "server.resolved") -- nothing has changed
  end)

  it("is looked up every second at most, whatever DNS says", function()
    local world = start({ check = false }, { dns = { [uri] = answer(0, one) } })
    world:run(10)
    assert.equal(10, #world.lookups)
  end)

  it("is looked up after 2, 4, 8, 16, and every 30 s when it is not found", function()
    local world, _, a = start({ check = false }, { dns = { [uri] = "dns_timeout" } })
    world:run(100)
    local list, gaps = times(world), {}
    for i = 2, #list do
      gaps[i - 1] = math.floor(list[i] - list[i - 1] + 0.5)
    end
    assert.same({ 2, 4, 8, 16, 30, 30 }, gaps)
    local lines = world:logged "server.unresolved"
    assert.equal(1, #lines)
    assert.same({ "warn", "pbx", "a", uri, "dns_timeout", 0 }, { lines[1].level, lines[1].pool,
      lines[1].server, lines[1].uri, lines[1].reason, lines[1].known })
    assert.same({ 0, "unknown", "up" }, { #a.addresses, a.health, a.status })
    world.dns[uri] = answer(60, one)
    world:run(31)
    assert.same({ "10.0.0.1", 1 }, { told(world), #a.addresses })
    assert.equal(1, #world:logged "server.resolved")
  end)

  it("stays where it was when nothing is found later", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one) } })
    world:run(1)
    world.dns[uri] = "dns_none"
    world:run(600)
    assert.equal(1, #world:logged("server.unresolved", { reason = "dns_none", known = 1 }))
    assert.matches("10.0.0.1", told(world))
    world.dns[uri] = answer(60, one)
    world:run(31)
    assert.equal(2, #world:logged "server.resolved") -- it is said that all is well
  end)

  it("uses an answer that is stale, says so once, and asks again soon", function()
    local old = answer(30, two)
    old.stale = true
    local world = start({ check = false }, { dns = { [uri] = old } })
    world:run(200)
    assert.matches("10.0.0.2", told(world))
    assert.equal(1, #world:logged("server.unresolved", { reason = "stale", known = 1 }))
    assert(#world.lookups >= 7)
  end)

  it("stays where it was when all of an answer is stale: that may be less", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one) } })
    world:run(1)
    world.dns[uri] = answer(30, two)
    world.dns[uri].stale = true
    world:run(200)
    assert.matches("10.0.0.1", told(world))
    world.dns[uri] = answer(30, two)
    world:run(31)
    assert.matches("10.0.0.2", told(world))
  end)

  it("is not asked while nobody knows where it is; then at once", function()
    local world, _, a = start({}, { dns = { [uri] = "dns_none" } })
    world:run(5.9)
    assert.same({}, world.node.checks)
    world.dns[uri] = answer(60, one)
    world:run(0.5)
    assert.equal(1, #world.node.checks)
    assert.equal("up", a.health)
  end)

  it("is asked by a function of the script all the same", function()
    local world, _, a = start { check = { method = function() return true end } }
    world:run(3)
    assert.same({ 0, "up" }, { #a.addresses, a.health })
  end)

  it("is none to go to while nobody knows where it is, unless there is no other", function()
    local world, pool = start({ check = false, servers = {
      { name = "a", uri = uri, tier = 1 }, { name = "b", uri = "sip:10.0.0.2", tier = 2 },
      { name = "c", uri = "sip:10.0.0.3", tier = 3 },
    } })
    world:run(1)
    assert.same({ "b", "c" }, pbx.order(pool))
    pool:server("b"):drain()
    pool:server("c"):drain()
    assert.same({ "a" }, pbx.order(pool))
    pool:server("b"):ready()
    pool:server("c"):ready()
    world.dns[uri] = answer(60, one)
    world:run(3)
    assert.same({ "a", "b", "c" }, pbx.order(pool))
  end)

  it("does not fall because its name is not known", function()
    local world, _, a = start({ check = false })
    for _ = 1, 10 do
      world.on_attempt(world.node.facts["pbx/a"], nil, "dns_none", 0, nil, false)
    end
    world:run(1)
    assert.equal("up", a.status)
  end)

  it("with another address is unknown until that was asked, which is at once", function()
    local world, _, a = start({}, { dns = { [uri] = answer(20, one) } })
    world:run(19)
    assert.equal("up", a.health)
    world.dns[uri] = answer(20, two)
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(1.2)
    assert.equal("unknown", a.health)
    local checks = #world.node.checks
    world:server("pbx/a", "OPTIONS", 200)
    world:run(2)
    assert(#world.node.checks > checks)
    assert.equal("up", a.health)
    local line = world:logged("server.health", { to = "unknown", who = "dns" })[1]
    assert.equal("addresses changed", line.reason)
  end)

  it("that was down stays down with another address until that was asked", function()
    local world, _, a = start({}, { dns = { [uri] = answer(20, one) } })
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(19.9)
    assert.equal("down", a.health)
    world.dns[uri] = answer(20, two)
    world:run(1)
    assert.equal("down", a.health)
    world:server("pbx/a", "OPTIONS", 200)
    world:run(4)
    assert.equal("up", a.health)
    assert.same({}, world.errors)
  end)

  it("keeps on looking when the task of a look-up died", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one) } })
    local locate = world.core.locate
    world.core.locate = function() error "no memory" end
    world:run(1)
    world.core.locate = locate
    world:run(80)
    assert.matches("10.0.0.1", told(world))
    assert.equal(1, #world.errors)
  end)

  it("is told although there is no room to keep it", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one) } })
    local shared = world.core.shared
    world.core.shared = function(name)
      return name == "tandem.places" and { set = function() error "full" end } or shared(name)
    end
    world:run(1)
    assert.equal("10.0.0.1", told(world))
    assert.same({}, world.errors)
  end)

  it("is told again when there was no memory for it", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one) } })
    world.node.facts["pbx/a"].no_memory = true
    world:run(3)
    assert.equal("", told(world))
    world.node.facts["pbx/a"].no_memory = nil
    world:run(1.1)
    assert.matches("10.0.0.1", told(world))
  end)
end)

describe("a server with several addresses", function()
  it("is asked at each of them, never twice at once", function()
    local world, _, a = start(with { check = { interval = 2, timeout = 1.9 } })
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", "silent")
    world:server("pbx/a@10.0.0.2:5060", "OPTIONS", { code = 200, after = 1.5 })
    world:run(60)
    local count = {}
    for _, check in ipairs(world.node.checks) do
      count[check.spec.addr] = (count[check.spec.addr] or 0) + 1
    end
    assert(count[one] > 25 and count[two] > 25)
    assert.equal(1, world.node.most_flying)
    assert.same({ "down up", "up" }, { healths(a), a.health })
  end)

  it("is up when any of them is; the core is told which is down", function()
    local world, _, a = start(with {})
    world:run(5)
    assert.same({ "up up", "up" }, { healths(a), a.health })
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", 503)
    world:run(5)
    assert.same({ "down up", "up", "(10.0.0.1) 10.0.0.2" }, { healths(a), a.health, told(world) })
    assert.same({ "unknown>up" }, pbx.transitions(world, "a"))
    local line = world:logged("address.health", { to = "down" })[1]
    assert.same({ "warn", "pbx", "a", one, "falling", "503", "check" }, { line.level, line.pool,
      line.server, line.address, line.from, line.reason, line.who })
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", 200)
    world:run(5)
    assert.same({ "up up", "10.0.0.1 10.0.0.2" }, { healths(a), told(world) })
  end)

  it("falls with the last of them, and comes back with the first", function()
    local world, _, a = start(with { servers = {
      several.servers[1], { name = "b", uri = "sip:10.0.0.9" },
    } })
    world:run(5)
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", "silent")
    world:run(10)
    world:server("pbx/a@10.0.0.2:5060", "OPTIONS", "silent")
    world:run(10)
    assert.same({ "down down", "down" }, { healths(a), a.health })
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", 200)
    world:run(5)
    assert.same({ "up down", "up", "held" }, { healths(a), a.health, a.status })
    assert.same({ "unknown>up", "up>falling", "falling>down", "down>rising", "rising>up" },
      pbx.transitions(world, "a"))
    assert.same({}, world.errors)
  end)

  it("is asked where it is down only, if the script wants that", function()
    local world, _, a = start(with { check = { when = "down", interval = 10 } })
    world:run(30)
    assert.same({}, world.node.checks)
    for _ = 1, 3 do
      world.on_attempt(world.node.facts["pbx/a"], nil, "silent", 1, one, true)
    end
    world:run(12)
    assert.equal(one, world.node.checks[1].spec.addr)
    world:run(12)
    assert.same({ "up unknown", "up" }, { healths(a), a.health })
    for _, check in ipairs(world.node.checks) do
      assert.equal(one, check.spec.addr)
    end
  end)

  it("is what the script says at all of them", function()
    local world, _, a = start(with { check = { interval = 100 } })
    world:run(20)
    a:mark_down "test"
    assert.same({ "down down", "down" }, { healths(a), a.health })
    a:mark_up "test"
    assert.same({ "up up", "up" }, { healths(a), a.health })
    a:maint()
    a:ready()
    assert.same({ "unknown unknown", "unknown" }, { healths(a), a.health })
  end)

  it("is asked as a whole by a function of the script", function()
    local calls = 0
    local world, _, a = start(with { check = { interval = 10, method = function()
      calls = calls + 1
      return true
    end } })
    world:run(9)
    assert.same({ 1, "up" }, { calls, a.health })
    a:mark_down "test"
    assert.same({ "unknown unknown", "down" }, { healths(a), a.health })
    assert.same({}, world.errors)
  end)

  it("has one address less or more when DNS says so; who stays keeps its health", function()
    local world, _, a = start({}, { dns = { [uri] = answer(20, one) } })
    world:run(19)
    world:server("pbx/a@10.0.0.2:5060", "OPTIONS", "silent")
    world.dns[uri] = answer(20, two, one)
    world:run(1.1)
    assert.same({ "unknown up", "up" }, { healths(a), a.health })
    world:run(10)
    assert.same({ "down up", "up" }, { healths(a), a.health })
    world.dns[uri] = answer(20, two)
    world:run(10)
    assert.same({ "down", "down", 1 }, { healths(a), a.health, #a.addresses })
    world:server("pbx/a", "OPTIONS", 200)
    world:run(10)
    assert.equal("up", a.health)
    assert.same({}, world.errors)
  end)

  it("has at most 16 of those that DNS says", function()
    local list = {}
    for i = 1, 20 do
      list[i] = ("10.0.0.%d:5060;transport=udp"):format(i)
    end
    local world, _, a = start({ check = false },
      { dns = { [uri] = answer(20, table.unpack(list)) } })
    world:run(1)
    assert.equal(16, #a.addresses)
  end)
end)

describe("passive evidence at one address", function()
  local world, a

  local function fail(addr, count, moved)
    for _ = 1, count do
      world.on_attempt(world.node.facts["pbx/a"], nil, "refused", 0, addr, moved)
    end
  end

  it("takes it until a check says otherwise; the server is not to blame", function()
    local _
    world, _, a = start(with { check = { interval = 10, fast_interval = 10 } })
    world:run(5)
    fail(one, 2, true)
    world.on_attempt(world.node.facts["pbx/a"], 200, nil, 0, one, false)
    fail(one, 2, true)
    assert.equal("up up", healths(a))
    fail(one, 1, true)
    assert.same({ "down up", "up", "(10.0.0.1) 10.0.0.2" }, { healths(a), a.health, told(world) })
    assert.equal(0, world.node.facts["pbx/a"]:get "failures")
    assert.equal(1, #world:logged("address.health", { reason = "passive refused", who = "calls" }))
    world:run(22)
    assert.equal("up up", healths(a))
  end)

  it("takes it for the hold where there are no checks; then one failure is enough", function()
    local _
    world, _, a = start(with { check = false, passive = { hold = 20 } })
    fail(one, 3, true)
    assert.equal("(10.0.0.1) 10.0.0.2", told(world))
    world:run(19)
    assert.equal("down unknown", healths(a))
    world:run(2)
    assert.same({ "unknown unknown", "10.0.0.1 10.0.0.2" }, { healths(a), told(world) })
    assert.equal(1, #world:logged("address.health", { reason = "hold ended", who = "timer" }))
    fail(one, 1, true)
    assert.equal("(10.0.0.1) 10.0.0.2", told(world))
    world:run(25)
  end)

  it("does not take the last one: there the failures of the server count", function()
    local _
    world, _, a = start(with { check = false, keep = 0 })
    fail(one, 3, true)
    fail(two, 2, false)
    assert.same({ "down unknown", "up" }, { healths(a), a.status })
    fail(two, 1, false)
    assert.same({ "down unknown", "held" }, { healths(a), a.status })
    world:run(70)
  end)

  it("comes from other workers too, which then know what became of it", function()
    world = load(with { check = false })
    local other, pool = load(with { check = false }, { worker = 1, beside = world })
    world:start()
    other:start()
    for _ = 1, 3 do
      other.on_attempt(world.node.facts["pbx/a"], nil, "silent", 0, one, true)
    end
    world:run(1)
    assert.equal("down unknown", healths(pool:server "a"))
    assert.same({}, world.errors)
    assert.same({}, other.errors)
    world:run(40)
    assert.equal("unknown unknown", healths(pool:server "a"))
  end)
end)

describe("other workers", function()
  it("hear of an address where nobody answers, and begin at another one", function()
    local world = load(with { check = false })
    local other = load(with { check = false }, { worker = 1, beside = world })
    world:start()
    other:start()
    local facts = world.node.facts["pbx/a"]
    other.on_attempt(facts, nil, "refused", 0, two, true)
    other.on_attempt(facts, nil, "silent", 4, one, false)
    world.on_attempt(facts, nil, "connect_timeout", 4, two, false)
    world:run(1)
    assert.same({ one, two }, facts.silences)
    assert.same({}, world.errors)
    assert.same({}, other.errors)
  end)

  it("hear where a server is", function()
    local world = load({ check = false }, { dns = { [uri] = answer(60, one, two) } })
    local other, pool = load({ check = false }, { worker = 1, beside = world })
    world:start()
    other:start()
    world:run(1)
    assert.equal("unknown unknown", healths(pool:server "a"))
    assert.same({}, other.errors)
  end)
end)

describe("after a reload a server", function()
  -- The next generation of the same node.
  local function again(world, options)
    world:stop()
    return start(options, { beside = world, dns = world.dns })
  end

  it("is where it was found before, from the first moment", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one, two) } })
    world:run(1)
    local next_one, _, a = again(world, { check = false })
    assert.equal(2, #a.addresses)
    next_one:run(1)
    assert.equal(1, #next_one.lookups)
    assert.equal(0, #next_one:logged "server.resolved")
  end)

  it("is nowhere yet when it has another name", function()
    local world = start({ check = false }, { dns = { [uri] = answer(60, one, two) } })
    world:run(1)
    local next_one, _, a = again(world, { check = false,
      servers = { { name = "a", uri = "sip:other.example.com" } } })
    assert.equal(0, #a.addresses)
    next_one:run(0)
    assert.equal("", told(world))
  end)

  it("has addresses as healthy as they were", function()
    local world = start(with {})
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", "silent")
    world:run(10)
    local next_one, _, a = again(world, with {})
    assert.same({ "down up", "up", "(10.0.0.1) 10.0.0.2" }, { healths(a), a.health, told(world) })
    next_one:run(10)
    assert.equal(0, #next_one:logged("address.health", { to = "down" }))
  end)

  it("keeps the health of its only address when there are more", function()
    local world = start { servers = { { name = "a", uri = "sip:10.0.0.1" } } }
    world:run(10)
    local _, _, a = again(world, with {})
    assert.same({ "up unknown", "up" }, { healths(a), a.health })
  end)

  it("knows nothing of addresses that are all new", function()
    local world = start { servers = { { name = "a", uri = "sip:10.0.0.8" } } }
    world:run(10)
    local _, _, a = again(world, with {})
    assert.same({ "unknown unknown", "unknown" }, { healths(a), a.health })
  end)

  it("goes on with the hold of an address; without checks nothing else counts", function()
    local world = start(with { check = false, passive = { hold = 20 } })
    for _ = 1, 3 do
      world.on_attempt(world.node.facts["pbx/a"], nil, "refused", 0, one, true)
    end
    world:run(10)
    local next_one, _, a = again(world, with { check = false })
    assert.equal("down unknown", healths(a))
    next_one:run(11)
    assert.equal("unknown unknown", healths(a))
  end)

  it("forgets what checks said of its addresses when there are none any more", function()
    local world = start(with {})
    world:server("pbx/a@10.0.0.1:5060", "OPTIONS", "silent")
    world:run(10)
    local next_one, _, a = again(world, with { check = false })
    assert.equal("unknown unknown", healths(a))
    next_one:run(0)
    assert.equal("10.0.0.1 10.0.0.2", told(world))
  end)
end)
