-- Connections of the simulated network, between endpoints that know no proxy.
local sim = require "support.sim"

local net, alice, bob

local function setup(a, b)
  net = sim.new { seed = 5 }
  alice = net:uac(a or "tcp:192.0.2.7", "alice")
  bob = net:uas(b or "tcp:192.0.2.8", "bob")
end

local function call(opts)
  return alice:call("sip:bob@192.0.2.8", opts)
end

-- An OPTIONS as bytes, with a number to know it by.
local function options(number, body)
  return table.concat({
    "OPTIONS sip:bob@192.0.2.8 SIP/2.0",
    "Via: SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bK" .. number,
    "From: <sip:a@x>;tag=1", "To: <sip:b@x>", "Call-ID: c" .. number, "CSeq: 1 OPTIONS",
    "l: " .. #(body or ""), "", body or "",
  }, "\r\n")
end

local function call_ids()
  local ids = {}
  for i, message in ipairs(bob.received) do
    ids[i] = message.call_id
  end
  return table.concat(ids, " ")
end

describe("a simulated connection", function()
  before_each(function()
    setup()
  end)
  after_each(sim.finish)

  it("is opened first, and kept", function()
    local first = call()
    assert.ladder(net, [[
      0.000 alice INVITE TCP-> bob
      0.001 bob   200    TCP-> alice
      0.002 alice ACK    TCP-> bob
    ]])
    assert.equal(0.004, first.elapsed)
    assert.equal(0.002, call().elapsed)
    assert.equal(1, #alice:connections())
    assert.equal(1, #bob:connections())
    assert.is_true(bob:connections()[1].accepted)
    assert.equal("192.0.2.8:5060", alice:connections()[1].peer)
  end)

  it("shows its transport in Via, Contact and packets", function()
    call()
    local invite = bob:got("INVITE")[1]
    assert.matches("^SIP/2.0/TCP 192.0.2.7:5060;", invite:header "Via")
    assert.equal("<sip:alice@192.0.2.7:5060;transport=tcp>", invite:header "Contact")
    assert.equal("tcp", invite.transport)
    assert.equal("tcp", net:packets()[1].transport)
  end)

  it("is another one for the requests of who was called", function()
    local made = call()
    assert.equal(200, bob:bye(made):wait().code)
    assert.equal(2, #alice:connections())
    assert.equal("192.0.2.7:5060", bob:connections()[2].peer)
  end)

  it("speaks IPv6", function()
    setup("tcp:[2001:db8::7]", "tcp:2001:db8::8")
    assert.equal(200, alice:call("sip:bob@[2001:db8::8]").code)
    assert.matches("^SIP/2.0/TCP %[2001:db8::7%]:5060;", bob:got("INVITE")[1]:header "Via")
  end)

  it("repeats nothing but a 2xx", function()
    bob:on("INVITE", function(_, reply)
      bob:after(20, function()
        reply(486)
      end)
    end)
    local made = call()
    assert.equal(486, made.code)
    assert.equal(1, #bob:got "INVITE")
    bob:answer("INVITE", 200)
    made = call { ack = false }
    net:run(3)
    assert.equal(3, #alice:got(200))
    alice:ack(made)
    net:run(10)
    assert.equal(3, #alice:got(200))
  end)

  describe("that fails", function()
    it("is refused after a round trip when nobody listens", function()
      bob:refuse()
      local made = call()
      assert.equal("transport", made.error)
      assert.equal(0.002, made.elapsed)
      assert.equal("refused", alice.ended[1].cause)
      bob:resume()
      assert.equal(200, call().code)
    end)

    it("is refused by who has another transport, or is behind a NAT", function()
      net:uas("192.0.2.9", "carol")
      assert.equal(0.002, alice:call("sip:carol@192.0.2.9").elapsed)
      net:uac("tcp:192.0.2.10", { private = "192.168.0.2" })
      assert.equal("transport", alice:call("sip:dave@192.0.2.10").error)
      net:uac("tcp:192.0.2.11", { listen = false })
      assert.equal("transport", alice:call("sip:erin@192.0.2.11").error)
    end)

    it("times out when the machine is off or was never there", function()
      bob:power_off()
      local made = call()
      assert.equal("transport", made.error)
      assert.equal(10, made.elapsed)
      assert.equal("connect_timeout", alice.ended[1].cause)
      assert.equal("transport", alice:call("sip:bob@192.0.2.99").error)
    end)

    it("times out when the server dies before it can answer", function()
      net:partition(bob, alice, { oneway = true })
      local made = alice:invite "sip:bob@192.0.2.8"
      net:run(0.1)
      bob:power_off()
      net:heal()
      bob:resume()
      assert.equal("transport", made:wait().error)
      assert.equal(10, made.elapsed)
      assert.equal("connect_timeout", alice.ended[1].cause)
    end)

    it("tries again to connect after a second", function()
      net:partition(alice, bob)
      net:after(0.5, function()
        net:heal()
      end)
      assert.equal(1.004, call().elapsed)
    end)

    it("is reset, or closed", function()
      call()
      bob:reset()
      net:run(0.1)
      assert.equal("reset", alice.ended[1].cause)
      assert.equal(0, #alice:connections())
      call()
      bob:close()
      net:run(0.1)
      assert.equal("closed", alice.ended[2].cause)
      call()
      bob:crash()
      net:run(0.1)
      assert.equal("reset", alice.ended[3].cause)
    end)

    it("ends a request without a response, not one that has rung", function()
      bob:ring()
      local ringing = alice:invite "sip:bob@192.0.2.8"
      net:run(1)
      bob:silence()
      local silent = alice:invite "sip:bob@192.0.2.8"
      net:run(1)
      bob:reset()
      net:run(1)
      assert.equal("transport", silent.error)
      assert.is_nil(ringing.error)
    end)

    it("is answered on a new one to the port of the Via", function()
      bob:on("INVITE", function(_, reply)
        bob:after(1, function()
          reply(486)
        end)
      end)
      local made = alice:invite "sip:bob@192.0.2.8"
      net:run(0.5)
      alice:close()
      assert.equal(486, made:wait().code)
      assert.is_true(alice:connections()[1].accepted)
    end)

    it("gives up what is not taken for ten seconds", function()
      call()
      bob:stall()
      local made = alice:invite "sip:bob@192.0.2.8"
      net:run(9)
      assert.is_nil(made.error)
      net:run(1)
      assert.equal("reset", alice.ended[1].cause)
      assert.equal("transport", made.error)
      assert.equal(10, call().elapsed)
      assert.equal("connect_timeout", alice.ended[2].cause)
    end)

    it("delivers what was not taken for a while", function()
      call()
      bob:stall()
      local made = alice:invite "sip:bob@192.0.2.8"
      net:run(5)
      bob:resume()
      assert.equal(200, made:wait().code)
    end)

    it("is half open when the machine lost its power", function()
      call()
      net:run(0.1)
      bob:power_off()
      net:run(60)
      assert.equal(1, #alice:connections())
      assert.same({}, alice.ended)
      bob:resume()
      local made = call()
      assert.equal("transport", made.error)
      assert.equal("reset", alice.ended[1].cause)
      assert.equal(0.002, made.elapsed)
    end)
  end)

  describe("over a bad link", function()
    it("loses nothing but time", function()
      net:link(alice, bob, { loss = 0.3, jitter = 0.05 })
      local conn = alice:connect "192.0.2.8"
      local wanted = {}
      for i = 1, 200 do
        conn:send(options(i))
        wanted[i] = "c" .. i
      end
      net:run(30)
      assert.equal(table.concat(wanted, " "), call_ids())
      assert(bob.received[200].time > 0.2)
      local sent = 0
      for _, packet in ipairs(net:packets()) do
        sent = sent + (packet.fate == "delivered" and 1 or 0)
      end
      assert.equal(#net:packets(), sent)
    end)

    it("waits for a partition to heal, but no longer than ten seconds", function()
      call()
      net:partition(alice, bob)
      net:after(5, function()
        net:heal()
      end)
      local made = call()
      assert.equal(200, made.code)
      assert(made.elapsed > 5 and made.elapsed < 10)
      net:partition(alice, bob)
      made = call()
      assert.equal("transport", made.error)
      assert.equal(10, made.elapsed)
      assert.equal(1, #bob:connections())
      net:heal()
      bob:connections()[1]:send(options(1))
      net:run(1)
      assert.equal("reset", bob.ended[1].cause)
    end)

    it("comes in pieces", function()
      net:link(alice, bob, { chunk = 1 })
      assert.equal(200, call().code)
      net:link(alice, bob, { chunk = 0 })
      alice:connect("192.0.2.8"):send(options(1, "body") .. options(2), 11)
      net:run(1)
      assert.equal("c1 c2", call_ids():match "c1.*")
    end)

    it("is cut where it is told to be", function()
      local bytes = options(1, "body")
      for at = 1, #bytes + 1, 37 do
        setup()
        net:link(alice, bob, { cut = at, oneway = true })
        local conn = alice:connect "192.0.2.8"
        conn:send(bytes)
        net:run(1)
        assert.equal(at >= #bytes and 1 or 0, #bob.received)
        assert.equal("closed", conn.state)
        assert.equal("reset", conn.cause)
        assert.equal("reset", bob.ended[1].cause)
        sim.finish()
      end
      setup()
      net:link(alice, bob, { cut = #bytes + 1, oneway = true })
      alice:connect("192.0.2.8"):send(bytes)
      net:run(1)
      assert.equal(1, #bob.received)
      assert.equal(1, #alice:connections())
    end)

    it("says no to what is no number of bytes", function()
      assert.has_error(function()
        net:link(alice, bob, { chunk = -1 })
      end, "chunk must be a number of bytes")
    end)
  end)

  describe("carries", function()
    it("several messages in one piece, and one piece by piece", function()
      alice.proxy = "192.0.2.8"
      alice:raw(options(1) .. options(2, "xyz") .. "\r\n" .. options(3))
      net:run(0.1)
      assert.equal("c1 c2 c3", call_ids())
      alice:raw(options(4), 100, 0.5)
      net:run(0.2)
      assert.equal(3, #bob.received)
      net:run(2)
      assert.equal("c1 c2 c3 c4", call_ids())
      assert.equal(1, #alice:connections())
    end)

    it("keep-alives and their answers", function()
      alice.proxy = "192.0.2.8"
      alice:ping()
      net:run(0.1)
      alice:ping()
      alice:raw(options(1))
      net:run(0.1)
      assert.equal(2, alice.keepalives)
      assert.equal(200, alice.received[1].code)
      bob:silence()
      alice:ping()
      net:run(0.1)
      assert.equal(2, alice.keepalives)
    end)

    it("no message without a length", function()
      alice.proxy = "192.0.2.8"
      alice:raw((options(1):gsub("l: 0\r\n", "")))
      net:run(0.1)
      assert.equal("reset", alice.ended[1].cause)
      assert.equal(0, #bob:connections())
    end)
  end)

  it("is not found where a URI of the route set means UDP", function()
    bob:answer("INVITE", 200, { Contact = "<sip:bob@192.0.2.8>" })
    assert.error_matches(function()
      call()
    end, "alice has no udp socket to reach 192.0.2.8:5060")
  end)
end)

describe("an endpoint with several transports", function()
  after_each(sim.finish)

  before_each(function()
    net = sim.new { seed = 5 }
    bob = net:uas("192.0.2.8:5070", { name = "bob", transports = { "udp", "tcp", "tls" } })
  end)

  local function via(addr, uri)
    alice = net:uac(addr, "alice")
    local made = alice:call(uri)
    assert.equal(200, made.code)
    assert.equal("bob", made.server)
    assert.equal(200, alice:bye(made):wait().code)
    local bye = bob:got "BYE"
    return bye[#bye].transport, bob:contact_by(bye[#bye].transport)
  end

  it("is reached by each of them", function()
    assert.equal("udp", (via("192.0.2.7", "sip:bob@192.0.2.8:5070")))
    local transport, contact = via("tcp:192.0.2.7", "sip:bob@192.0.2.8:5070")
    assert.equal("tcp", transport)
    assert.equal("<sip:bob@192.0.2.8:5070;transport=tcp>", contact)
    transport, contact = via("tls:192.0.2.7", "sip:bob@192.0.2.8:5071;transport=tls")
    assert.equal("tls", transport)
    assert.equal("<sip:bob@192.0.2.8:5071;transport=tls>", contact)
  end)

  it("sends by the first, or by what a URI says", function()
    net:uas("192.0.2.7", { name = "alice", transports = { "udp", "tcp" } })
    bob:ask("MESSAGE", "sip:alice@192.0.2.7")
    bob:ask("MESSAGE", "sip:alice@192.0.2.7;transport=tcp")
    assert.ladder(net, [[
      0.000 bob   MESSAGE ->    alice
      0.001 alice 200     ->    bob
      0.004 bob   MESSAGE TCP-> alice
      0.005 alice 200     TCP-> bob
    ]])
  end)

  it("has one address per socket", function()
    assert.has_error(function()
      net:uas "tcp:192.0.2.8:5070"
    end, "the address 192.0.2.8:5070 is taken")
  end)
end)

describe("TLS in the simulator", function()
  after_each(sim.finish)

  before_each(function()
    setup("tls:192.0.2.7", "tls:192.0.2.8")
  end)

  local function tls_call()
    return alice:call "sip:bob@192.0.2.8"
  end

  it("takes a round trip more", function()
    assert.equal(0.006, tls_call().elapsed)
    assert.ladder(net, [[
      0.000 alice INVITE TLS-> bob
      0.001 bob   200    TLS-> alice
      0.002 alice ACK    TLS-> bob
    ]])
    assert.matches("^SIP/2.0/TLS 192.0.2.7:5061;", bob:got("INVITE")[1]:header "Via")
  end)

  it("asks for a certificate when it wants one", function()
    bob:identity { wants_client = true }
    assert.equal("transport", tls_call().error)
    assert.equal("tls_handshake", alice.ended[1].cause)
    assert.equal("the peer demands a client certificate", alice.ended[1].text)
    assert.equal("the client shows no certificate", bob.ended[1].text)
    alice:identity { names = { "alice.example" } }
    assert.equal(200, tls_call().code)
  end)

  it("is not spoken by who speaks plain TCP", function()
    net:uas("tcp:192.0.2.9:5061", "carol")
    local made = alice:call "sip:carol@192.0.2.9"
    assert.equal("transport", made.error)
    assert.equal("tls_handshake", alice.ended[1].cause)
    local dave = net:uac("tcp:192.0.2.10", { name = "dave", proxy = "192.0.2.8:5061" })
    dave:raw "OPTIONS"
    net:run(0.1)
    assert.equal("reset", dave.ended[1].cause)
    assert.equal("tls_handshake", bob.ended[1].cause)
    assert.equal("the peer does not speak TLS", bob.ended[1].text)
  end)

  it("is for endpoints that have it", function()
    assert.has_error(function()
      net:uas("tcp:192.0.2.9", { name = "carol", tls = { names = { "x" } } })
    end, "carol does not speak TLS")
  end)
end)
