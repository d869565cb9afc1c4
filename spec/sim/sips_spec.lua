-- sips (RFC 3261 26.2.2, RFC 5630): what asks for it goes by TLS or not at all, and its
-- peer has to be who the URI says.
local sim = require "support.sim"
local policy = require "support.policy"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" } }
sip.settings { domains = { "far.example" } }
local pbx = sip.pool("pbx", {
  servers = { %s }, check = false, passive = { fall = 2, hold = 60 }, path = "always",
})
sip.route(function(req)
  if req.ruri.host == "far.example" then
    local res, err, detail = req:try(tostring(req.ruri))
    sip.log.info(("%%s %%s"):format(err, detail and detail.cause))
    return res and res:forward() or req:reply(480)
  end
  for server in pbx:each(req) do
    local res, err, detail = req:try(server, { timeout = 2 })
    if err == "cancelled" then return end
    if res then return res:forward() end
    sip.log.info(("%%s %%s %%s"):format(server.name, err, detail.cause))
  end
  return req:reply(500)
end)
]]

local udp = [[{ name = "u", uri = "sip:10.0.0.1" }]]
local tcp = [[{ name = "t", uri = "sip:10.0.0.1;transport=tcp" }]]
local tls = [[{ name = "s", uri = "sips:pbx.example" }]]
local uri, secure = "sip:bob@example.com", "sips:bob@example.com"

sim.for_workers("sips", function(workers)
  local net, plain, server, alice

  local function open(servers, from)
    net = sim.new {
      workers = workers, source = frame:format(table.concat(servers, ", ")),
      dns = {
        ["pbx.example"] = "10.0.0.2", ["far.example"] = "10.0.0.3",
        ["_sip._udp.far.example"] = { target = "far.example" },
        ["_sips._tcp.far.example"] = { target = "far.example", port = 5061 },
      },
    }
    plain = net:uas("10.0.0.1", { name = "plain", transports = { "udp", "tcp" } })
    server = net:uas("tls:10.0.0.2", { name = "server", tls = { names = { "pbx.example" } } })
    alice = net:uac(from or "tls:192.0.2.7", "alice")
    net:run(1)
  end

  after_each(sim.finish)

  -- RFC 5630 3
  it("goes to who speaks TLS, recorded as sips", function()
    open { tls }
    local call = alice:call(secure)
    assert.equal(200, call.code)
    local invite = server:got("INVITE")[1]
    assert.equal("tls", invite.transport)
    assert.equal(secure, invite.uri)
    assert.matches("\r\nVia: SIP/2.0/TLS 10.0.0.100:5061;rport;branch=", invite.bytes)
    local record = invite:list "Record-Route"
    assert.equal(1, #record)
    assert.matches("^<sips:flow1%-%w+@10.0.0.100:5061;lr;t=%x+>$", record[1])
    net:run(0.1)
    assert.equal("tls", server:got("ACK")[1].transport)
    assert.equal(200, server:bye(call):wait().code)
    assert.equal("tls", alice:got("BYE")[1].transport)
  end)

  it("never goes by UDP or TCP, which is no fault of the server", function()
    open { udp, tcp }
    for _ = 1, 3 do
      assert.equal(500, alice:call(secure).code)
    end
    assert.equal(0, #plain.received)
    assert.same({ "u transport no_source", "t transport no_source" },
      { policy.said(net)[1], policy.said(net)[2] })
    assert.equal(3, net:count("sips.insecure")) -- once per request
    assert.equal("up", net.pools.pbx.u.status)
    assert.equal(200, alice:call(uri).code)
  end)

  it("in a dialog neither, be it an ACK", function()
    open { udp }
    for _, method in ipairs { "ACK", "INFO" } do
      policy.send(plain, method, "sips:bob@192.0.2.9:5060", {
        to_tag = "1", to = "10.0.0.100:5060",
        route = { "<sip:10.0.0.100;lr>", "<sip:192.0.2.9;lr>" },
      })
    end
    local nobody = net:uas("192.0.2.9", "nobody")
    net:run(1)
    assert.equal(0, #nobody.received)
    assert.equal(500, plain.received[#plain.received].code)
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
  end)

  it("goes on to a server that speaks TLS", function()
    open { udp, tls }
    assert.equal("s", alice:call(secure).server)
    assert.equal("u", alice:call(uri).server)
  end)

  -- What came before us is not ours to mend: our own hop is safe, and what is recorded
  -- for the other side says how that is reached.
  it("that came by UDP leaves by TLS", function()
    open({ tls }, "192.0.2.7")
    local call = alice:call(secure)
    assert.equal(200, call.code)
    local record = server:got("INVITE")[1]:list "Record-Route"
    assert.matches("^<sips:10.0.0.100:5061;lr;t=", record[1])
    assert.matches("^<sip:10.0.0.100:5060;lr;t=", (record[2]:gsub("sip:[^@]+@", "sip:")))
    assert.equal(200, alice:bye(call):wait().code)
    assert.equal("tls", server:got("BYE")[1].transport)
  end)

  it("in the URI of a name asks for nothing but TLS", function()
    open { udp }
    local far = net:uas("10.0.0.3", {
      name = "far", transports = { "udp", "tcp", "tls" }, tls = { names = { "far.example" } },
    })
    assert.equal(200, alice:ask("MESSAGE", "sips:bob@far.example").code)
    assert.equal("tls", far:got("MESSAGE")[1].transport)
    assert.equal(200, alice:ask("MESSAGE", "sip:bob@far.example").code)
    assert.equal("udp", far:got("MESSAGE")[2].transport)
  end)

  it("reaches nobody who shows another name", function()
    open { tls, udp }
    server:identity { names = { "other.example" } }
    local far = net:uas("10.0.0.3", {
      name = "far", transports = { "udp", "tcp", "tls" }, tls = { names = { "else.example" } },
    })
    assert.equal(480, alice:ask("MESSAGE", "sips:bob@far.example").code)
    assert.equal("transport tls_identity", policy.said(net)[1])
    assert.equal(0, #far.received)
    -- and a call that does not ask for it goes to the backup
    assert.equal("u", alice:call(uri).server)
    assert.equal("s transport tls_identity", policy.said(net)[2])
    assert.equal(0, #server.received)
  end)

  -- Its certificate names the server, not the address in its Contact or Route.
  it("knows a server in a dialog for who it is", function()
    open { tls }
    server:answer("INVITE", 200, { Contact = "<sip:bob@10.0.0.2:5061;transport=tls>" })
    local call = alice:call(uri)
    assert.equal(200, call.code)
    net:run(0.1)
    assert.equal(1, #server:got "ACK")
    server:reset()
    net:run(0.1)
    assert.equal(200, alice:bye(call):wait().code)
  end)
end)
