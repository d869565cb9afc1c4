-- Max-Forwards: RFC 3261 16.3 step 3 and 16.6 step 3, checklist 32.
local sim = require "support.sim"
local wire = require "support.wire"

sim.for_workers("Max-Forwards", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  before_each(function()
    net, a, b, alice = wire.world { handler = "sip.log.info 'run' " .. wire.single,
      workers = workers }
  end)

  -- A request of alice's with this line, or none.
  local function send(method, line, uri, more)
    alice:send(wire.bytes(([[
      %s %s SIP/2.0
      Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK%s;rport
      From: <sip:alice@192.0.2.7>;tag=1
      To: <sip:bob@example.com>%s
      Call-ID: %s@192.0.2.7
      CSeq: 1 %s
      Contact: <sip:alice@192.0.2.7>
      %s
    ]]):format(method, uri or "sip:bob@example.com", net:token(8), more or "", net:token(8),
      method, line or "X-None: here")))
    net:run(0.01)
  end

  for _, method in ipairs { "INVITE", "MESSAGE" } do
    it("is counted down, " .. method, function()
      for given, sent in pairs { [70] = "69", [1] = "0", [255] = "254", [2] = "1" } do
        a.received = {}
        send(method, "Max-Forwards: " .. given)
        assert.equal(sent, a:got(method)[1]:header "Max-Forwards")
        assert.equal(1, #a:got(method)[1]:all "Max-Forwards")
      end
    end)

    it("is 70 when it was missing, " .. method, function()
      send(method)
      assert.equal("70", a:got(method)[1]:header "Max-Forwards")
    end)

    it("of 0 is refused with 483 before the script, " .. method, function()
      send(method, "Max-Forwards: 0")
      assert.equal("483", wire.names(alice.received))
      assert.same({}, a.received)
      assert.equal(0, wire.said(net, "run"))
      assert.equal(0, wire.alive(net).servers)
    end)
  end

  it("that is no number from 0 to 255 is refused with 400", function()
    for i, text in ipairs { "256", "-1", "many", "", "70, 70", "4294967296" } do
      send("MESSAGE", "Max-Forwards: " .. text)
      assert.equal(i, #alice:got(400), text)
    end
    assert.same({}, a.received)
  end)

  -- RFC 3261 11.2
  it("of 0 does not matter to OPTIONS for the proxy itself: 200 (11)", function()
    send("OPTIONS", "Max-Forwards: 0\r\nContact: <sip:alice@192.0.2.7>\r\nAccept: application/sdp",
      "sip:10.0.0.100")
    assert.equal("200", wire.names(alice.received))
    assert.is_string(alice.received[1]:header "Allow")
    send("OPTIONS", "Max-Forwards: 0", "sip:10.0.0.100:5060;transport=udp")
    assert.equal("200 200", wire.names(alice.received))
  end)

  it("of 0 does matter to OPTIONS for somebody else", function()
    send("OPTIONS", "Max-Forwards: 0")
    send("OPTIONS", "Max-Forwards: 0", "sip:10.0.0.100:5070")
    assert.equal("483 483", wire.names(alice.received))
  end)

  it("of 0 does matter to OPTIONS for a user at the proxy's address", function()
    send("OPTIONS", "Max-Forwards: 0", "sip:bob@10.0.0.100")
    assert.equal("483", wire.names(alice.received))
    assert.same({}, a.received)
  end)

  it("is counted down in every attempt from what was received", function()
    net, a, b, alice = wire.world { workers = workers }
    a:silence()
    send("INVITE", "Max-Forwards: 7")
    net:run(3)
    assert.equal("6", a:got("INVITE")[1]:header "Max-Forwards")
    assert.equal("6", b:got("INVITE")[1]:header "Max-Forwards")
  end)

  it("is counted down in a dialog, and 0 ends there with 483", function()
    local call = alice:call "sip:bob@example.com"
    assert.equal(200, alice:in_dialog(call, "INFO", { headers = { ["Max-Forwards"] = "3" } })
      :wait().code)
    assert.equal("2", a:got("INFO")[1]:header "Max-Forwards")
    assert.equal(483, alice:in_dialog(call, "INFO", { headers = { ["Max-Forwards"] = "0" } })
      :wait().code)
    assert.equal(1, #a:got "INFO")
  end)
end)
