-- What is kept of DNS, and what happens when nobody answers: checklist 72, checklist 73.
local resolve = require "support.resolve"
local sim = require "support.sim"

local zone = {
  ["a.example"] = { "10.0.0.1", ttl = 60 },
  ["short.example"] = { "10.0.0.2", ttl = 1 },
  ["zero.example"] = { "10.0.0.3", ttl = 0 },
  ["long.example"] = { "10.0.0.4", ttl = 86400 },
  ["gone.example"] = { negative = 10 },
  ["never.example"] = { negative = 86400 },
  ["_sip._udp.two.example"] = {
    { priority = 1, target = "mute.example" }, { priority = 2, target = "a.example" },
  },
  ["mute.example"] = { "10.0.0.9", fail = "silent" },
}

sim.for_workers("the cache", function(workers)
  local world, net

  after_each(sim.finish)

  local function open(settings)
    world = resolve.new {
      workers = workers, dns = zone, listen = '"udp:0.0.0.0:5060"', settings = settings,
    }
    net = world.net
  end

  before_each(function()
    open()
  end)

  -- With a port, so that only addresses are asked for.
  local function find(name)
    return world:resolve("sip:" .. name .. ":5060")
  end

  local function dns_metric(result)
    return net:metric("tandem_dns_lookups_total", { type = "a", result = result })
  end

  it("keeps an answer for its TTL", function()
    assert.equal(60, find("a.example").ttl)
    net:run(40)
    local found = find "a.example"
    assert.equal(0, found.took)
    assert.near(20, found.ttl, 1)
    assert.equal("a.example A", world:asked())
    net:dns("a.example", "10.0.0.11")
    net:run(21)
    assert.equal("0 udp:10.0.0.11:5060", find("a.example").places)
    assert.equal("a.example A", world:asked())
    assert.equal(1, dns_metric "cached")
    assert.equal(2, dns_metric "found")
  end)

  it("asks again in the last fifth of it, and lets nobody wait", function()
    find "a.example"
    net:dns("a.example", "10.0.0.11")
    net:run(50)
    local found = find "a.example"
    assert.equal("0 udp:10.0.0.1:5060", found.places)
    assert.equal(0, found.took)
    net:run(1)
    found = find "a.example"
    assert.equal("0 udp:10.0.0.11:5060", found.places)
    assert.equal(0, found.took)
    assert.equal("a.example A, a.example A", world:asked())
  end)

  it("has a floor and a ceiling", function()
    open "sip.settings { dns = { ttl_min = 10, ttl_max = 100 } }"
    assert.equal(10, find("short.example").ttl)
    assert.equal(100, find("long.example").ttl)
  end)

  it("does not keep a TTL of 0", function()
    assert.equal(0, find("zero.example").ttl)
    assert.equal("0 udp:10.0.0.3:5060", find("zero.example").places)
    assert.equal("zero.example A, zero.example A", world:asked())
  end)

  it("asks once for all who wait", function()
    net:resolver("slow", 0.4)
    for _ = 1, 5 do
      world:begin "sip:a.example:5060"
    end
    net:run(1)
    assert.equal(5, #world:said())
    assert.equal("a.example A", world:asked())
  end)

  it("knows for a while that there is nothing", function()
    assert.equal("dns_none", find("gone.example").places)
    net:run(7)
    assert.equal("dns_none", find("gone.example").places)
    assert.equal("gone.example A", world:asked())
    net:dns("gone.example", "10.0.0.5")
    net:run(4)
    assert.equal("0 udp:10.0.0.5:5060", find("gone.example").places)
  end)

  it("knows it for 30 seconds at most", function()
    assert.equal("dns_none", find("never.example").places)
    net:dns("never.example", "10.0.0.5")
    net:run(31)
    assert.equal("0 udp:10.0.0.5:5060", find("never.example").places)
  end)

  it("is not changed by what fails", function()
    find "a.example"
    for _, mode in ipairs { "servfail", "garbage", "silent", "refuse" } do
      net:resolver(mode)
      net:run(10)
      assert.equal("0 udp:10.0.0.1:5060", find("a.example").places, mode)
    end
    net:resolver "ok"
    net:run(25)
    assert.False(find("a.example").stale)
  end)

  it("serves what has run out while the resolver is dead", function()
    find "a.example"
    net:resolver "silent"
    net:run(61)
    local found = find "a.example"
    assert.equal("0 udp:10.0.0.1:5060", found.places)
    assert.is_true(found.stale)
    assert.near(1, found.took, 0.01) -- only the first one waits
    found = find "a.example"
    assert.is_true(found.stale)
    assert.equal(0, found.took)
    net:run(3000)
    assert.is_true(find("a.example").stale)
    assert.equal(3, dns_metric "stale")
    net:run(700) -- more than an hour in all
    assert.equal("dns_timeout", find("a.example").places)
  end)

  it("tries again every 30 seconds then, and is back at once", function()
    find "a.example"
    net:resolver "refuse"
    net:run(61)
    world:asked()
    for _ = 1, 60 do
      assert.is_true(find("a.example").stale)
      net:run(1)
    end
    assert.equal("a.example A, a.example A", world:asked())
    net:resolver "ok"
    net:run(30)
    find "a.example" -- asks for it
    net:run(1)
    local found = find "a.example"
    assert.False(found.stale)
    assert.near(59, found.ttl, 1)
  end)

  it("does not serve it when told not to", function()
    open "sip.settings { dns = { stale = 0 } }"
    find "a.example"
    net:resolver "refuse"
    net:run(61)
    assert.equal("dns_timeout", find("a.example").places)
  end)

  it("asks anew when a reload changes the servers, and only then", function()
    local listen = '"udp:0.0.0.0:5060"'
    find "a.example"
    world:reload { listen = listen, settings = "sip.settings { dns = { negative = 5 } }" }
    find "a.example"
    assert.equal("a.example A", world:asked())
    local settings = 'sip.settings { dns = { servers = { "10.9.9.9" } } }'
    world:reload { listen = listen, settings = settings }
    net:dns("a.example", "10.0.0.11")
    assert.equal("0 udp:10.0.0.11:5060", find("a.example").places)
    net:resolver "silent"
    world:reload { listen = listen }
    assert.equal("0 udp:10.0.0.11:5060", find("a.example").places) -- better than none
  end)

  it("says once that nobody answers, and once that somebody does", function()
    net:resolver "silent"
    for i = 1, 5 do
      find(("name%d.example"):format(i))
    end
    net:resolver "ok"
    find "a.example"
    find "short.example"
    assert.equal(1, net:count "dns.down")
    assert.equal(1, net:count("dns.down", { reason = "timeout" }))
    assert.equal(1, net:count "dns.up")
  end)

  it("gives a name that failed another chance when somebody is back", function()
    net:resolver "refuse"
    for _ = 1, 3 do
      assert.equal("dns_timeout", find("a.example").places)
      net:run(9)
    end
    net:resolver "ok"
    find "short.example"
    assert.equal("0 udp:10.0.0.1:5060", find("a.example").places)
  end)
end)

sim.for_workers("a look-up", function(workers)
  local world, net

  before_each(function()
    world = resolve.new { workers = workers, dns = zone, listen = '"udp:0.0.0.0:5060"' }
    net = world.net
  end)

  after_each(sim.finish)

  it("ends after 2 seconds", function()
    net:resolver("slow", 10)
    local found = world:resolve "sip:a.example"
    assert.equal("dns_timeout", found.places)
    assert.near(2, found.took, 0.001)
  end)

  it("ends after what is set", function()
    world = resolve.new {
      workers = workers, dns = zone, settings = "sip.settings { dns = { timeout = 0.5 } }",
    }
    world.net:resolver("slow", 10)
    assert.near(0.5, world:resolve("sip:a.example:5060").took, 0.001)
  end)

  it("gives what was found by then", function()
    local found = world:resolve "sip:two.example;transport=udp"
    assert.equal("0 udp:10.0.0.1:5060", found.places)
    assert.near(1.5, found.took, 0.01) -- then the resolver has given up
    assert.is_true(found.ttl <= 5)
  end)

  it("goes on without NAPTR when that is never answered", function()
    net:dns("a.example", { "10.0.0.1", fail = "silent" })
    net:dns("_sip._udp.a.example", { target = "short.example" })
    local found = world:resolve "sip:a.example"
    assert.equal("0 udp:10.0.0.2:5060", found.places)
    assert.near(1, found.took, 0.01)
  end)

  it("does not take the host for what SRV would have said", function()
    net:dns("_sip._udp.a.example", { { target = "short.example" }, fail = "servfail" })
    assert.equal("dns_timeout", world:resolve("sip:a.example;transport=udp").places)
  end)
end)
