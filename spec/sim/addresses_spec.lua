-- A target with several addresses (semantics 12): a fast failure moves to the next one
-- inside the try, silence uses it up, and the script sees one attempt at one server.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "udp:[::]:5060", "tcp:0.0.0.0:5060" }
sip.settings { tcp = { connect_timeout = 1 } }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", tier = 1, uri = "sip:10.0.0.1%s", addresses = { %s } },
    { name = "b", tier = 2, uri = "sip:10.0.0.9" },
  },
  check = false, %s
})
sip.route(function(req)
  for server in pbx:each(req) do
    local res, err, detail = req:try(server, { timeout = 2 })
    if err == "cancelled" then return end
    if res then return res:forward() end
    sip.log.info(("%%s %%s %%s %%s"):format(server.name, err, detail.cause, detail.address))
  end
  return req:reply(500)
end)
]]

sim.for_workers("a server with two addresses", function(workers)
  local net, one, two, backup, alice

  local function open(opts)
    opts = opts or {}
    local transport = opts.transport or "udp"
    local prefix = transport == "udp" and "" or transport .. ":"
    net = sim.new {
      workers = workers, addr = { "10.0.0.100", "2001:db8::100" },
      source = frame:format(opts.params or "", opts.addresses or '"10.0.0.1", "10.0.0.2"',
        opts.pool or ""),
    }
    one, two = net:uas(prefix .. "10.0.0.1", "one"), net:uas(prefix .. "10.0.0.2", "two")
    backup, alice = net:uas("10.0.0.9", "backup"), net:uac("192.0.2.7", "alice")
    net:run(0.1)
  end

  after_each(sim.finish)

  it("is called at the second in the same moment", function()
    open()
    one:refuse()
    local call = alice:call(uri)
    net:run(0.1)
    assert.ladder(call, [[
      0.000 alice  INVITE      -> proxy
      0.001 proxy  INVITE      -x a
      0.002 a      icmp_port   -> proxy
      0.003 proxy  INVITE      -> a
      0.004 a      200         -> proxy
      0.005 proxy  200         -> alice
      0.006 alice  ACK         -> proxy
      0.007 proxy  ACK         -> a
    ]])
    assert.same({}, policy.said(net))
    assert.equal(0, #backup.received)
    assert.equal(1, net:count("request", { tried = "pbx/a:icmp_port:0.00,pbx/a:200:0.00" }))
  end)

  it("is known by its address however the script writes it", function()
    open { addresses = '"[2001:DB8:0:0::1]", "10.0.0.2"', pool = "passive = { fall = 1 }" }
    net:uas("2001:db8::1", "six"):refuse()
    assert.equal(200, alice:call(uri).code)
    net:run(1)
    assert.equal(1, net:count("address.health", { to = "down",
      address = "[2001:db8::1]:5060;transport=udp" }))
  end)

  it("gets another branch there, and the same request", function()
    open()
    one:refuse()
    alice:call(uri)
    local first
    for _, packet in ipairs(net:packets()) do
      first = first or (packet.to == "10.0.0.1:5060" and packet.bytes)
    end
    local second = two:got("INVITE")[1].bytes
    assert.not_equal(first:match "branch=(%w+)", second:match "branch=(%w+)")
    assert.equal((first:gsub("branch=%w+", "", 1)), (second:gsub("branch=%w+", "", 1)))
  end)

  it("is one server that failed when both are dead", function()
    open { pool = "passive = { fall = 2, hold = 60 }" }
    one:refuse()
    two:refuse()
    assert.equal("b", alice:call(uri).server)
    assert.same({ "a transport icmp_port 10.0.0.2:5060" }, policy.said(net))
    assert.equal("up", net.pools.pbx.a.status)
    assert.equal("b", alice:call(uri).server)
    assert.equal("held", net.pools.pbx.a.status)
  end)

  it("has its timeout once", function()
    open()
    net:link(net.nodes[1], one, { delay = 0.5 })
    one:refuse()
    two:silence()
    local call = alice:call(uri)
    assert.equal("b", call.server)
    assert.near(2, call.elapsed, 0.02)
    assert.same({ "a timeout silent 10.0.0.2:5060" }, policy.said(net))
  end)

  it("is called at the other after silence, and comes back to the first", function()
    open()
    one:silence()
    assert.equal("b", alice:call(uri).server)
    assert.same({ "a timeout silent 10.0.0.1:5060" }, policy.said(net))
    assert.equal("a", alice:call(uri).server)
    assert.equal(1, #two:got "INVITE")
    one:resume()
    net:run(31)
    alice:call(uri)
    net:run(0.1)
    assert.equal(1, #two:got "INVITE")
    assert.equal(1, #one:got "ACK")
  end)

  it("is not left after it has rung", function()
    open()
    one:on("INVITE", function(_, reply)
      reply(180)
      net:after(0.5, function() one:refuse() end)
    end)
    local call = alice:invite(uri)
    net:run(1)
    alice:cancel(call)
    net:run(40)
    assert.equal(487, call.code)
    assert.equal(0, #two.received)
  end)

  it("is called by whichever family there is", function()
    open { addresses = '"[2001:db8::1]", "10.0.0.2"' }
    local six = net:uas("[2001:db8::1]:5060", "six")
    alice:call(uri)
    local invite = six:got("INVITE")[1]
    assert.matches("\r\nVia: SIP/2.0/UDP %[2001:db8::100%]:5060;rport;branch=", invite.bytes)
    assert.matches("\r\nRecord%-Route: <sip:%[2001:db8::100%]:5060;lr;t=%x+>\r\n"
      .. "Record%-Route: <sip:10.0.0.100:5060;lr;t=%x+>\r\n", invite.bytes)
    net:run(1)
    six:refuse()
    alice:call(uri)
    -- the next one is made for another family, from what the caller sent
    invite = two:got("INVITE")[1]
    assert.matches("\r\nVia: SIP/2.0/UDP 10.0.0.100:5060;rport;branch=", invite.bytes)
    local _, records = invite.bytes:gsub("\r\nRecord%-Route: ", "")
    assert.equal(1, records)
  end)

  it("is called by TCP at the second when the first refuses", function()
    open { transport = "tcp", params = ";transport=tcp" }
    one:refuse()
    local call = alice:call(uri)
    assert.equal("a", call.server)
    assert(call.elapsed < 0.02)
    assert.equal(1, net:count("request", { tried = "pbx/a:refused:0.00,pbx/a:200:0.00" }))
  end)

  it("has time for the second when the first does not take the connection", function()
    open { transport = "tcp", params = ";transport=tcp" }
    one:stall()
    local call = alice:call(uri)
    assert.equal("a", call.server)
    assert.near(1, call.elapsed, 0.02)
    -- and that is remembered
    assert(alice:call(uri).elapsed < 0.02)
  end)

  -- The first may have the request: what it answers later is heard.
  it("may be answered by both", function()
    open { transport = "tcp", params = ";transport=tcp" }
    one:on("INVITE", function(_, reply)
      one:reset()
      net:after(0.2, function() reply(200) end)
    end)
    two:ring()
    local call = alice:call(uri)
    assert.equal(200, call.code)
    net:run(1)
    assert.equal(1, #two:got "INVITE")
    assert.equal(1, #two:got "CANCEL")
    assert.equal(200, alice:bye(call):wait().code)
    assert.equal(1, #one:got "BYE")
  end)
end)

-- The choice among equals is a hash of the Call-ID, or of the key.
describe("equal addresses of a name", function()
  after_each(sim.finish)

  local function open(key)
    local net = sim.new {
      dns = { ["pbx.example"] = { "10.0.0.1", "10.0.0.2" } },
      source = ([[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        local pbx = sip.pool("pbx", {
          servers = { { name = "a", uri = "sip:pbx.example" } }, check = false,
        })
        sip.route(function(req) return req:relay(pbx, { key = %s }) end)
      ]]):format(key or "nil"),
    }
    local one, two = net:uas("10.0.0.1", "one"), net:uas("10.0.0.2", "two")
    local alice = net:uac "192.0.2.7"
    net:run(1)
    for _ = 1, 40 do
      alice:call(uri)
    end
    return #one:got "INVITE", #two:got "INVITE"
  end

  it("take a share of the calls each", function()
    local first, second = open()
    assert.equal(40, first + second)
    assert(first > 8 and second > 8, first)
  end)

  it("are one for all with the same key", function()
    local first, second = open "req.from.user"
    assert.equal(40, first + second)
    assert(first == 0 or second == 0, first)
  end)
end)
