-- What the live page is told of servers and calls.
local sim = require "support.sim"

local source = [[
local sip = require "tandem"
sip.listen { "udp:10.0.0.100:5060" }
local pbx = sip.pool("pbx", { failback = { manual = true }, servers = {
  { name = "a", uri = "sip:10.0.0.1", max_calls = 10 },
  { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  { name = "c", uri = "sip:10.0.0.3", tier = 2, addresses = { "10.0.0.3", "10.0.1.3" } } } })
sip.route(function(req) return req:relay(pbx) end)
]]
local orders = [[
sip.after(5, function()
  pbx:server("b"):drain("card swap", 600)
  pbx:server("c"):hold(60, "busy")
end)
]]

sim.for_workers("a glance", function(workers)
  after_each(sim.finish)

  local net, a

  local function start(more)
    net = sim.new { source = source .. (more or ""), seed = 1, workers = workers }
    a = net:uas "10.0.0.1"
    net:uas "10.0.0.2"
    net:uas "10.0.0.3"
  end

  local function servers()
    local glance = net.nodes[1]:ask "glance"
    local list = {}
    for _, server in ipairs(glance.servers) do
      list[server.name] = server
    end
    return list, glance.pools[1]
  end

  it("says why a server is what it is", function()
    start(orders)
    net:run(10)
    local list, pool = servers()
    assert.same({ "pbx", "up", 1 }, { pool.name, pool.state, pool.active_tier })
    assert.same({ "up", "200", "check", 10 },
      { list.a.status, list.a.health_why, list.a.health_who, list.a.max_calls })
    assert.same({ "drain", "card swap" }, { list.b.status, list.b.admin_why })
    assert.near(595, list.b.admin_left, 0.1)
    assert.equal("held", list.c.status)
    assert.equal("busy", list.c.holds[1].reason)
    assert.near(55, list.c.holds[1].left, 0.1)
    assert.same({ { address = "10.0.0.3:5060", health = "up" },
      { address = "10.0.1.3:5060", health = "down" } }, list.c.addresses)
    assert.is_nil(list.a.addresses)
  end)

  it("tells a hold that has no end", function()
    start()
    net:run(1)
    a:silence()
    net:run(10)
    assert.same({ "down", "timeout" }, { servers().a.status, servers().a.health_why })
    a:resume()
    net:run(10)
    assert.same({ { reason = "failback" } }, servers().a.holds)
  end)

  it("counts INVITEs and what fails of them", function()
    start()
    local alice = net:uac "192.0.2.7"
    net:run(1)
    for _, code in ipairs { 200, 486, 404, 500 } do
      a:answer("INVITE", code)
      alice:call("sip:bob@example.com")
    end
    local invites, failures = 0, 0
    for worker = 1, workers do
      local totals = net.nodes[1]:ask("totals", nil, worker)
      invites, failures = invites + totals.invites, failures + totals.failures
    end
    assert.same({ 4, 2 }, { invites, failures })
  end)
end)

describe("a glance at many servers", function()
  after_each(sim.finish)

  it("comes in pieces", function()
    local net = sim.new { seed = 1, source = [[
      local sip = require "tandem"
      sip.listen { "udp:10.0.0.100:5060" }
      for i, n in ipairs { 60, 0, 190 } do
        local servers = {}
        for j = 1, n do
          servers[j] = { name = "s" .. j, uri = "sip:10.0." .. i .. "." .. j }
        end
        sip.pool("p" .. i, { check = false, servers = n > 0 and servers or nil,
          discover = n == 0 and { "sip:trunk.example" } or nil })
      end
      sip.route(function(req) return req:reply(404) end)
    ]] }
    local from, pieces, seen, last = 1, {}, {}, 0
    repeat
      local glance = net.nodes[1]:ask("glance", { from = from })
      assert.equal(from == 1, glance.pools ~= nil)
      pieces[#pieces + 1] = #glance.servers
      for _, server in ipairs(glance.servers) do
        assert(server.pool >= last)
        last = server.pool
        seen[server.pool] = (seen[server.pool] or 0) + 1
      end
      from = glance.next
    until not from
    assert.same({ 100, 100, 50 }, pieces)
    assert.same({ 60, nil, 190 }, { seen[1], seen[2], seen[3] })
  end)
end)
