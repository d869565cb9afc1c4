-- What operators want otherwise than the script says: in force in all workers or none,
-- kept over reloads and restarts, and given up when the script is changed.
local cjson = require "cjson"
local policy = require "support.policy"
local sim = require "support.sim"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", { check = false, %s servers = {
  { name = "a", uri = "sip:10.0.0.1", %s },
  { name = "b", uri = "sip:10.0.0.2", tier = 2 } } })
sip.route(function(req) return req:relay(pbx) end)
]]

local function script(options)
  options = options or {}
  return frame:format(options.settings or 'sip.settings { state_dir = "/var/lib/tandem" }',
    options.pool or "", options.a or "weight = 10")
end

sim.for_workers("overrides", function(workers)
  after_each(sim.finish)

  local w, node

  local function world(options)
    w = policy.world { workers = workers, source = script(options) }
    node = w.net.nodes[1]
  end

  local function entry(server, what, value)
    return {
      pool = "pbx", server = server, what = what, value = value, who = "ctl root", when = 1,
      is_new = true,
    }
  end

  local function set(...)
    return node:override(cjson.encode { set = { ... } })
  end

  local function order(args)
    args.pool, args.server, args.who = "pbx", args.server or "a", "ctl root"
    return assert(node:ask("order", args))
  end

  local function events(name)
    local list = {}
    for _, event in ipairs(w.net.events) do
      if event.event == name then
        list[#list + 1] = event
      end
    end
    return list
  end

  local function weights()
    local list = {}
    for worker = 1, workers do
      list[worker] = node:inspect("pools", nil, worker)[1].servers[1].weight
    end
    return list
  end

  local function all(value)
    local list = {}
    for worker = 1, workers do
      list[worker] = value
    end
    return list
  end

  it("change a value in all workers, and say so", function()
    world()
    assert.is_true(set(entry("a", "weight", 5)))
    assert.same(all(5), weights())
    assert.equal("pbx/a.weight", events("reload")[1].changed)
  end)

  it("stay over a reload and a restart", function()
    world()
    set(entry("a", "weight", 5), entry("b", "max_calls", 2))
    assert.is_true(node:reload())
    assert.same(all(5), weights())
    node:crash()
    w.net:run(1)
    node:start()
    assert.same(all(5), weights())
    assert.equal(2, node.pools.pbx.b.max_calls)
  end)

  it("give way to a script that says something else", function()
    world()
    set(entry("a", "weight", 5))
    assert.is_true(node:reload { source = script { a = "weight = 20" } })
    assert.same(all(20), weights())
    local dropped = events "override.dropped"
    assert.equal(1, #dropped)
    assert.same({ "pbx", "a", "weight", 5, 10, 20, "ctl root" }, { dropped[1].pool,
      dropped[1].server, dropped[1].what, tonumber(dropped[1].value),
      tonumber(dropped[1].configured), tonumber(dropped[1].now), dropped[1].who })
    assert.equal("", node:kept "overrides.json")
  end)

  it("give way also when the script was changed while nothing ran", function()
    world()
    set(entry("a", "weight", 5))
    node:stop()
    node.opts.source = script { a = "weight = 20" }
    node:start()
    assert.same(all(20), weights())
    assert.equal(1, #events "override.dropped")
  end)

  it("stay when the script changes elsewhere", function()
    world()
    set(entry("a", "weight", 5))
    assert.is_true(node:reload { source = script { a = "weight = 10, max_calls = 7" } })
    assert.same(all(5), weights())
    assert.equal(7, node.pools.pbx.a.max_calls)
  end)

  it("are none when they say what the script says", function()
    world()
    set(entry("a", "weight", 5))
    set(entry("a", "weight", 10))
    assert.equal("", node:kept "overrides.json")
  end)

  it("that are refused change nothing", function()
    world()
    set(entry("a", "weight", 5))
    for _, case in ipairs {
      { entry("a", "weight", -1),
        "overrides: pool 'pbx': servers[1].weight: at least 0 expected, got -1" },
      { entry("x", "weight", 1), "override of pbx/x: there is no such server" },
      { entry("x", "removed", true), "override of pbx/x: there is no such server" },
      { entry("b", "server", { uri = "sip:10.0.0.9" }),
        "override of pbx/b: there is a server of that name already" },
      { { pool = "x", server = "a", what = "weight", value = 1, is_new = true },
        "override of x/a: there is no pool 'x'" },
    } do
      local ok, why = set(case[1])
      assert.is_nil(ok)
      assert.equal(case[2], why)
    end
    assert.same(all(5), weights())
    assert.is_true(node:reload())
    assert.same(all(5), weights())
    local ok, why = node:override '{"set":[{"pool":"pbx"}]}'
    assert.is_nil(ok)
    assert.matches("overrides: edit: set[1]: 'server' is missing", why, 1, true)
  end)

  it("add a server, which takes calls, and gives way to one of the script", function()
    world()
    order { admin = "maint" }
    order { server = "b", admin = "maint" }
    assert.is_true(set(entry("c", "server", { uri = "sip:10.0.0.3", tier = 3 })))
    assert.equal("c", w.alice:call("sip:bob@example.com").server)
    local more = script():gsub('tier = 2 }', 'tier = 2 }, { name = "c", uri = "sip:10.0.0.3" }')
    assert.is_true(node:reload { source = more })
    assert.equal(1, node.pools.pbx.c.tier)
    assert.equal("server", events("override.dropped")[1].what)
  end)

  it("take a server out, whose calls go on", function()
    world()
    local call = w.alice:call "sip:bob@example.com"
    assert.is_true(set(entry("a", "removed", true)))
    assert.equal("b", w.alice:call("sip:bob@example.com").server)
    w.alice:bye(call)
    w.net:run(1)
    assert.equal(1, #w.a:got "BYE")
    assert.is_true(node:override '{"clear":[{"pool":"pbx","server":"a"}]}')
    assert.equal("a", w.alice:call("sip:bob@example.com").server)
  end)

  it("that change what the pool is say so, in the log and to the counters", function()
    world()
    w.net:run(1)
    local function told(from)
      local list = {}
      for i, event in ipairs(w.net.events) do
        if i > from and (event.event == "pool.state" or event.event == "pool.tier") then
          list[#list + 1] = ("%s>%s %s"):format(event.from, event.to, event.reason)
        end
      end
      return list
    end
    local from = #w.net.events
    set(entry("a", "weight", 5))
    assert.same({}, told(from))
    set(entry("a", "removed", true))
    assert.same({ "1>2 reload" }, told(from)) -- that is its first tier now
    assert.equal(1, w.net:metric("tandem_pool_failovers_total", { pool = "pbx" }))
    from = #w.net.events
    set(entry("c", "server", { uri = "sip:10.0.0.3" }))
    assert.same({ "2>1 reload" }, told(from))
    order { server = "c", admin = "drain" }
    from = #w.net.events
    set(entry("b", "removed", true))
    assert.same({ "backup>down reload", "2>0 reload" }, told(from))
    assert.equal(2, w.net:metric("tandem_pool_failovers_total", { pool = "pbx" }))
    from = #w.net.events
    assert.is_true(node:reload())
    w.net:run(30)
    assert.same({}, told(from))
  end)

  it("of a pool that is gone are dropped", function()
    world()
    set(entry("a", "weight", 5))
    assert.is_true(node:reload { source = script():gsub('"pbx"', '"other"') })
    assert.equal(1, #events "override.dropped")
  end)

  it("that are damaged are told of, and the script runs without them", function()
    world()
    set(entry("a", "weight", 5))
    local order_of = '{"orders":[{"pool":"pbx","server":"a","value":"drain",'
      .. '"configured":"ready",%s}]}'
    for _, text in ipairs {
      "{", '{"values":[{"pool":1}]}', '{"values":7}', '{"wrong":1}',
      order_of:format '"ends":1e300', order_of:format '"when":-1e300',
    } do
      node:stop()
      node:kept("overrides.json", text)
      node:start()
      assert.same(all(10), weights())
    end
    assert.equal("overrides.json", events("state.damaged")[1].file)
    assert.equal(6, #events "state.damaged")
  end)

  it("are not kept without a state_dir, and outlive a reload all the same", function()
    world { settings = "" }
    set(entry("a", "weight", 5))
    assert.is_true(node:reload())
    assert.same(all(5), weights())
    node:stop()
    node:start()
    assert.same(all(10), weights())
  end)

  -- ---- orders ----

  it("orders stay over a reload and a restart, to the end of their time", function()
    world()
    order { admin = "drain", seconds = 3600, reason = "kernel" }
    order { server = "b", admin = "maint" }
    assert.is_true(node:reload())
    w.net:run(600)
    node:crash()
    w.net:run(600)
    node:start()
    local a = node.pools.pbx.a
    assert.same({ "drain", "kernel", "ctl root" }, { a.admin, a.admin_why, a.admin_who })
    assert.near(2400, a.admin_left, 1)
    assert.equal("maint", node.pools.pbx.b.admin)
    w.net:run(2401)
    assert.equal("ready", node.pools.pbx.a.admin)
    node:stop()
    node:start()
    assert.equal("ready", node.pools.pbx.a.admin)
    assert.equal("maint", node.pools.pbx.b.admin)
  end)

  it("an order whose time ends while nothing runs is over", function()
    world()
    order { admin = "drain", seconds = 60 }
    node:stop()
    w.net:run(61)
    node:start()
    assert.equal("ready", node.pools.pbx.a.admin)
  end)

  it("an order of a clock that was far off ends in a month", function()
    world()
    order { admin = "drain", seconds = 60 }
    node:stop()
    local kept = cjson.decode(node:kept "overrides.json")
    kept.orders[1].ends = 9e10
    node:kept("overrides.json", cjson.encode(kept))
    node:start()
    assert.near(30 * 86400, node.pools.pbx.a.admin_left, 1)
  end)

  it("a reason is cut between characters in the history", function()
    world()
    order { admin = "drain", reason = "x" .. ("ö"):rep(100) }
    local history = node.pools.pbx.a.history
    assert.equal("x" .. ("ö"):rep(59), history[#history].why)
    order { admin = "ready", reason = ("x"):rep(120) }
    history = node.pools.pbx.a.history
    assert.equal(("x"):rep(120), history[#history].why)
  end)

  it("orders that are taken back are not kept, nor those of scripts", function()
    world { settings = [[
      sip.settings { state_dir = "/x" }
      sip.after(1, function() require("tandem").log.info "x" end)]] }
    order { admin = "drain" }
    assert.matches("drain", node:kept "overrides.json", 1, true)
    order { admin = "ready" }
    assert.equal("", node:kept "overrides.json")
    node:stop()
    node.opts.source = script() .. 'sip.on("start", function() pbx:server("b"):drain "why" end)'
    node:start()
    assert.equal("drain", node.pools.pbx.b.admin)
    assert.equal("", node:kept "overrides.json")
  end)

  it("an order gives way when the script declares something else", function()
    world()
    order { admin = "maint" }
    assert.is_true(node:reload { source = script { a = 'admin = "drain"' } })
    assert.equal("drain", node.pools.pbx.a.admin)
    assert.equal("maint", events("override.dropped")[1].value)
    order { admin = "ready" } -- is an override now
    assert.matches('"ready"', node:kept "overrides.json", 1, true)
    node:stop()
    node:start()
    assert.equal("ready", node.pools.pbx.a.admin)
    node:stop()
    node.opts.source = script()
    node:start()
    assert.equal("ready", node.pools.pbx.a.admin)
    assert.equal(2, #events "override.dropped")
  end)

  it("a server begins as the script declares", function()
    world { a = 'admin = "maint"' }
    assert.equal("maint", node.pools.pbx.a.admin)
    assert.equal("b", w.alice:call("sip:bob@example.com").server)
    assert.equal("server.admin", events("server.admin")[1].event)
    assert.is_true(node:reload { source = script() })
    assert.equal("ready", node.pools.pbx.a.admin)
    assert.equal("a", w.alice:call("sip:bob@example.com").server)
  end)

  it("health down, up and auto", function()
    world { pool = "", settings = "" }
    order { health = "down" }
    assert.equal("down", node.pools.pbx.a.health)
    order { health = "auto" }
    assert.equal("unknown", node.pools.pbx.a.health)
    order { health = "up" }
    assert.equal("up", node.pools.pbx.a.health)
  end)

  it("of what there is not are wrong", function()
    world()
    for _, case in ipairs {
      { { pool = "x", server = "a", admin = "drain" }, "there is no pool 'x'" },
      { { pool = "pbx", server = "x", admin = "drain" }, "pool 'pbx' has no server 'x'" },
      { { pool = "pbx", server = "a", admin = "x" }, "admin is ready, drain or maint" },
    } do
      assert.same({ nil, case[2] }, { node:ask("order", case[1]) })
    end
  end)
end)
