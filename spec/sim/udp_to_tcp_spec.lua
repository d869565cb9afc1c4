-- RFC 3261 18.1.1: what is too big for UDP goes by TCP, and by UDP after all to who does
-- not take TCP.
local sim = require "support.sim"

local uri = "sip:bob@example.com"
local big = ("a=x\r\n"):rep(300) -- 1500 bytes

local frame = [[
local sip = require "tandem"
sip.listen { %s }
sip.settings { tcp = { connect_timeout = 1 }, %s }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1%s" }, { name = "b", uri = "sip:10.0.0.2" } },
  check = false,
})
sip.route(function(req) return req:relay(pbx) end)
]]

local both = [["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"]]

sim.for_workers("a request that is too big for UDP", function(workers)
  local net, a, alice

  local function open(opts)
    opts = opts or {}
    net = sim.new {
      workers = workers, seed = 3,
      source = frame:format(opts.listen or both, opts.settings or "", opts.params or ""),
    }
    a = net:uas("10.0.0.1", { name = "a", transports = opts.transports or { "udp", "tcp" } })
    net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", "alice")
  end

  after_each(sim.finish)

  local function call(body)
    return alice:call(uri, {
      body = body or big, headers = { ["Content-Type"] = "application/sdp" },
    })
  end

  -- How the INVITEs came to the server.
  local function ways()
    local list = {}
    for _, invite in ipairs(a:got "INVITE") do
      list[#list + 1] = invite.transport
    end
    return table.concat(list, " ")
  end

  it("goes by TCP, with a Via and a Record-Route for that", function()
    open()
    a:answer("INVITE", 200, { Contact = "<sip:bob@10.0.0.1>" })
    local made = call()
    assert.equal(200, made.code)
    local invite = a:got("INVITE")[1]
    assert.equal("tcp", invite.transport)
    assert.matches("\r\nVia: SIP/2.0/TCP 10.0.0.100:5060;rport;branch=", invite.bytes)
    assert.matches("\r\nRecord%-Route: <sip:10.0.0.100:5060;transport=tcp;lr;t=%x+>\r\n"
      .. "Record%-Route: <sip:10.0.0.100:5060;lr;t=%x+>\r\n", invite.bytes)
    net:run(0.1)
    -- what is small goes by UDP
    assert.equal("udp", a:got("ACK")[1].transport)
    assert.equal(200, alice:bye(made):wait().code)
    assert.equal("udp", a:got("BYE")[1].transport)
    assert.equal(200, call("small").code)
    assert.equal("tcp udp", ways())
  end)

  it("goes by UDP to who refuses TCP, which is asked once", function()
    open { transports = { "udp" } }
    local made = call()
    assert.equal("a", made.server)
    assert.equal("udp", ways())
    assert(made.elapsed < 0.02)
    assert.equal(1, net:count("request", { tried = "pbx/a:refused:0.00,pbx/a:200:0.00" }))
    call()
    assert.equal("udp udp", ways())
    assert.equal(1, net:count("flow.down", { cause = "refused" }))
    net:run(601) -- it may have learnt it since
    call()
    assert.equal(2, net:count("flow.down", { cause = "refused" }))
  end)

  it("goes by UDP when the connection is not taken, in the same try", function()
    open()
    a:stall()
    net:after(1.2, function() a:resume() end)
    local made = call()
    assert.equal("a", made.server)
    assert.equal("udp udp", ways()) -- the first while it was stalled
    assert(made.elapsed < 2)
  end)

  it("goes by UDP when that is what the server said", function()
    open { params = ";transport=udp" }
    assert.equal(200, call().code)
    assert.equal("udp", ways())
  end)

  it("goes by UDP when we do not speak TCP, or do not want to", function()
    open { listen = [["udp:0.0.0.0:5060"]] }
    assert.equal(200, call().code)
    assert.equal("udp", ways())
    open { settings = "udp_max = false" }
    assert.equal(200, call().code)
    assert.equal("udp", ways())
  end)

  it("is as big as the script says", function()
    open { settings = "udp_max = 4000" }
    assert.equal(200, call().code)
    assert.equal("udp", ways())
    open { settings = "udp_max = 512" }
    assert.equal(200, call(("a=x\r\n"):rep(50)).code)
    assert.equal("tcp", ways())
  end)

  it("goes by TCP when the network says so", function()
    open { settings = "udp_max = 60000" }
    net:link(net.nodes[1], a, { mtu = 1400 })
    local made = call()
    assert.equal("a", made.server)
    assert.equal("tcp", ways())
    assert.equal(1, net:count("request", { tried = "pbx/a:too_big:0.00,pbx/a:200:0.00" }))
  end)

  it("is too big when neither works", function()
    open { transports = { "udp" }, settings = "udp_max = 60000" }
    net:link(net.nodes[1], a, { mtu = 1400 })
    local made = call()
    assert.equal("b", made.server)
    assert.equal("", ways())
    assert.equal(1, net:count("request", {
      tried = "pbx/a:too_big:0.00,pbx/a:refused:0.00,pbx/a:too_big:0.00,pbx/b:200:0.00",
    }))
  end)

  it("is answered the way it came, however big that is", function()
    open()
    a:on("INVITE", function(_, reply) reply(486, { body = big }) end)
    assert.equal(486, call("small").code)
    assert.equal("udp", alice.received[#alice.received].transport)
    assert(#alice.received[#alice.received].bytes > 1300)
  end)
end)

sim.for_workers("a big request to a server with two addresses", function(workers)
  after_each(sim.finish)

  it("says of an address what any other says", function()
    local net = sim.new {
      workers = workers, seed = 3,
      source = ([[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", addresses = { "10.0.0.1", "10.0.0.3" } } },
  check = false, passive = { fall = 1 }, attempt = { timeout = 2, last_timeout = 2 },
})
sip.route(function(req) return req:relay(pbx) end)
]]),
    }
    local transports = { transports = { "udp", "tcp" } }
    net:uas("10.0.0.1", transports):silence() -- but its kernel takes connections
    net:uas("10.0.0.3", transports)
    local alice = net:uac "192.0.2.7"
    local function call()
      return alice:call(uri, { body = big, headers = { ["Content-Type"] = "application/sdp" } })
    end
    assert.equal(500, call().code)
    net:run(0.1)
    assert.equal(1, net:count("address.health", { address = "10.0.0.1:5060;transport=udp",
      to = "down" }))
    for _ = 1, 4 do
      assert.equal(200, call().code)
    end
  end)
end)

describe("a request of our own that is too big for UDP", function()
  after_each(sim.finish)

  local function ask(transports)
    local net = sim.new {
      source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
        sip.route(function(req)
          local res = sip.request {
            method = "MESSAGE", uri = "sip:10.0.0.1", body = ("x"):rep(1400), timeout = 4,
            headers = { ["Content-Type"] = "text/plain" },
          }
          return req:reply(res and res.code or 500)
        end)
      ]],
    }
    local a = net:uas("10.0.0.1", { name = "a", transports = transports })
    assert.equal(200, net:uac("192.0.2.7"):ask("OPTIONS", "sip:x@example.com").code)
    return a:got("MESSAGE")[1]
  end

  it("goes by TCP, or by UDP after all", function()
    assert.equal("tcp", ask({ "udp", "tcp" }).transport)
    assert.equal("udp", ask({ "udp" }).transport)
  end)
end)
