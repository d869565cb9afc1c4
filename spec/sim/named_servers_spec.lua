-- Servers that are known by name: looked up ahead of the calls, again at the TTL, and
-- used as long as nothing better is known (semantics 12).
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { %s }, %s })
sip.route(function(req) return req:relay(pbx) end)
sip.route("*from_server", function(req) return req:reply(603, req.source.server.name) end)
]]

local one_server = '{ name = "a", uri = "sip:pbx.example.com" }'
local two_tiers = '{ name = "a", uri = "sip:pbx.example.com" }, '
  .. '{ name = "b", uri = "sip:backup.example.com", tier = 2 }'

sim.for_workers("a server that is known by name", function(workers)
  local net, one, two, alice

  -- opts: servers, pool (options), dns, listen, resolver
  local function open(opts)
    local source = frame:format(opts.servers or one_server, opts.pool or "check = false")
    if opts.listen then
      source = source:gsub("sip%.listen { ", '%0"' .. opts.listen .. '", ')
    end
    net = sim.new {
      source = source,
      workers = workers, addr = opts.addr,
      dns = opts.dns or { ["pbx.example.com"] = { "10.0.0.1", ttl = 60 } },
    }
    one, two = net:uas("10.0.0.1", "one"), net:uas("10.0.0.2", "two")
    alice = net:uac("192.0.2.7", "alice")
  end

  after_each(sim.finish)

  local function addresses()
    local list = {}
    for i, address in ipairs(net.pools.pbx.a.addresses) do
      list[i] = address.address
    end
    table.sort(list)
    return table.concat(list, " ")
  end

  local function count(ua)
    return #ua:got "INVITE"
  end

  -- How often a name was asked for.
  local function asked(name, kind)
    local n = 0
    for _, query in ipairs(net:queries()) do
      n = n + (query.name == name and query.type == (kind or "A") and 1 or 0)
    end
    return n
  end

  it("is found when the script is loaded, once for all workers", function()
    open {}
    net:run(1)
    assert.equal("10.0.0.1:5060", addresses())
    local queries = #net:queries()
    for _ = 1, 10 do
      local call = alice:call(uri)
      assert.same({ 200, "a" }, { call.code, call.server })
    end
    assert.equal(queries, #net:queries())
    assert.equal(1, asked "pbx.example.com")
    assert.equal(10, count(one))
  end)

  it("has no place before that: calls go elsewhere, and that says nothing", function()
    open { servers = two_tiers, dns = {
      ["backup.example.com"] = { "10.0.0.2", ttl = 60 }, ["pbx.example.com"] = { fail = "silent" },
    } }
    net:run(1)
    for _ = 1, 5 do
      local call = alice:call(uri)
      assert.equal(200, call.code)
      assert.near(0, call.elapsed, 0.02)
    end
    assert.equal(5, count(two))
    for _, event in ipairs(net.events) do
      assert(not (event.tried or ""):find "pbx/a", event.tried)
    end
    assert.same({ "unknown", "up", "" }, { net.pools.pbx.a.health, net.pools.pbx.a.status,
      addresses() })
  end)

  describe("and was never found", function()
    local other = '{ name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:never.example" }'

    it("is no reason not to try who is down, when nobody else is left", function()
      open { servers = other, pool = "check = { interval = 2 }", dns = {} }
      one:answer("OPTIONS", 503)
      net:run(20)
      assert.equal("down", net.pools.pbx.a.status)
      assert.equal(200, alice:call(uri).code)
    end)

    it("leaves the last candidate all the time that one has", function()
      open { servers = other, pool = "check = false", dns = {} }
      one:answer("INVITE", 200, nil, 10)
      local call = alice:call(uri)
      assert.same({ 200, { "a" } }, { call.code, call.tried })
    end)

    it("is not who is left, so that calls may take out the last other one", function()
      open { servers = other, dns = {} }
      net:run(1)
      one:silence()
      for _ = 1, 4 do
        assert.equal(500, alice:call(uri).code)
      end
      assert.equal("up", net.pools.pbx.a.status)
      assert(net:count("server.kept", { server = "a" }) > 0)
      one:resume()
      assert.equal(200, alice:call(uri).code)
    end)
  end)

  it("moves with its address at the TTL; calls that are up stay where they are", function()
    open {}
    net:run(1)
    local first = alice:call(uri)
    net:dns("pbx.example.com", { "10.0.0.2", ttl = 60 })
    net:run(30)
    assert.equal(200, alice:call(uri).code)
    assert.equal(2, count(one))
    net:run(31)
    assert.equal("10.0.0.2:5060", addresses())
    assert.equal(200, alice:call(uri).code)
    assert.same({ 2, 1 }, { count(one), count(two) })
    assert.equal(200, alice:bye(first):wait().code)
    assert.same({ 1, 0 }, { #one:got "BYE", #two:got "BYE" })
    assert.equal(1, net:count("server.resolved", { addresses = "10.0.0.2:5060;transport=udp" }))
  end)

  it("keeps all that was known when nobody answers, and old answers end one by one", function()
    local function srv(name)
      return { target = name .. ".example.com", priority = 1, weight = 1, ttl = 3000 }
    end
    open { dns = {
      ["_sip._udp.pbx.example.com"] = { srv "one", srv "two" },
      ["one.example.com"] = { "10.0.0.1", ttl = 60 },
      ["two.example.com"] = { "10.0.0.2", ttl = 3000 },
    } }
    net:run(5)
    net:resolver "silent"
    for _ = 1, 3 do
      net:run(2000) -- after 3700 the first has run out for too long, the second has not
      assert.equal("10.0.0.1:5060 10.0.0.2:5060", addresses())
    end
  end)

  it("uses an address no longer that is gone from DNS", function()
    open { dns = { ["pbx.example.com"] = { "10.0.0.1", "10.0.0.2", ttl = 10 } } }
    net:run(1)
    assert.equal("10.0.0.1:5060 10.0.0.2:5060", addresses())
    net:dns("pbx.example.com", { "10.0.0.2", ttl = 10 })
    net:run(11)
    assert.equal("10.0.0.2:5060", addresses())
    for _ = 1, 10 do
      assert.equal(200, alice:call(uri).code)
    end
    assert.same({ 0, 10 }, { count(one), count(two) })
  end)

  it("is tried at its other address when one is closed, at once", function()
    open { dns = { ["pbx.example.com"] = { "10.0.0.1", "10.0.0.2", ttl = 60 } } }
    net:run(1)
    one:refuse()
    for _ = 1, 10 do
      local call = alice:call(uri)
      assert.equal(200, call.code)
      assert(call.elapsed < 0.05, call.elapsed)
    end
    assert.equal(10, count(two))
    assert.equal("up", net.pools.pbx.a.status)
  end)

  it("is tried at its other address next time when one is silent", function()
    open { dns = { ["_sip._udp.pbx.example.com"] = {
      { priority = 1, weight = 1, port = 5060, target = "one.example.com" },
      { priority = 2, weight = 1, port = 5060, target = "two.example.com" },
    }, ["one.example.com"] = "10.0.0.1", ["two.example.com"] = "10.0.0.2" } }
    net:run(1)
    one:silence()
    local call = alice:call(uri)
    assert.equal(500, call.code)
    assert.equal(0, count(two))
    call = alice:call(uri)
    assert.equal(200, call.code)
    assert.near(0, call.elapsed, 0.02)
    assert.equal(1, count(two))
    net:run(1)
  end)

  for _, mode in ipairs { "silent", "refuse", "servfail", "garbage" } do
    it(("is found when the resolver answers that was bad at the start: %s"):format(mode), function()
      open {}
      net:resolver(mode)
      net:run(10)
      assert.equal("", addresses())
      assert.equal(500, alice:call(uri).code)
      assert.equal(1, net:count("server.unresolved", { server = "a", known = 0 }))
      net:resolver "ok"
      net:run(35)
      assert.equal("10.0.0.1:5060", addresses())
      assert.equal(200, alice:call(uri).code)
      assert.equal(1, net:count "server.resolved")
    end)

    it(("stays where it was when the resolver is bad later: %s"):format(mode), function()
      open {}
      net:run(1)
      net:resolver(mode)
      net:run(1000)
      assert.equal("10.0.0.1:5060", addresses())
      assert.equal(200, alice:call(uri).code)
      assert.equal(1, net:count("server.unresolved", { server = "a", known = 1 }))
      net:resolver "ok"
      net:dns("pbx.example.com", { "10.0.0.2", ttl = 60 })
      net:run(65)
      assert.equal("10.0.0.2:5060", addresses())
    end)
  end

  it("stays where it was when its name is gone", function()
    open {}
    net:run(1)
    net:dns("pbx.example.com", nil)
    net:run(1000)
    assert.equal(200, alice:call(uri).code)
    assert.equal(1, net:count("server.unresolved", { reason = "dns_none", known = 1 }))
  end)

  it("is reached by the families that we have", function()
    open {
      addr = "10.0.0.100",
      dns = { ["pbx.example.com"] = { "2001:db8::1", "10.0.0.1", ttl = 60 } },
    }
    net:run(1)
    assert.equal("10.0.0.1:5060", addresses())
    assert.equal(200, alice:call(uri).code)
  end)

  it("is reached by the other family when we have no address of one", function()
    open {
      addr = "10.0.0.100", listen = "udp:[::]:5060",
      dns = { ["pbx.example.com"] = { "2001:db8::1", "10.0.0.1", ttl = 60 } },
    }
    net:run(1)
    assert.equal("10.0.0.1:5060 [2001:db8::1]:5060", addresses())
    for _ = 1, 5 do
      local call = alice:call(uri)
      assert.equal(200, call.code)
      assert.near(0, call.elapsed, 0.02)
    end
    assert.equal("up", net.pools.pbx.a.status)
  end)

  -- RFC 3263 4
  it("is where maddr says, whatever its host is", function()
    open { servers = '{ name = "a", uri = "sip:10.0.0.1;maddr=10.0.0.2" }' }
    net:run(1)
    assert.same({ "10.0.0.2:5060", 0 }, { addresses(), #net:queries() })
    assert.equal(200, alice:call(uri).code)
    assert.same({ 0, 1 }, { count(one), count(two) })
  end)

  it("is the server that a request comes from, at any of its addresses", function()
    open { dns = { ["pbx.example.com"] = { "10.0.0.1", "10.0.0.2", ttl = 10 } } }
    net:run(1)
    for _, ua in ipairs { one, two } do
      local answer = ua:ask("MESSAGE", "sip:carol@example.com")
      assert.same({ 603, "a" }, { answer.code, answer.reason })
    end
    net:dns("pbx.example.com", { "10.0.0.1", ttl = 10 })
    net:run(11)
    two:ask("MESSAGE", "sip:carol@example.com") -- anybody's: it goes to the pool
    assert.equal(1, #one:got "MESSAGE")
  end)

  it("keeps its name in the Request-URI, if the script wants that there", function()
    open { servers = '{ name = "a", uri = "sip:pbx.example.com", rewrite = "host" }' }
    net:run(1)
    alice:call(uri)
    assert.equal("sip:bob@pbx.example.com", one:got("INVITE")[1].uri)
  end)

  describe("and is checked,", function()
    it("is asked when it has been found; under its name", function()
      open { pool = "" }
      net:run(3)
      assert.equal("sip:pbx.example.com", one:got("OPTIONS")[1].uri)
      assert.equal("up", net.pools.pbx.a.health)
    end)

    it("gives way to the next tier when all addresses are dead, and comes back", function()
      open { servers = two_tiers, pool = "failback = { hold = 10 }", dns = {
        ["pbx.example.com"] = { "10.0.0.1", "10.0.0.3", ttl = 600 },
        ["backup.example.com"] = "10.0.0.2",
      } }
      local three = net:uas("10.0.0.3", "three")
      net:run(5)
      one:silence()
      net:run(6)
      assert.equal("up", net.pools.pbx.state)
      assert.equal("a", alice:call(uri).server)
      three:silence()
      net:run(6)
      assert.same({ "backup", "down" }, { net.pools.pbx.state, net.pools.pbx.a.health })
      assert.equal("b", alice:call(uri).server)
      one:resume()
      net:run(5)
      assert.equal("backup", net.pools.pbx.state)
      net:run(11)
      assert.equal("up", net.pools.pbx.state)
      assert.equal("a", alice:call(uri).server)
      assert.equal(1, count(one))
    end)

    it("is asked at once at a new address", function()
      open { pool = "check = { interval = 30 }",
        dns = { ["pbx.example.com"] = { "10.0.0.1", ttl = 40 } } }
      net:run(20)
      net:dns("pbx.example.com", { "10.0.0.2", ttl = 40 })
      net:run(25)
      assert.equal(1, #two:got "OPTIONS")
      assert.equal("up", net.pools.pbx.a.health)
    end)
  end)

  it("is who its name says, over TLS, for checks and calls at each address", function()
    net = sim.new { workers = workers,
      dns = { ["_sips._tcp.pbx.example.com"] = {
        { priority = 1, weight = 1, port = 5061, target = "one.example.com" },
        { priority = 2, weight = 1, port = 5061, target = "two.example.com" },
      }, ["one.example.com"] = "10.0.0.1", ["two.example.com"] = "10.0.0.2" },
      source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060",
          { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" } }
        local pbx = sip.pool("pbx", { servers = {
          { name = "a", uri = "sip:pbx.example.com;transport=tls" } } })
        sip.route(function(req) return req:relay(pbx) end)
      ]] }
    one = net:uas("tls:10.0.0.1", { name = "one", tls = { names = { "one.example.com" } } })
    two = net:uas("tls:10.0.0.2", { name = "two", tls = { names = { "pbx.example.com" } } })
    alice = net:uac("192.0.2.7", "alice")
    net:run(8)
    local list = net.pools.pbx.a.addresses
    assert.same({ "10.0.0.1:5061", "tls", "down" },
      { list[1].address, list[1].transport, list[1].health })
    assert.same({ "10.0.0.2:5061", "tls", "up" },
      { list[2].address, list[2].transport, list[2].health })
    assert.equal(1, net:count("address.health", { to = "down", reason = "tls_identity" }))
    assert.equal(200, alice:call(uri).code)
    assert.same({ 0, 1 }, { count(one), count(two) })
  end)

  describe("after a reload", function()
    it("is where it was before, without a gap, whatever the resolver does", function()
      open {}
      net:run(1)
      net:resolver "silent"
      assert(net:reload())
      assert.equal(200, alice:call(uri).code)
      net:run(200)
      assert(net:reload())
      assert.equal(200, alice:call(uri).code)
      assert.equal(2, count(one))
    end)

    it("is another one under another name", function()
      open { dns = { ["pbx.example.com"] = "10.0.0.1", ["new.example.com"] = "10.0.0.2" } }
      net:run(1)
      local source = frame:format('{ name = "a", uri = "sip:new.example.com" }', "check = false")
      assert(net:reload { source = source })
      net:run(1)
      assert.equal("10.0.0.2:5060", addresses())
      assert.equal(200, alice:call(uri).code)
      assert.same({ 0, 1 }, { count(one), count(two) })
    end)

    it("is where it was when the script cannot be loaded for lack of memory", function()
      open {}
      net:run(1)
      local source = frame:format('{ name = "a", uri = "sip:new.example.com" }', "check = false")
      local node, n = net.nodes[1], 0
      repeat
        n = n + 1
        node:fail_alloc(n, { which = "core", worker = workers })
        local ok = net:reload { source = source }
        node:fail_alloc(0, { which = "core", worker = workers })
        if not ok then
          assert.equal("10.0.0.1:5060", addresses())
          assert.equal(200, alice:call(uri).code)
        end
      until ok
      net:run(20)
    end)

    it("has an address where it had a name, and the other way round", function()
      open {}
      net:run(1)
      assert(net:reload { source = frame:format('{ name = "a", uri = "sip:10.0.0.2" }',
        "check = false") })
      assert.equal(200, alice:call(uri).code)
      assert.equal(1, count(two))
      assert(net:reload { source = frame:format(one_server, "check = false") })
      net:run(1)
      assert.equal(200, alice:call(uri).code)
      assert.equal(1, count(one))
    end)
  end)
end)

sim.for_workers("memory that runs out", function(workers)
  after_each(sim.finish)

  for _, which in ipairs { "lua", "core" } do
    it(("costs a look-up, but never the look-ups (%s)"):format(which), function()
      for n = 1, 120, 13 do
        local net = sim.new {
          source = frame:format(one_server, ""), workers = workers,
          dns = { ["pbx.example.com"] = { "10.0.0.1", ttl = 5 } },
        }
        local two, alice = net:uas "10.0.0.2", net:uac "192.0.2.7"
        net:run(4)
        net:dns("pbx.example.com", { "10.0.0.2", "10.0.0.3", ttl = 5 })
        net.nodes[1]:fail_alloc(n, { which = which, row = 20 })
        net:run(4)
        net.nodes[1]:fail_alloc(0, { which = which })
        net:run(90)
        local healths = {}
        for _, address in ipairs(net.pools.pbx.a.addresses) do
          healths[address.address] = address.health
        end
        assert.same({ ["10.0.0.2:5060"] = "up", ["10.0.0.3:5060"] = "down" }, healths, n)
        for _ = 1, 4 do
          assert.equal(200, alice:call(uri).code)
        end
        assert.equal(4, #two:got "INVITE", n)
        net:finish { errors = net:count "lua.error" }
      end
    end)
  end
end)

describe("a script with names", function()
  after_each(sim.finish)

  it("loads without DNS, and says what is wrong with a name", function()
    assert.matches("servers%[1%].uri: .*: unknown transport", policy.load_error(frame:format(
      '{ name = "a", uri = "sip:pbx.example.com;transport=sctp" }', "")))
    assert.matches("an IP address expected, with or without a port, got '10.0.0'",
      policy.load_error(frame:format(
        '{ name = "a", uri = "sip:x", addresses = { "10.0.0" } }', "")))
  end)
end)
