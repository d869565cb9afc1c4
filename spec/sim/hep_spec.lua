-- What a collector of captures is sent (sip.settings { trace = ... }).
local hep = require "support.hep"
local sim = require "support.sim"
local wire = require "support.wire"

local homer = "192.0.2.99:9060"

-- The network, with these options of trace.
local function world(workers, options, more)
  local opts = {
    workers = workers,
    before = ("sip.settings { trace = { hep = 'udp:%s', %s } }"):format(homer, options or ""),
  }
  for name, value in pairs(more or {}) do
    opts[name] = value
  end
  return wire.world(opts)
end

-- The INVITE as it left for server a.
local function forwarded(net)
  for _, packet in ipairs(net:packets()) do
    if packet.to == "10.0.0.1:5060" then
      return packet.bytes
    end
  end
end

sim.for_workers("mirroring to a collector", function(workers)
  after_each(sim.finish)

  it("shows each message of a call, both ways, and the decision", function()
    local net, a, _, alice = world(workers, "name = 'edge1', id = 7, password = 'pw'")
    a:ring(1)
    local call = alice:call("sip:bob@example.com")
    net:run(1)
    alice:bye(call)
    net:run(1)
    local list = hep.to(net, homer)
    assert.equal("INVITE INVITE 180 100 180 200 200 decided why ACK ACK "
      .. "BYE BYE 200 200 decided why", hep.names(list))
    for _, packet in ipairs(list) do
      assert.equal(2, packet.family)
      assert.equal(17, packet.protocol)
      assert.equal(7, packet.id)
      assert.equal("edge1", packet.node)
      assert.equal("pw", packet.password)
      assert.equal(call.id, packet.correlation)
    end
    local invite, sent, ringing = list[1], list[2], list[3]
    assert.equal("192.0.2.7", invite.from_ip)
    assert.equal(5060, invite.to_port)
    assert.equal("10.0.0.1", sent.to_ip)
    assert.equal(invite.to_ip, sent.from_ip)
    assert.equal(5060, sent.from_port)
    assert.equal("10.0.0.1", ringing.from_ip)
    assert.equal(#list, net:metric "tandem_hep_packets_total")
    local decision = list[8].payload
    assert.matches('"method":"INVITE"', decision, 1, true)
    assert.matches('"tried":"pbx/a:200:1.0', decision, 1, true)
    assert.matches('"code":200', decision, 1, true)
    assert.equal("192.0.2.7", list[8].from_ip)
    assert.matches('"event":"request.why"', list[9].payload, 1, true)
    assert.matches("choice pbx a usable", list[9].payload, 1, true)
  end)

  it("has the messages as they were on the wire, at their time", function()
    local net, _, _, alice = world(workers)
    net:run(2)
    alice:call("sip:bob@example.com")
    net:run(1)
    local list, at = hep.to(net, homer), 1
    for _, packet in ipairs(net:packets()) do
      if packet.to ~= homer and list[at].payload == packet.bytes then
        at = at + 1
        while list[at] and list[at].type == 100 do
          at = at + 1
        end
      end
    end
    assert.equal(#list + 1, at)
    local later = list[3].seconds + list[3].micros / 1e6 - list[1].seconds - list[1].micros / 1e6
    assert.near(alice.received[1].time - 2, later, 0.05)
  end)

  it("shows a call that failed over, its retransmissions too", function()
    local net, a, b, alice = world(workers)
    a:silence()
    b:answer("INVITE", 486)
    alice:call("sip:bob@example.com")
    net:run(1)
    local list = hep.to(net, homer)
    assert.matches("^INVITE INVITE 100 INVITE INVITE INVITE 486 ACK 486 ", hep.names(list))
    assert.matches('"tried":"pbx/a:silent:2.00,pbx/b:486:0', list[9].payload .. list[10].payload,
      1, true)
  end)

  it("says tcp for TCP and TLS, and has their messages in clear", function()
    local net = sim.new { workers = workers, source = ([=[
      local sip = require "tandem"
      sip.settings { trace = { hep = "udp:%s" } }
      sip.listen { "tcp:0.0.0.0:5060", { "tls:0.0.0.0:5061", cert = "c", key = "k" } }
      local pbx = sip.pool("pbx", { check = false, servers = {
        { name = "a", uri = "sip:10.0.0.1;transport=tls", tls = { verify = false } } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]=]):format(homer) }
    net:uas("tls:10.0.0.1", "a")
    assert.equal(200, net:uac("tcp:192.0.2.7", "alice"):call("sip:bob@example.com").code)
    local list = hep.to(net, homer)
    assert.matches("^INVITE INVITE ", hep.names(list))
    assert.equal(6, list[1].protocol)
    assert.equal(5060, list[1].to_port)
    assert.equal(6, list[2].protocol)
    assert.equal(5061, list[2].to_port)
  end)

  it("cuts what no datagram takes", function()
    local net = sim.new { workers = workers, source = ([=[
      local sip = require "tandem"
      sip.settings { trace = { hep = "udp:%s" } }
      sip.listen { "tcp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", { check = false, servers = {
        { name = "a", uri = "sip:10.0.0.1;transport=tcp" } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]=]):format(homer) }
    net:uas("tcp:10.0.0.1", "a")
    local alice = net:uac("tcp:192.0.2.7", "alice")
    local res = alice:request("MESSAGE", "sip:bob@example.com", { body = ("x"):rep(64950) })
    net:run(1)
    assert.equal(200, res.code)
    assert.equal("MESSAGE MESSAGE 200 200 decided why", hep.names(hep.to(net, homer)))
    assert.equal(1, net:metric "tandem_hep_cut_total") -- with Via and Record-Route of ours
    for _, packet in ipairs(net:packets()) do
      assert(packet.to ~= homer or #packet.bytes <= 65507)
    end
  end)

  it("shows what cannot be read and its answer, but no rubbish", function()
    local net, _, _, alice = world(workers)
    alice:send(wire.bytes [=[
      INVITE sip:bob@example.com SIP/2.0
      Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx
      From: <sip:alice@example.com>;tag=1
      To: <sip:bob@example.com>
      Call-ID: bad
      CSeq: none
    ]=])
    alice:send "hello"
    net:run(1)
    assert.equal("INVITE 400", hep.names(hep.to(net, homer)))
    assert.equal("bad", hep.to(net, homer)[1].correlation)
  end)

  local secrets = { headers = {
    { "Authorization", 'Digest username="alice", response="0123456789abcdef"' },
    { "Proxy-Authorization", "Basic YWxpY2U6c2VjcmV0" },
    { "P-Asserted-Identity", "<sip:alice:secret@example.com>" },
  }, body = "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19\r\n" }

  it("leaves secrets out, and no byte more", function()
    local net, _, _, alice = world(workers)
    alice:call("sip:bob:secret@example.com", secrets)
    local list = hep.to(net, homer)
    for _, packet in ipairs(list) do
      for _, secret in ipairs { "secret", "0123456789abcdef", "YWxpY2U6c2VjcmV0", "WVNfX19" } do
        assert.is_nil(packet.payload:find(secret, 1, true))
      end
    end
    assert.matches('response="****************"', list[2].payload, 1, true)
    assert.equal(#forwarded(net), #list[2].payload)
    assert.matches("bob:secret", forwarded(net), 1, true) -- the server gets it all
  end)

  it("shows them when the script says so", function()
    local net, _, _, alice = world(workers, "redact = false")
    alice:call("sip:bob:secret@example.com", secrets)
    assert.equal(forwarded(net), hep.to(net, homer)[2].payload)
  end)

  it("shows a share of the calls, each as a whole, the same ones on every node", function()
    local function calls()
      local net, _, _, alice = world(workers, "share = 0.5", { seed = 3 })
      local shown, n = {}, 0
      for _ = 1, 40 do
        alice:bye(alice:call("sip:bob@example.com"))
      end
      net:run(1)
      for _, packet in ipairs(hep.to(net, homer)) do
        n = n + (shown[packet.correlation] and 0 or 1)
        shown[packet.correlation] = (shown[packet.correlation] or "") .. hep.names { packet } .. " "
      end
      for _, names in pairs(shown) do
        assert.matches("^INVITE .*decided why .*BYE BYE 200 200 decided why $", names)
      end
      assert(n > 8 and n < 32, n)
      return shown
    end
    assert.same(calls(), calls())
  end)

  it("begins and ends with a reload", function()
    local net, _, _, alice = wire.world { workers = workers }
    alice:call("sip:bob@example.com")
    assert.equal(0, #hep.to(net, homer))
    local script = wire.script(nil, "sip.settings { trace = { hep = 'udp:192.0.2.99' } }")
    assert(net.nodes[1]:reload { source = script })
    alice:call("sip:bob@example.com")
    local shown = #hep.to(net, homer)
    assert(shown > 5)
    assert(net.nodes[1]:reload { source = wire.script() })
    alice:call("sip:bob@example.com")
    assert.equal(shown, #hep.to(net, homer))
  end)

  it("does not mind a collector that is not there", function()
    local net, _, _, alice = wire.world { workers = workers,
      before = "sip.settings { trace = { hep = 'udp:[2001:db8::9]:9060' } }" }
    assert.equal(200, alice:call("sip:bob@example.com").code)
    assert.equal(6, net:metric("tandem_hep_dropped_total", { reason = "unreachable" }))
    assert.equal(0, net:metric "tandem_hep_packets_total")
  end)
end)

describe("the options of trace", function()
  for options, said in pairs {
    ["hep = 'tcp:192.0.2.9'"] = "hep: udp:IP[:PORT] expected, got 'tcp:192.0.2.9'",
    ["hep = 'udp:homer.example.com'"] = "udp:IP[:PORT] expected, got 'udp:homer.example.com'",
    ["hep = 'udp:192.0.2.9:0'"] = "udp:IP[:PORT] expected",
    ["share = 2"] = "share",
    ["name = ''"] = "name: 1 to 255 printable ASCII characters expected",
    ["password = ('x'):rep(256)"] = "password: 1 to 255 printable ASCII characters expected",
    ["id = -1"] = "id",
  } do
    it("are checked: " .. options, function()
      local ok, why = pcall(sim.new, {
        source = ("local sip = require 'tandem'\nsip.settings { trace = { %s } }"):format(options),
      })
      assert.is_false(ok)
      assert.matches("script.lua:2: sip.settings: ", why, 1, true)
      assert.matches(said, why, 1, true)
    end)
  end
end)
