-- Via, Record-Route and source are made for each attempt alone: for its transport, its
-- family and the listener it leaves by (RFC 3261 16.6 steps 4 and 8, semantics 21).
local sim = require "support.sim"
local policy = require "support.policy"

local frame = [[
local sip = require "tandem"
sip.listen {
  "udp:10.0.0.100:5060", "tcp:10.0.0.100:5060", "tcp:[2001:db8::100]:5060",
  { "tls:10.0.0.100:5061", cert = "sip.pem", key = "sip.key", advertise = "sip.example.net" },
  { "udp:10.7.0.100:5070", advertise = "203.0.113.5:5070" },
}
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", tier = 1, uri = "sip:10.0.0.1" },
    { name = "b", tier = 2, uri = "sip:[2001:db8::2];transport=tcp" },
    { name = "c", tier = 3, uri = "sips:10.0.0.3" },
  },
  check = false,
})
sip.route(function(req)
  %s
  for server in pbx:each(req) do
    local res = req:try(server)
    if res and res.code ~= 503 then return res:forward() end
  end
  return req:reply(500)
end)
]]

local uri = "sip:bob@example.com"

sim.for_workers("each attempt", function(workers)
  local net, a, b, c, alice

  local function open(handler)
    net = sim.new {
      source = frame:format(handler or ""), workers = workers,
      addr = { "10.0.0.100", "10.7.0.100", "2001:db8::100" },
    }
    a, b = net:uas("10.0.0.1", "a"), net:uas("tcp:[2001:db8::2]", "b")
    c = net:uas("tls:10.0.0.3", "c")
    alice = net:uac("192.0.2.7", { name = "alice", proxy = "10.0.0.100" })
  end

  after_each(sim.finish)

  local function first_via(message)
    return (message:list "Via"[1]:gsub(";branch=.*", ""))
  end

  local function records(message)
    local list = {}
    for i, value in ipairs(message:list "Record-Route") do
      list[i] = value:gsub(";t=%x+", "")
    end
    return list
  end

  it("says how it left, and nothing of the one before", function()
    open "req:add_header('X-Mine', '1')"
    a:answer("INVITE", 503)
    b:answer("INVITE", 503)
    local call = alice:call(uri)
    assert.equal("c", call.server)
    local from_a, from_b, from_c = a:got("INVITE")[1], b:got("INVITE")[1], c:got("INVITE")[1]
    assert.equal("SIP/2.0/UDP 10.0.0.100:5060;rport", first_via(from_a))
    assert.equal("SIP/2.0/TCP [2001:db8::100]:5060;rport", first_via(from_b))
    assert.equal("SIP/2.0/TLS sip.example.net;rport", first_via(from_c))
    assert.same({ "<sip:10.0.0.100:5060;lr>" }, records(from_a))
    assert.same({ "<sip:[2001:db8::100]:5060;transport=tcp;lr>", "<sip:10.0.0.100:5060;lr>" },
      records(from_b))
    assert.same({ "<sip:sip.example.net;transport=tls;lr>", "<sip:10.0.0.100:5060;lr>" },
      records(from_c))
    for _, invite in ipairs { from_a, from_b, from_c } do
      assert.equal(2, #invite:list "Via")
      assert.same({ "1" }, invite:all "X-Mine")
      assert.equal("69", invite:header "Max-Forwards")
      assert.equal(uri, invite.uri)
    end
  end)

  -- Both values of ours, on either side of the dialog.
  for _, case in ipairs { { "b", 1 }, { "c", 2 } } do
    it("to " .. case[1] .. " leads requests back through both doors", function()
      open()
      a:answer("INVITE", 503)
      if case[2] > 1 then
        b:answer("INVITE", 503)
      end
      local server = case[2] > 1 and c or b
      local call = alice:call(uri)
      net:run(0.1)
      assert.equal(1, #server:got "ACK")
      alice:reinvite(call):wait()
      local again = server:got("INVITE")[2]
      assert.same({}, again:all "Route")
      assert.same({}, again:all "Record-Route")
      assert.equal(server:got("INVITE")[1].transport, again.transport)
      assert.equal(200, server:in_dialog(call, "INFO"):wait().code)
      local info = alice:got("INFO")[1]
      assert.same({}, info:all "Route")
      assert.equal("SIP/2.0/UDP 10.0.0.100:5060;rport", first_via(info))
      assert.equal(200, server:bye(call):wait().code)
    end)
  end

  it("leaves by the listener that its caller came to", function()
    open()
    alice.proxy = "10.7.0.100:5070"
    alice:call(uri)
    local invite = a:got("INVITE")[1]
    assert.equal("SIP/2.0/UDP 203.0.113.5:5070;rport", first_via(invite))
    assert.equal("10.7.0.100:5070", invite.source)
    assert.same({ "<sip:203.0.113.5:5070;lr>" }, records(invite))
  end)

  -- It has no certificate, and nobody can connect to it.
  it("of a phone over TLS leads back on its connection", function()
    open()
    local phone = net:uac("tls:192.0.2.8", { name = "phone", listen = false })
    local call = phone:call(uri)
    assert.equal(200, call.code)
    local record = a:got("INVITE")[1]:list "Record-Route"
    assert.matches("^<sip:10.0.0.100:5060;lr;", record[1])
    assert.matches("^<sip:flow1%-%w+@sip.example.net;transport=tls;lr;", record[2])
    net:run(0.1)
    assert.equal(200, a:in_dialog(call, "INFO"):wait().code)
    assert.equal(1, #phone:connections())
    phone:close()
    net:run(0.1)
    assert.equal(430, a:in_dialog(call, "INFO"):wait().code)
  end)

  -- RFC 3261 16.12
  it("obeys a strict router between two transports", function()
    open()
    local router = net:uas("tcp:10.0.0.8", "router")
    router:answer("INFO", 200)
    policy.send(a, "INFO", "sip:x@192.0.2.9", {
      to_tag = "1", to = "10.0.0.100:5060",
      route = { "<sip:10.0.0.100;lr>", "<sip:10.0.0.8;transport=tcp>", "<sip:10.0.0.9;lr>" },
    })
    net:run(1)
    local info = router:got("INFO")[1]
    assert.equal("sip:10.0.0.8;transport=tcp", info.uri)
    assert.same({ "<sip:10.0.0.9;lr>", "<sip:x@192.0.2.9>" }, info:list "Route")
    assert.equal("SIP/2.0/TCP 10.0.0.100:5060;rport", first_via(info))
  end)

  it("keeps the parameters of the URI it is for", function()
    open()
    local long = "sip:bob:pw@example.com:5066;user=phone;transport=tcp;maddr=192.0.2.9"
    alice:call(long)
    assert.equal(long, a:got("INVITE")[1].uri)
    alice:call "sip:bob@[2001:db8::9]:5070;transport=tls"
    assert.equal("sip:bob@[2001:db8::9]:5070;transport=tls", a:got("INVITE")[2].uri)
  end)
end)
