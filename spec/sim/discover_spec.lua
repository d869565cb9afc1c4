-- Pools that find their servers in DNS, on the wire: who gets the calls, what becomes of
-- calls when records change, and when nobody answers any more.
local sim = require "support.sim"

local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local trunk = sip.pool("trunk", {
  discover = { "sip:trunk.example", %s }, %s
})
sip.route(function(req)
  if not req:relay(trunk, { attempts = 3 }) then return req:reply(500) end
end)
]]

local number = "sip:100@example.com"

local function srv(target, priority, weight)
  return { target = target .. ".trunk.example", priority = priority, weight = weight, ttl = 30 }
end

local function records(list)
  return {
    ["_sip._udp.trunk.example"] = list,
    ["gw1.trunk.example"] = { "10.0.0.1", ttl = 30 },
    ["gw2.trunk.example"] = { "10.0.0.2", ttl = 30 },
    ["gw3.trunk.example"] = { "10.0.0.3", ttl = 30 },
  }
end

local two = { srv("gw1", 1, 75), srv("gw2", 1, 25), srv("gw3", 2) }

sim.for_workers("a pool with discover", function(workers)
  local net, gw1, gw2, alice

  local function start(options)
    options = options or {}
    net = sim.new {
      source = source:format(options.discover or "", options.pool or ""),
      dns = records(options.list or two), workers = workers,
    }
    gw1, gw2 = net:uas("10.0.0.1", "gw1"), net:uas("10.0.0.2", "gw2")
    net:uas("10.0.0.3", "gw3")
    alice = net:uac("192.0.2.7", "alice")
    net:run(5)
  end

  local function change(list)
    net:dns("_sip._udp.trunk.example", list)
  end

  local function status(name)
    local server = net.pools.trunk[name .. ".trunk.example"]
    return server and server.status
  end

  -- How many calls each gets, hung up at once.
  local function calls(n)
    local got = { gw1 = 0, gw2 = 0, gw3 = 0 }
    for _ = 1, n do
      local call = alice:call(number)
      assert.equal(200, call.code)
      local name = call.server:match "^gw%d"
      got[name] = got[name] + 1
      alice:bye(call):wait()
    end
    return got
  end

  after_each(sim.finish)

  -- RFC 2782
  it("spreads by weight within the first priority", function()
    start()
    local got = calls(200)
    assert.near(150, got.gw1, 20)
    assert.equal(0, got.gw3)
  end)

  it("goes to the next priority when the first refuses, within the call", function()
    start { pool = "check = false" }
    gw1:refuse()
    gw2:refuse()
    local call = alice:call(number)
    assert.equal("gw3.trunk.example", call.server)
    assert(call.elapsed < 0.1, call.elapsed)
    assert.equal(3, #call.tried)
  end)

  it("counts the codes that the pool names against who was found", function()
    start {
      list = { srv("gw1", 1, 0), srv("gw2", 2, 0) },
      pool = "check = false, passive = { fall = 2, codes = { 500 } }",
    }
    for _, expected in ipairs { "up", "held" } do
      gw1:once("INVITE", 500)
      assert.equal(500, alice:call(number).code)
      net:run(0.01)
      assert.equal(expected, status "gw1")
    end
  end)

  it("uses a new target after the TTL, and the new weights", function()
    start()
    change { srv("gw2", 1, 1), srv("gw3", 1, 1) }
    assert.equal(0, calls(1).gw3)
    net:run(35)
    local got = calls(60)
    assert.equal(0, got.gw1)
    assert.near(30, got.gw3, 12)
    assert.equal(1, net:count("pool.discovered", { left = "gw1.trunk.example" }))
    assert.equal("drain", status "gw1")
  end)

  it("drains a server that has left: its calls go on, new ones go elsewhere", function()
    start { list = { srv("gw1", 1, 0), srv("gw2", 2, 0) } }
    local call = alice:call(number)
    assert.equal("gw1.trunk.example", call.server)
    change { srv("gw2", 2, 0) }
    net:run(35)
    assert.equal("drain", status "gw1")
    assert.same({ gw1 = 0, gw2 = 5, gw3 = 0 }, calls(5))
    net:run(200)
    assert.equal("drain", status "gw1")
    assert.equal(1, net.pools.trunk["gw1.trunk.example"].calls)
    assert.equal(200, alice:bye(call):wait().code)
    assert.equal(1, #gw1:got "BYE")
    net:run(45)
    assert.is_nil(status "gw1")
    assert.equal("up", status "gw2")
  end)

  it("lets calls go on that it has made, also when it is gone", function()
    start { list = { srv("gw1", 1, 0), srv("gw2", 2, 0) } }
    local bob = net:uas("192.0.2.9", "bob")
    local first, second = gw1:call "sip:bob@192.0.2.9", gw1:call "sip:bob@192.0.2.9"
    change { srv("gw2", 1, 0) }
    net:run(100)
    assert.is_nil(status "gw1")
    assert.equal(200, bob:bye(first):wait().code)
    assert.equal(200, gw1:bye(second):wait().code)
  end)

  it("takes it back with what is known of it", function()
    start { list = { srv("gw1", 1, 0), srv("gw2", 2, 0) } }
    gw1:silence()
    net:run(10)
    change { srv("gw2", 1, 0) }
    net:run(22)
    assert.equal("drain", status "gw1")
    change { srv("gw1", 1, 0), srv("gw2", 2, 0) }
    net:run(31)
    assert.equal("down", status "gw1")
    assert.same({ gw1 = 0, gw2 = 3, gw3 = 0 }, calls(3))
  end)

  it("goes on when the resolver is dead, until what is known is too old", function()
    start { discover = "stale = 600" }
    net:resolver "silent"
    net:run(500)
    assert(calls(10).gw1 > 0)
    assert.equal(1, net:count("pool.undiscovered", { reason = "dns_timeout" })
      + net:count("pool.undiscovered", { reason = "stale" }))
    net:run(200)
    assert.equal(500, alice:call(number).code)
    net:resolver "ok"
    net:run(40)
    assert(calls(10).gw1 > 0)
  end)

  it("keeps who is found, when nobody says for long where another one is", function()
    start { discover = "stale = 600" }
    net:dns("gw1.trunk.example", { fail = "servfail" })
    net:run(400)
    local got = calls(20)
    assert(got.gw1 > 0 and got.gw2 > 0)
    net:run(300)
    assert.is_nil(status "gw1")
    assert.same({ gw1 = 0, gw2 = 10, gw3 = 0 }, calls(10))
    net:dns("gw1.trunk.example", { "10.0.0.1", ttl = 30 })
    net:run(65)
    assert.equal("up", status "gw1")
    assert(calls(20).gw1 > 0)
  end)

  it("starts without a resolver, and has servers when there is one", function()
    start { list = {} }
    assert.equal(500, alice:call(number).code)
    change(two)
    net:run(65)
    assert.equal("up", status "gw1")
    calls(3)
  end)

  it("keeps servers and calls over a reload, without a gap", function()
    start()
    local call = alice:call(number)
    net:resolver "silent"
    assert.is_true(net:reload { source = source:format("", "failback = { hold = 1 }") })
    assert.equal("up", status "gw1")
    calls(10)
    assert.equal(200, alice:bye(call):wait().code)
  end)

  -- What a server leaves behind is given up with its place, at the latest.
  it("does not grow, however many servers come and go", function()
    start { pool = "check = false" }
    local node, n = net.nodes[1], 1
    local function round(times)
      for _ = 1, times do
        n = n + 1
        local name = ("m%03d"):format(n)
        net:dns(name .. ".trunk.example", ("10.1.%d.%d"):format(n // 200, n % 200 + 1))
        change { srv(name, 1, 1) }
        net:run(60)
        assert.equal("up", status(name))
      end
    end
    local function bytes()
      local core, lua = {}, 0
      net.world:collect(node.id)
      for i = 1, workers do
        local stats = node:stats(i)
        core[i], lua = stats.bytes, lua + stats.lua_bytes
        core[0] = stats.node_bytes
      end
      return core, lua
    end
    round(60)
    local core, lua = bytes()
    round(300)
    local core_after, lua_after = bytes()
    assert.same(core, core_after)
    assert.near(lua, lua_after, 90000) -- Lua's own table of strings doubles and halves
  end)

  it("keeps them until there is something, or nothing, of a name that a reload gave", function()
    start()
    net:dns("_sip._udp.other.example", { srv("gw3", 1, 1) })
    local other = source:format("", ""):gsub("trunk%.example", "other.example")
    local third = source:format("", ""):gsub("trunk%.example", "third.example")
    assert.is_true(net:reload { source = other })
    assert.equal(200, alice:call(number).code)
    net:run(1)
    assert.same({ "drain", "up" }, { status "gw1", status "gw3" })
    assert.same({ gw1 = 0, gw2 = 0, gw3 = 5 }, calls(5))
    assert.is_true(net:reload { source = third })
    net:run(1)
    assert.equal(500, alice:call(number).code)
  end)

  it("asks for the name that leads to a server now, not the one that did", function()
    start { discover = 'rewrite = "host"' }
    calls(3)
    net:dns("_sip._udp.other.example", { srv("gw1", 1, 1) })
    local other = source:format('rewrite = "host"', "check = { interval = 2 }")
      :gsub("trunk%.example", "other.example")
    assert.is_true(net:reload { source = other })
    net:run(5)
    calls(1)
    local invites, checks = gw1:got "INVITE", gw1:got "OPTIONS"
    assert.equal("sip:100@other.example", invites[#invites].uri)
    assert.equal("sip:other.example", checks[#checks].uri)
  end)

  it("gives up what DNS said of a server that the script names itself", function()
    start { discover = "stale = 60" }
    net:resolver "silent"
    net:run(100)
    assert.equal(500, alice:call(number).code)
    local servers = 'servers = { { name = "gw1.trunk.example", uri = "sip:10.0.0.1" } }'
    assert.is_true(net:reload { source = source:gsub("discover = [^}]+}", servers):format "" })
    assert.equal("up", status "gw1")
    assert.equal(200, alice:call(number).code)
  end)

  it("ends the check of a server that goes", function()
    start { pool = [[check = { interval = 2, timeout = 1.9, method = function(server)
      sip.sleep(1.8)
      return server.uri ~= nil
    end }]] }
    change { srv("gw2", 1, 1) }
    net:run(100)
    assert.is_nil(status "gw1")
    assert.is_nil(status "gw3")
    assert.equal(0, net:count "lua.error")
  end)

  it("knows a request from one of its servers", function()
    start()
    local bob = net:uas("192.0.2.9", "bob")
    net:run(1)
    local call = net:uac("10.0.0.2:5070", "gw2 calling"):call("sip:bob@192.0.2.9")
    assert.equal(200, call.code)
    assert.equal(1, #bob:got "INVITE")
    -- who is none of them is routed by the script
    assert.not_equal("bob", alice:call("sip:bob@192.0.2.9").server)
  end)
end)

-- Transports, families and who the servers are.
sim.for_workers("discover over", function(workers)
  local net, alice

  local function start(names, dns)
    net = sim.new {
      source = ([[
local sip = require "tandem"
sip.listen {
  "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060", "udp:[::]:5060",
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" },
}
local trunk = sip.pool("trunk", { discover = { %s }, check = false })
sip.route(function(req)
  if not req:relay(trunk, { attempts = 3 }) then return req:reply(500) end
end)
]]):format(names), dns = dns, workers = workers, addr = { "192.0.2.1", "2001:db8::1" },
    }
    alice = net:uac("192.0.2.7", "alice")
  end

  after_each(sim.finish)

  it("TLS: a target has to be who was asked for, not what SRV calls it", function()
    start([["sips:trunk.example"]], {
      ["_sips._tcp.trunk.example"] = {
        { priority = 1, port = 5061, target = "gw1.trunk.example" },
        { priority = 2, port = 5061, target = "gw2.trunk.example" },
      },
      ["gw1.trunk.example"] = "10.0.0.1", ["gw2.trunk.example"] = "10.0.0.2",
    })
    net:uas("tls:10.0.0.1", { name = "gw1", tls = { names = { "gw1.trunk.example" } } })
    local gw2 = net:uas("tls:10.0.0.2", { name = "gw2", tls = { names = { "trunk.example" } } })
    net:run(1)
    local call = alice:call(number)
    assert.same({ "gw1.trunk.example", "gw2.trunk.example" }, call.tried)
    assert.equal("tls", gw2:got("INVITE")[1].transport)
    assert.equal(200, alice:bye(call):wait().code)
  end)

  it("what NAPTR prefers, and then what it names next", function()
    start([["sip:trunk.example"]], {
      ["trunk.example"] = {
        { service = "SIP+D2T", order = 1, replacement = "_sip._tcp.trunk.example" },
        { service = "SIP+D2U", order = 2, replacement = "_sip._udp.trunk.example" },
      },
      ["_sip._tcp.trunk.example"] = { { target = "gw.trunk.example" } },
      ["_sip._udp.trunk.example"] = { { target = "gw.trunk.example" } },
      ["gw.trunk.example"] = "10.0.0.1",
    })
    local gw = net:uas("10.0.0.1", { name = "gw", transports = { "udp", "tcp" } })
    net:run(1)
    assert.equal(1, net.pools.trunk["gw.trunk.example-tcp"].tier)
    assert.equal(2, net.pools.trunk["gw.trunk.example-udp"].tier)
    assert.equal(200, alice:call(number).code)
    assert.equal("tcp", gw:got("INVITE")[1].transport)
  end)

  it("both families, as one target with one weight", function()
    start([["sip:trunk.example;transport=udp"]], {
      ["_sip._udp.trunk.example"] = {
        { target = "two.trunk.example", weight = 50 },
        { target = "one.trunk.example", weight = 50 },
      },
      ["two.trunk.example"] = { "10.0.0.2", "2001:db8::2" }, ["one.trunk.example"] = "10.0.0.1",
    })
    local one = net:uas("10.0.0.1", "one")
    net:uas("10.0.0.2", "two")
    net:uas("[2001:db8::2]", "six")
    net:run(1)
    assert.equal(50, net.pools.trunk["two.trunk.example-2001-db8--2"].weight)
    assert.equal(100, net.pools.trunk["one.trunk.example"].weight)
    for _ = 1, 60 do
      assert.equal(200, alice:bye(alice:call(number)):wait().code)
    end
    assert.near(30, #one:got "INVITE", 12)
  end)

  it("an address that is no name at all, and a second name behind it", function()
    start([["sip:10.0.0.1", "sip:backup.example:5080"]], { ["backup.example"] = "10.0.0.2" })
    net:uas("10.0.0.2:5080", "backup")
    net:run(1)
    local call = alice:call(number)
    assert.same({ "10.0.0.1", "backup.example" }, call.tried)
    assert.equal("backup.example", call.server)
  end)
end)

-- Somewhere on the way from the answer to the servers there is no memory. What was to
-- change has changed a minute later at the latest, in every worker.
sim.for_workers("discover without memory", function(workers)
  after_each(sim.finish)

  local function gone(net)
    return net.pools.trunk["gw1.trunk.example"] == nil
  end

  for _, case in ipairs {
    { "lua", 1, 23 }, { "lua", 2, 23 }, { "core", 1, 3 }, { "node", 1, 3 },
  } do
    local which, worker, step = table.unpack(case)
    if worker <= workers then
      it(("only takes longer (%s, worker %d)"):format(which, worker), function()
        local failed = 0
        for n = 1, 8 * step, step do
          local net = sim.new {
            source = source:format("", "check = { interval = 5 }"),
            dns = records { srv("gw1", 1, 0) }, workers = workers,
          }
          net:uas("10.0.0.1", "gw1")
          local gw2, alice = net:uas("10.0.0.2", "gw2"), net:uac("192.0.2.7", "alice")
          local node = net.nodes[1]
          net:run(10)
          net:dns("_sip._udp.trunk.example", { srv("gw2", 1, 0) })
          net:run(19)
          node:fail_alloc(n, { which = which, worker = worker, row = 10 })
          net:run(4)
          local n_allocs = node:fail_alloc(0, { which = which, worker = worker })
          failed = failed + (n_allocs >= n and 1 or 0)
          net:run(70)
          for _ = 1, 6 do -- of any worker
            local call = alice:call(number)
            assert.same({ 200, "gw2.trunk.example" }, { call.code, call.server })
            alice:bye(call):wait()
          end
          assert.equal(6, #gw2:got "BYE")
          net:run(70)
          assert.is_true(gone(net))
          net:finish { errors = net:count "lua.error" }
        end
        assert(failed > 3, failed)
      end)
    end
  end

  for _, which in ipairs { "core", "node", "lua" } do
    it(("a reload that fails changes nothing (%s)"):format(which), function()
      local net = sim.new {
        source = source:format("", ""), dns = records { srv("gw1", 1, 0) }, workers = workers,
      }
      net:uas("10.0.0.1", "gw1")
      local alice, node = net:uac("192.0.2.7", "alice"), net.nodes[1]
      net:run(5)
      local n, failed, step = 1, 0, which == "lua" and 97 or 1
      local ok
      repeat
        node:fail_alloc(n, { which = which, worker = 1 })
        ok = net:reload { source = source:format("max = 32", "check = { interval = 5 }") }
        node:fail_alloc(0, { which = which, worker = 1 })
        assert.equal("up", net.pools.trunk["gw1.trunk.example"].status)
        local call = alice:call(number)
        assert.equal(200, call.code)
        assert.equal(200, alice:bye(call):wait().code)
        n, failed = n + step, failed + (ok and 0 or 1)
      until ok or n > 40 * step
      assert(failed >= (which == "node" and 4 or 0), failed)
      net:run(40)
      assert.equal(200, alice:call(number).code)
      net:finish { errors = net:count "lua.error" }
    end)
  end
end)
