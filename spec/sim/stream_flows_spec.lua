-- Connections of the core: which one a request takes, who may connect, and when one ends.
local sim = require "support.sim"

local head = [[
local sip = require "tandem"
sip.listen {
  "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "c.pem", key = "k.pem" },
}
]]
local relay = [[
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1;transport=tcp" } }, check = false })
sip.route(function(req) return req:relay(pbx) end)
]]

local net, a, alice

local function open(workers, settings, body)
  net = sim.new { seed = 3, workers = workers,
    source = head .. ("sip.settings { %s }\n"):format(settings or "") .. (body or relay) }
  a, alice = net:uas("tcp:10.0.0.1", "a"), net:uac("tcp:192.0.2.7", "alice")
end

local function options(number)
  return table.concat({
    "OPTIONS sip:bob@example.com SIP/2.0",
    "Via: SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bK" .. number,
    "From: <sip:a@example.com>;tag=1", "To: <sip:bob@example.com>", "Call-ID: c" .. number,
    "CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", "",
  }, "\r\n")
end

-- When its connection ended, to the tenth of a second.
local function ended(endpoint, i)
  local last = endpoint.ended[i or #endpoint.ended]
  return last and (last.time + 0.05) // 0.1 / 10
end

sim.for_workers("a connection", function(workers)
  after_each(sim.finish)

  it("that is not up in time is given up, and the call goes on", function()
    open(workers, nil, [[
      local pbx = sip.pool("pbx", { check = false, passive = false, servers = {
        { name = "a", uri = "sip:10.0.0.1;transport=tcp", tier = 1 },
        { name = "b", uri = "sip:10.0.0.2", tier = 2 } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]])
    net:uas("10.0.0.2", "b")
    a:stall()
    local call = alice:call "sip:bob@example.com"
    assert.equal("b", call.server)
    assert(call.elapsed > 2 and call.elapsed < 2.1)
    assert.equal(1, net:count("flow.down", { cause = "connect_timeout", was_up = false }))
    assert.equal(1, net:metric("tandem_connect_failures_total", { cause = "connect_timeout" }))
  end)

  it("that cannot be opened is news once, until it can again", function()
    open(workers, nil, [[
      local pbx = sip.pool("pbx", {
        servers = { { name = "a", uri = "sip:10.0.0.1;transport=tcp" } },
        check = { interval = 2 } })
      sip.route(function(req) return req:relay(pbx) end)
    ]])
    local function warnings()
      return net:count("flow.down", { cause = "refused", level = "warn" })
    end
    a:refuse()
    net:run(60)
    assert(net:metric("tandem_connect_failures_total", { cause = "refused" }) > 20)
    assert.equal(1, warnings())
    a:resume()
    net:run(60)
    a:refuse()
    a:close()
    net:run(60)
    assert.equal(2, warnings())
    net:run(3600)
    assert.equal(3, warnings())
  end)

  it("may take as long to be up as the settings say", function()
    open(workers, "tcp = { connect_timeout = 0.5 }")
    a:stall()
    local call = alice:call "sip:bob@example.com"
    assert.equal(500, call.code)
    assert(call.elapsed > 0.5 and call.elapsed < 0.6)
  end)

  it("without a whole message in time is closed", function()
    open(workers)
    local mallory = net:uac("tcp:192.0.2.9", "mallory")
    alice:connect()
    mallory:raw "OPTIONS sip:bob@example.com SIP/2.0\r\n"
    net:run(12)
    assert.equal(10.0, ended(alice))
    assert.equal(10.0, ended(mallory))
    assert.equal(2, net:count("flow.down", { cause = "header_timeout", level = "warn" }))
  end)

  it("is not kept by pings without a message", function()
    open(workers)
    for _ = 1, 4 do
      alice:ping()
      net:run(3)
    end
    assert.equal(10.0, ended(alice))
  end)

  it("on which a message takes too long is closed", function()
    open(workers)
    alice:raw(options(1))
    net:run(30)
    alice:raw(options(2), 1, 0.5)
    net:run(20)
    assert.equal(40.0, ended(alice))
    assert.equal(1, #a:got "OPTIONS")
    assert.equal(1, net:metric("tandem_connections_closed_total", { reason = "header_timeout" }))
  end)

  it("that is slow but in time is served", function()
    open(workers)
    alice:raw(options(1), 10, 0.3)
    net:run(12)
    assert.equal(1, #alice:got(200))
    assert.same({}, alice.ended)
  end)

  it("on which nothing happens is closed", function()
    open(workers, "tcp = { idle_timeout = 60 }")
    alice:raw(options(1))
    net:run(100)
    assert.equal(60.0, ended(alice))
    assert.equal(60.0, ended(a))
    assert.equal(2, net:count("flow.down", { cause = "idle", level = "info" }))
  end)

  it("is kept by pings and by messages", function()
    open(workers, "tcp = { idle_timeout = 60 }")
    alice:raw(options(1))
    for i = 1, 5 do
      net:run(50)
      if i % 2 == 0 then
        alice:ping()
      else
        alice:raw(options(i + 1))
      end
    end
    net:run(100)
    assert.equal(310.0, ended(alice))
  end)

  it("is not idle while a phone rings", function()
    open(workers, "tcp = { idle_timeout = 20 }")
    a:ring(100)
    local call = alice:call "sip:bob@example.com"
    assert.equal(200, call.code)
    assert(call.elapsed > 100)
    assert.same({}, alice.ended)
    assert.same({}, a.ended)
  end)

  it("over the limit of its source is closed at once, whichever worker it came to", function()
    open(workers, "tcp = { per_source = 3 }")
    local others = 0
    for _ = 1, 20 do
      alice:connect()
    end
    net:run(1)
    assert.equal(17, #alice.ended)
    assert.equal(17, net:count("flow.refused", { why = "per_source" }))
    assert.equal(17, net:metric("tandem_connections_refused_total", { reason = "per_source" }))
    for i = 1, 2 * workers do
      net:uac("tcp:192.0.2." .. 30 + i):raw(options(i))
    end
    net:run(1)
    for _ = 1, #a:got "OPTIONS" do
      others = others + 1
    end
    assert.equal(2 * workers, others)
  end)

  it("has room again when another has ended", function()
    open(workers, "tcp = { per_source = 1 }")
    for _ = 1, 5 do
      alice:raw(options(1))
      net:run(1)
      assert.equal(0, #alice.ended)
      alice:close()
      net:run(1)
    end
  end)

  it("over the limit of all is closed, and floods are a few lines", function()
    open(workers, "tcp = { connections = 10, per_source = 1000 }")
    for i = 1, 200 do
      net:uac("tcp:192.0.2." .. i + 10):connect()
    end
    net:run(0.5)
    -- the tenth is for one that we open
    assert.equal(191, net:metric("tandem_connections_refused_total",
      { reason = "connections" }))
    local lines = net:count("flow.refused", { why = "connections" })
    assert(lines <= 50 * workers, lines)
    net:run(12)
    alice:connect()
    net:uac "tcp:192.0.2.250":connect()
    net:run(1)
    assert.equal(0, #alice.ended)
  end)

  -- RFC 5922 7.3
  it("is never shared by two identities", function()
    open(workers, nil, [[
      local pbx = sip.pool("pbx", { check = false, policy = "round_robin", servers = {
        { name = "a", uri = "sips:10.0.0.1", tls = { name = "a.example.com" } },
        { name = "b", uri = "sips:10.0.0.1", tls = { name = "b.example.com" } } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]])
    local tls = net:uas("tls:10.0.0.1:5061", "tls")
    for _ = 1, 20 do
      assert.equal(200, alice:call("sip:bob@example.com").code)
    end
    assert.equal(2 * workers, #tls:connections())
    for _, name in ipairs { "a", "b" } do
      assert.equal(workers, net:count("flow.up", { identity = name .. ".example.com" }))
    end
  end)

  -- RFC 5923
  it("is not whose the peer says it is: no alias", function()
    open(workers, 'trust = { "0.0.0.0/0" }', [[
      sip.route(function(req) return req:relay "sip:bob@192.0.2.99;transport=tcp" end)
    ]])
    local bob = net:uas("tcp:192.0.2.99", "bob")
    -- mallory claims to be bob
    local mallory = net:uac("tcp:192.0.2.66", "mallory")
    mallory:raw((options(1):gsub("192.0.2.7:5060", "192.0.2.99:5060;alias")))
    net:run(1)
    assert.equal(200, alice:call("sip:bob@example.com").code)
    assert.equal(1, #bob:got "INVITE")
    assert.equal(0, #mallory:got "INVITE")
  end)
end)

sim.for_workers("an accepted connection", function(workers)
  after_each(sim.finish)

  it("is taken to whoever has it: TCP has proved the address", function()
    open(workers, 'trust = { "0.0.0.0/0" }', [[
      sip.route(function(req)
        return req:relay "sip:phone@192.0.2.8:32768;transport=tcp"
      end)
    ]])
    local phone = net:uac("tcp:192.0.2.8", { name = "phone", listen = false })
    phone:connect()
    net:run(1)
    for _ = 1, 8 do -- of any worker
      assert.equal(200, alice:call("sip:phone@example.com").code)
    end
    assert.equal(8, #phone:got "INVITE")
    assert.equal(0, net:count("flow.up", { direction = "out" }))
  end)
end)
