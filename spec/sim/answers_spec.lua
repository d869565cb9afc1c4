-- What operators ask of a running proxy, as the control API puts it to a worker.
local sim = require "support.sim"
local policy = require "support.policy"

local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("answers", function(workers)
  after_each(sim.finish)

  local world, net, node

  before_each(function()
    world = policy.world { workers = workers, source = source }
    net = world.net
    node = net.nodes[1]
  end)

  it("show the pools, from every worker", function()
    for worker = 1, workers do
      local pools = node:ask("pools", nil, worker).pools
      assert.equal("pbx", pools[1].name)
      assert.equal("sip:10.0.0.1", pools[1].servers[1].uri)
    end
  end)

  it("show many servers a part at a time", function()
    local servers = {}
    for i = 1, 120 do
      servers[i] = ('{ name = "s%d", uri = "sip:10.0.0.1" }'):format(i)
    end
    local many = policy.world({ workers = workers, source = ([[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
sip.pool("one", { check = false, servers = { { name = "a", uri = "sip:10.0.0.1" } } })
sip.pool("many", { check = false, servers = { %s } })
sip.pool("last", { check = false, servers = { { name = "z", uri = "sip:10.0.0.1" } } })
]]):format(table.concat(servers, ",\n")) }).net.nodes[1]
    local names, from, parts = {}, 1, 0
    repeat
      local answer = many:ask("pools", { from = from })
      local n = 0
      for _, pool in ipairs(answer.pools) do
        for _, server in ipairs(pool.servers) do
          names[#names + 1], n = pool.name .. "/" .. server.name, n + 1
          assert.is_nil(server.history)
        end
      end
      assert(n <= 50)
      parts = parts + 1
      if from == 1 then
        assert.equal(120, answer.pools[2].size)
        assert.equal(120, answer.pools[2].usable)
      end
      from = answer.next
    until not from
    assert.equal(3, parts)
    assert.equal(122, #names)
    assert.same({ "one/a", "many/s1", "many/s120", "last/z" },
      { names[1], names[2], names[121], names[122] })
    local last = many:ask("pools", { pool = "many", from = 101 })
    assert.same({ 1, 20, "s101" }, { #last.pools, #last.pools[1].servers,
      last.pools[1].servers[1].name })
    assert.is_nil(last.next)
    assert.equal(120, many:ask("pools.heads")[2].size)
  end)

  it("show one server, with its history and since when it is so", function()
    local function look()
      return node:ask("pools", { pool = "pbx", server = "a" }).server
    end
    assert.same({ "pbx", "a", "up" }, { look().pool, look().name, look().status })
    world.a:silence()
    net:run(10)
    local one = look()
    assert.same({ "down", "down" }, { one.status, one.history[#one.history].to })
    assert.equal(one.history[#one.history].time, one.status_when)
    net:run(100)
    assert.equal(one.status_when, look().status_when)
    assert.near(one.status_for + 100, look().status_for, 0.01)
    node:ask("order", { pool = "pbx", server = "a", admin = "drain", who = "ctl x" })
    net:run(7)
    assert.near(7, look().status_for, 0.01)
    assert.same({ no_server = { "a" } }, node:ask("pools", { pool = "pbx", server = "b" }))
    assert.same({ no_pool = { "pbx" } }, node:ask("pools", { pool = "x", server = "a" }))
    local value, why = node:ask("pools", { from = 0 })
    assert.is_nil(value)
    assert.equal("from: a number from 1 on expected", why)
  end)

  it("say when nobody knows", function()
    local value, why = node:ask "weather"
    assert.is_nil(value)
    assert.equal("nobody answers 'weather'", why)
  end)
end)
