-- What is known of the servers outlives the process.
local cjson = require "cjson"
local sim = require "support.sim"
local policy = require "support.policy"

local function script(more)
  return ([[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
sip.settings { state_dir = "/var/lib/tandem" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  check = { interval = 2, timeout = 1, fall = 3, rise = 2 }, failback = { hold = 60 }, %s
})
sip.route(function(req) return req:relay(pbx) end)
]]):format(more or "")
end

sim.for_workers("a warm start", function(workers)
  after_each(sim.finish)

  local w, node

  local function world(more)
    w = policy.world { workers = workers, source = script(more) }
    node = w.net.nodes[1]
    w.net:run(5)
  end

  local function restart(seconds)
    w.net:run(seconds or 1)
    node:start()
  end

  local function lines(event, match)
    local list = {}
    for _, found in ipairs(w.net.events) do
      if found.event == event and found.server == match then
        list[#list + 1] = found
      end
    end
    return list
  end

  it("knows who was down: the first call does not try it", function()
    world()
    w.a:silence()
    w.net:run(10)
    assert.equal("down", node.pools.pbx.a.status)
    local since = node.pools.pbx.a.since
    node:crash()
    restart()
    assert.equal("down", node.pools.pbx.a.status)
    assert.near(since, node.pools.pbx.a.since, 0.001)
    assert.equal("up", node.pools.pbx.b.status)
    local call = w.alice:call "sip:bob@example.com"
    assert.same({ "b" }, call.tried)
    local list = lines("server.health", "a")
    assert.equal("as before the restart", list[#list].reason)
    assert.equal("none", list[#list].from)
  end)

  it("looks at once whether it still is", function()
    world()
    w.a:silence()
    w.net:run(10)
    node:crash()
    w.a:resume()
    restart()
    w.net:run(3)
    assert.equal("up", node.pools.pbx.a.health)
    assert.equal("held", node.pools.pbx.a.status) -- it has to prove itself, as ever
    w.net:run(60)
    assert.equal("up", node.pools.pbx.a.status)
  end)

  it("keeps holds with what is left of them, and falls", function()
    world()
    w.a:silence()
    w.net:run(10)
    w.a:resume()
    w.net:run(10)
    local held = node.pools.pbx.a.held_for
    assert.is_true(held > 40)
    w.net:run(2)
    node:crash()
    restart(3)
    assert.near(held - 5, node.pools.pbx.a.held_for, 0.1)
    assert.equal(1, node.pools.pbx.a.falls)
    w.net:run(held - 4)
    assert.equal("up", node.pools.pbx.a.status)
  end)

  it("keeps the history", function()
    world()
    w.a:silence()
    w.net:run(10)
    local before = node.pools.pbx.a.history
    node:stop()
    restart(3600)
    assert.same(before, node.pools.pbx.a.history)
  end)

  it("believes nothing that is old", function()
    world()
    w.a:silence()
    w.net:run(10)
    node:crash()
    restart(535)
    assert.equal("down", node.pools.pbx.a.health)
    node:stop()
    restart(601)
    assert.equal("unknown", node.pools.pbx.a.health)
  end)

  it("writes at least once a minute, so that nothing is old that is true", function()
    world()
    w.a:silence()
    w.net:run(3600)
    node:crash()
    restart()
    assert.equal("down", node.pools.pbx.a.health)
  end)

  -- The snapshot as a machine would have written it whose monotonic clock is ahead.
  local function shifted(text, seconds)
    local kept = cjson.decode(text)
    kept.now = kept.now + seconds
    for _, server in pairs(kept.servers) do
      for i, time in ipairs(server.facts) do
        if time > 1e8 and time < 2 ^ 60 then -- microseconds of a clock that began before
          server.facts[i] = math.tointeger(time + seconds * 1e6)
        end
      end
      local record = cjson.decode(server.server)
      for reason, ends in pairs(record.holds) do
        record.holds[reason] = ends + seconds
      end
      server.server = cjson.encode(record)
    end
    return cjson.encode(kept)
  end

  it("counts with the wall clock after the machine was started anew", function()
    world()
    w.a:silence()
    w.net:run(10)
    w.a:resume()
    w.net:run(10)
    local held, since = node.pools.pbx.a.held_for, node.pools.pbx.a.since
    node:stop()
    node:kept("health.json", shifted(node:kept "health.json", 5000))
    restart(3)
    assert.near(held - 3, node.pools.pbx.a.held_for, 0.1)
    assert.near(since, node.pools.pbx.a.since, 0.1)
  end)

  it("does not believe a clock that was put back", function()
    world()
    w.a:silence()
    w.net:run(10)
    node:stop()
    node:skew(-3600)
    restart()
    assert.equal("unknown", node.pools.pbx.a.health)
  end)

  it("goes on when the file is damaged", function()
    world()
    for _, text in ipairs {
      "{", "[]", '{"version":1}', '{"version":1,"wall":0,"servers":7}', "null",
    } do
      node:stop()
      node:kept("health.json", text)
      restart()
      assert.equal("unknown", node.pools.pbx.a.health)
    end
    assert.equal("state.damaged", lines("state.damaged")[1].event)
    w.net:run(5)
    assert.equal("up", node.pools.pbx.a.health)
  end)

  it("takes nothing over from a server that is damaged, and all of the others", function()
    world()
    w.a:silence()
    w.net:run(10)
    node:stop()
    local whole = node:kept "health.json"
    local function damage(part, value)
      local doc = cjson.decode(whole)
      local b = doc.servers["pbx/b"]
      if type(part) == "number" then
        b.facts[part] = value
      else
        b[part] = value
      end
      node:kept("health.json", cjson.encode(doc))
    end
    local n = 0
    for _, case in ipairs {
      { 1, 99 }, { 1, -1 }, { 1, "up" }, { 2, 1e300 }, { 2, 4e18 }, { 5, 1.5 }, { 4, 1e9 },
      { "facts", 5 }, { "facts", cjson.null }, { "server", "?" }, { "server", "5" },
      { "server", '{"holds":{"x":"y"}}' }, { "server", '{"holds":{"x":1e300}}' },
      { "server", '{"falls":{"x":1}}' }, { "history", "?" }, { "history", "[5]" },
      { "history", "[{}]" }, { "history", 5 }, { "history", '[{"what":"x","time":1,"why":"y"}]' },
      { "history", '[{"what":"health","time":-1e300,"why":"y"}]' }, { "places", "?" },
      { "places", "{}" }, { "places", '{"list":[{"x":1}]}' },
      { "places", '{"list":[{"addr":"x","ends":1e300}]}' },
    } do
      damage(case[1], case[2])
      node:start()
      local pools, name = node.pools.pbx, tostring(case[1]) .. tostring(case[2])
      assert.equal("down", pools.a.health, name)
      assert.equal("unknown", pools.b.health, name)
      n = n + 1
      assert.equal(n, #lines "state.damaged", name)
      node:crash()
    end
  end)

  it("forgets a server that is somewhere else now", function()
    world()
    w.a:silence()
    w.net:run(10)
    node:stop()
    node.opts.source = script():gsub("10.0.0.1", "10.0.0.3")
    restart()
    assert.equal("unknown", node.pools.pbx.a.health)
  end)

  it("is not there without a state_dir", function()
    world()
    w.a:silence()
    w.net:run(10)
    node:stop()
    node.opts.source = script():gsub("sip.settings [^\n]*", "")
    restart()
    assert.equal("unknown", node.pools.pbx.a.health)
  end)

  it("knows what DNS has named, also when nobody answers any more", function()
    local net = sim.new {
      workers = workers, source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        sip.settings { state_dir = "/x" }
        local trunk = sip.pool("trunk", { discover = { "sip:trunk.example" }, check = false })
        local pbx = sip.pool("pbx", { check = false, servers = {
          { name = "p", uri = "sip:pbx.example" } } })
        sip.route("MESSAGE", function(req) return req:relay(pbx) end)
        sip.route(function(req) return req:relay(trunk) end)
      ]],
      dns = {
        ["_sip._udp.trunk.example"] = {
          { target = "gw1.trunk.example", priority = 1, weight = 1, ttl = 30 },
        },
        ["gw1.trunk.example"] = { "10.0.0.1", ttl = 30 },
        ["pbx.example"] = { "10.0.0.2", ttl = 30 },
      },
    }
    net:uas("10.0.0.1", "gw1")
    net:uas("10.0.0.2", "p")
    local alice, trunk = net:uac("192.0.2.7", "alice"), net.nodes[1]
    net:run(5)
    trunk:ask("order", {
      pool = "trunk", server = "gw1.trunk.example", who = "x", admin = "drain", seconds = 300,
    })
    net:run(65)
    trunk:crash()
    net:resolver "silent"
    net:run(5)
    local whole = trunk:kept "health.json"
    for _, text in ipairs {
      "?", "5", '{"found":5}', '{"found":{}}', '{"found":{},"list":[{}]}',
      '{"found":{"sip:trunk.example":{"list":[{"at":1}]}},"list":[]}',
    } do
      local doc = cjson.decode(whole)
      doc.rosters.trunk = text
      trunk:kept("health.json", cjson.encode(doc))
      trunk:start() -- without it
      trunk:crash()
    end
    trunk:kept("health.json", whole)
    trunk:start()
    local found = trunk.pools.trunk["gw1.trunk.example"]
    assert.same({ "drain", 1 }, { found.admin, found.tier })
    assert.equal("10.0.0.2:5060", trunk.pools.pbx.p.addresses[1].address)
    assert.equal("p", alice:ask("MESSAGE", "sip:bob@example.com").server)
    net:run(300)
    assert.equal("gw1.trunk.example", alice:call("sip:bob@example.com").server)
  end)
end)
