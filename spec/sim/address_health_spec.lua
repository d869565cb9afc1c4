-- A server with several addresses on the wire: each is asked, each has a health of its
-- own, and the server is what its best address is.
local sim = require "support.sim"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "udp:[::]:5060" }
local pbx = sip.pool("pbx", { servers = {
  { name = "a", tier = 1, uri = "sip:pbx.example.com",
    addresses = { "10.0.0.1", "10.0.1.1:5070", "[2001:db8::1]" } },
  { name = "b", tier = 2, uri = "sip:10.0.0.2" },
}, %s })
sip.route(function(req) return req:relay(pbx) end)
sip.route("*from_server", function(req) return req:reply(603, req.source.server.name) end)
]]

sim.for_workers("a server with several addresses", function(workers)
  local net, one, two, six, alice

  local function open(pool)
    net = sim.new {
      source = frame:format(pool or ""), workers = workers,
      addr = { "10.0.0.100", "2001:db8::100" },
    }
    one, two = net:uas("10.0.0.1", "one"), net:uas("10.0.1.1:5070", "two")
    six = net:uas("[2001:db8::1]:5060", "six")
    net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", "alice")
  end

  after_each(sim.finish)

  local function healths()
    local list = {}
    for i, address in ipairs(net.pools.pbx.a.addresses) do
      list[i] = address.health
    end
    return table.concat(list, " ")
  end

  it("is asked at each, by its transport and family", function()
    open()
    net:run(5)
    assert.equal("up up up", healths())
    for _, ua in ipairs { one, two, six } do
      local checks = ua:got "OPTIONS"
      assert(#checks == 2 or #checks == 3, #checks)
      assert.equal("sip:pbx.example.com", checks[1].uri)
    end
    assert.equal("up", net.pools.pbx.a.health)
    assert.same({
      { address = "10.0.0.1:5060", transport = "udp", health = "up", rank = 0, weight = 0 },
      { address = "10.0.1.1:5070", transport = "udp", health = "up", rank = 1, weight = 0 },
      { address = "[2001:db8::1]:5060", transport = "udp", health = "up", rank = 2, weight = 0 },
    }, net.pools.pbx.a.addresses)
  end)

  it("is called at the first that is up", function()
    open()
    net:run(5)
    one:silence()
    net:run(6)
    assert.equal("down up up", healths())
    assert.equal(200, alice:call(uri).code)
    assert.same({ 0, 1 }, { #one:got "INVITE", #two:got "INVITE" })
    one:resume()
    net:run(4)
    assert.equal("up up up", healths())
    assert.equal(200, alice:call(uri).code)
    assert.equal(1, #one:got "INVITE")
  end)

  it("falls with the last of them, comes back with the first, and then has its hold", function()
    open("failback = { hold = 20 }")
    net:run(5)
    one:silence()
    two:refuse()
    net:run(10)
    assert.equal("up", net.pools.pbx.a.health)
    six:crash()
    net:run(6)
    assert.equal("down down down", healths())
    assert.equal("b", alice:call(uri).server)
    two:resume()
    net:run(6)
    assert.equal("down up down", healths())
    assert.equal("held", net.pools.pbx.a.status)
    net:run(20)
    assert.equal(200, alice:call(uri).code)
    assert.equal(1, #two:got "INVITE")
    assert.equal(1, net:count("server.health", { server = "a", to = "down" }))
    assert.equal(3, net:count("address.health", { server = "a", to = "down" }))
  end)

  it("is who sends from any of its addresses", function()
    open "check = false"
    for _, ua in ipairs { one, two, six } do
      local answer = ua:ask("MESSAGE", "sip:carol@example.com")
      assert.same({ 603, "a" }, { answer.code, answer.reason })
    end
  end)

  it("has its health again after a reload, address by address", function()
    open()
    net:run(5)
    one:silence()
    net:run(6)
    assert(net:reload())
    assert.equal("down up up", healths())
    assert.equal(200, alice:call(uri).code)
    assert.equal(0, #one:got "INVITE")
    assert.equal(1, net:count("address.health", { to = "down" }))
    net:run(6)
    assert.equal("down up up", healths())
  end)

  it("is checked at its addresses when they are down only, if that is wanted", function()
    open("check = { when = 'down', interval = 10 }, passive = { fall = 1 }")
    one:refuse()
    assert.equal(200, alice:call(uri).code)
    net:run(1)
    assert.equal("down unknown unknown", healths())
    one:resume()
    net:run(25)
    assert.equal("up unknown unknown", healths())
    assert.same({ 0, 0 }, { #two:got "OPTIONS", #six:got "OPTIONS" })
  end)

  it("is out of the way for a hold at an address that calls found dead", function()
    open("check = false, passive = { fall = 1, hold = 30 }")
    one:refuse()
    assert.equal(200, alice:call(uri).code)
    assert.equal(1, #two:got "INVITE")
    assert.equal("up", net.pools.pbx.a.status)
    net:run(1)
    assert.equal("down unknown unknown", healths())
    one:resume()
    assert.equal(200, alice:call(uri).code)
    assert.equal(2, #two:got "INVITE")
    net:run(31)
    assert.equal(200, alice:call(uri).code)
    assert.equal(1, #one:got "INVITE")
  end)

  it("is asked over TCP on a connection of each, which is kept", function()
    net = sim.new { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", { servers = { { name = "a",
        uri = "sip:pbx.example.com;transport=tcp",
        addresses = { "10.0.0.1", "10.0.1.1:5070" } } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]] }
    one, two = net:uas("tcp:10.0.0.1", "one"), net:uas("tcp:10.0.1.1:5070", "two")
    alice = net:uac("192.0.2.7", "alice")
    net:run(20)
    assert.equal("up up", healths())
    assert.same({ 1, 1 }, { #one:connections(), #two:connections() })
    assert(#one:got "OPTIONS" > 8)
    one:refuse()
    one:reset()
    net:run(6)
    assert.equal("down up", healths())
    assert.equal(1, net:count("address.health", { to = "down", reason = "refused" }))
    local call = alice:call(uri)
    assert.equal(200, call.code)
    assert.equal(1, #two:got "INVITE")
  end)

  it("is given up for the next request, whatever worker has it, where it was silent", function()
    open "check = false"
    one:silence()
    assert.near(4, alice:call(uri).elapsed, 0.1) -- then b has it
    for _ = 1, 6 do -- of several workers
      local call = alice:call(uri)
      assert.equal(200, call.code)
      assert.near(0, call.elapsed, 0.02)
    end
    assert.equal(6, #two:got "INVITE")
  end)
end)
