-- Virtual addresses and connections: these do not move with the address (semantics 21,
-- checklist 39).
local sim = require "support.sim"
local ipairs = ipairs

local uri, key = "sip:bob@example.com", "0123456789abcdef"
local vip = "10.0.0.200"

local frame = [[
local sip = require "tandem"
sip.listen { %s }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1;transport=tcp" },
    { name = "b", uri = "sip:10.0.0.2;transport=tcp", tier = 2 },
  },
  check = { interval = 2, jitter = 0 }, failback = { hold = 30 }, passive = { fall = 1 },
})
sip.route(function(req)
  if not req:relay(pbx, { timeout = 2 }) then return req:reply(500) end
end)
]]

local listen = '"tcp:10.0.0.200:5060", "tcp:10.0.0.101:5060", "tcp:10.0.0.102:5060"'

sim.for_workers("a virtual address, over TCP", function(workers)
  after_each(sim.finish)

  local net, active, standby, a, b, alice

  local function open(listeners)
    net = sim.new {
      source = frame:format(listeners or listen), workers = workers,
      key = key, addr = { "10.0.0.101", vip },
    }
    active = net.nodes[1]
    standby = net:node { addr = "10.0.0.102", key = key }
    a, b = net:uas("tcp:10.0.0.1", "a"), net:uas("tcp:10.0.0.2", "b")
    alice = net:uac("tcp:192.0.2.7", { name = "alice", proxy = vip })
    -- Its own requests go where the calls come from.
    a.proxy, b.proxy = vip, vip
  end

  local function take_over()
    active:power_off()
    standby:take(vip)
  end

  -- The addresses that a node has sent from since.
  local function assert_sent_from(node, ip, since)
    for _, packet in ipairs(net:packets()) do
      if packet.node == node.id and packet.time > since then
        assert.matches("^" .. ip .. ":", packet.from)
      end
    end
  end

  it("that is elsewhere for ten minutes: its first call goes to a server that lives", function()
    open()
    net:run(120)
    a:refuse()
    net:run(180)
    assert.equal("down", standby.pools.pbx.a.status)
    a:resume()
    b:power_off()
    net:run(120)
    assert.equal("down", standby.pools.pbx.b.status)
    b:resume()
    a:stall()
    net:run(180)
    assert_sent_from(standby, "10.0.0.102", 0)
    take_over()
    local call = alice:call(uri)
    assert.same({ "b" }, call.tried)
    assert(call.elapsed < 0.1)
    assert.matches("^" .. vip .. ":", b:got("INVITE")[1].source)
  end)

  it("that no listener has now: nothing is opened, and no server to blame", function()
    open '"udp:10.0.0.101:5060", "tcp:10.0.0.200:5060"'
    active:drop(vip)
    net:run(10)
    local bob = net:uac("192.0.2.8", { name = "bob", proxy = "10.0.0.101" })
    local call = bob:call(uri)
    assert.equal(500, call.code)
    assert(call.elapsed < 0.1)
    assert.equal(1, net:count("request", { node = active.id,
      tried = "pbx/a:no_source:0.00,pbx/b:no_source:0.00" }))
    assert.equal(0, net:count("server.health", { node = active.id, to = "down" }))
    assert.equal(0, active:metric("tandem_connections_total", { direction = "out" }))
  end)

  it("that goes takes its connections with it, and no server", function()
    open()
    net:run(5)
    a:silence()
    local call = alice:invite(uri)
    net:run(0.1)
    active:drop(vip)
    standby:take(vip)
    net:run(0.1)
    -- The caller's, those of the checks, and that of the call: with one worker it went
    -- on the one of the checks.
    assert.equal(2 + workers, net:count("flow.down", { node = active.id,
      cause = "no_source", was_up = true }))
    assert.equal(1, net:count("request", { node = active.id, code = 500,
      tried = function(tried)
        return tried:find "^pbx/a:no_source:0%.1%d,pbx/b:no_source:0%.00$"
      end }))
    a:resume()
    net:run(60)
    assert.equal(0, net:count("server.health", { to = "down" }))
    assert.equal(0, net:count("server.health", { to = "held" }))
    assert.is_nil(call.code) -- nobody could tell the caller, who finds out now
    assert.equal("transport", alice:call(uri).error)
    assert.equal(200, alice:call(uri).code)
  end)

  it("that goes takes attempts with it, not calls that came to another", function()
    open '"udp:192.0.2.101:5060", "tcp:10.0.0.200:5060", "tcp:10.0.0.101:5060"'
    active:take "192.0.2.101"
    net:run(5)
    local bob = net:uac("192.0.2.8", { name = "bob", proxy = "192.0.2.101" })
    a:silence()
    local call = bob:invite(uri)
    net:run(0.1)
    assert.matches("^" .. vip .. ":", a:got("INVITE")[1].source)
    active:drop(vip)
    net:run(0.1)
    assert.equal(200, call.code)
    assert.same({ "a", "b" }, call.tried)
    assert.matches("^10.0.0.101:", b:got("INVITE")[1].source)
    assert.equal(0, net:count("server.health", { to = "held" }))
  end)

  it("of which each machine has one: calls stay with theirs, wherever that is", function()
    local second = "10.0.0.201"
    net = sim.new {
      source = frame:format('"udp:10.0.0.200:5060", "udp:10.0.0.201:5060", '
        .. '"tcp:10.0.0.200:5060", "tcp:10.0.0.201:5060", '
        .. '"tcp:10.0.0.101:5060", "tcp:10.0.0.102:5060"'),
      workers = workers, key = key, addr = { "10.0.0.101", vip },
    }
    active = net.nodes[1]
    local other = net:node { addr = { "10.0.0.102", second }, key = key }
    a, b = net:uas("tcp:10.0.0.1", "a"), net:uas("tcp:10.0.0.2", "b")
    net:run(5)
    local bob = net:uac("192.0.2.8", { name = "bob", proxy = second })
    local call = bob:call(uri)
    assert.same({ "a" }, call.tried)
    other:power_off()
    active:take(second)
    bob:bye(call)
    net:run(1)
    bob:call(uri)
    for i, method in ipairs { "INVITE", "BYE", "INVITE" } do
      local got = a:got(method)[i == 3 and 2 or 1]
      assert.matches("^" .. second .. ":", got.source)
      assert.matches("^SIP/2.0/TCP " .. second .. ":5060;", got:header "Via")
    end
    local routes = a:got("INVITE")[1]:list "Record-Route"
    assert.equal(2, #routes)
    assert.matches("^<sip:10.0.0.201:5060;transport=tcp;lr", routes[1])
    assert.matches("^<sip:10.0.0.201:5060;lr", routes[2])
  end)

  for _, ends in ipairs { "caller", "server" } do
    it("under a name, per listener: hung up by the " .. ends, function()
      net = sim.new {
        source = frame:format('{ "tls:10.0.0.200:5061", cert = "sip.pem", key = "sip.key", '
          .. 'advertise = "sip.example.net" }, '
          .. '{ "tcp:10.0.0.200:5070", advertise = "tcp.example.net:5070" }'),
        workers = workers, key = key, addr = { "10.0.0.101", vip },
        hosts = { ["sip.example.net"] = vip, ["tcp.example.net"] = vip },
      }
      a, b = net:uas("tcp:10.0.0.1", "a"), net:uas("tcp:10.0.0.2", "b")
      alice = net:uac("tls:192.0.2.7", { name = "alice", proxy = vip })
      net:run(5)
      local call = alice:call(uri)
      local invite = a:got("INVITE")[1]
      local routes = invite:list "Record-Route"
      assert.equal(2, #routes)
      assert.matches("^<sip:tcp.example.net:5070;transport=tcp;lr;", routes[1])
      assert.matches("^<sip:flow1%-%w+@sip.example.net;transport=tls;lr;", routes[2])
      assert.matches("^SIP/2.0/TCP tcp.example.net:5070;", invite:header "Via")
      local by, other = alice, a
      if ends == "server" then
        by, other = a, alice
      end
      by:bye(call)
      net:run(1)
      assert.equal(1, #other:got "BYE")
      assert.is_nil(other:got("BYE")[1]:header "Route")
    end)
  end

  describe("that moves in mid-call", function()
    before_each(function()
      open()
      net:run(5)
    end)

    it("is found again by the server, on a new connection", function()
      local call = alice:call(uri)
      assert.same({ "a" }, call.tried)
      take_over()
      a:reset()
      a:bye(call)
      net:run(1)
      assert.equal(1, #alice:got "BYE")
      assert.matches("^" .. vip .. ":", alice:got("BYE")[1].source)
    end)

    it("answers a connection of before with a reset, and a new one as ever", function()
      local call = alice:call(uri)
      take_over()
      assert.equal("transport", alice:bye(call):wait().error)
      assert.equal("reset", alice.ended[1].cause)
      assert.equal(0, #a:got "BYE")
      assert.equal(200, alice:bye(call):wait().code)
      assert.equal(1, #a:got "BYE")
    end)
  end)
end)
