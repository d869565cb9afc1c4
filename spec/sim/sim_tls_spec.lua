-- What proxies of the simulated network say of certificates, and endpoints of theirs.
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen {
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" },
  { "tls:0.0.0.0:5071", cert = "sip.pem", key = "sip.key", ca = "ca.pem", verify = true },
}
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1;transport=tls", tls = { %s } },
    { name = "b", uri = "sip:10.0.0.2;transport=tls", tier = 2 },
  },
  check = false,
})
sip.route(function(req)
  req:set_header("X-Identity", req.source.identity or "nobody")
  return req:relay(pbx)
end)
]]

local name = [[name = "a.example.com"]]

sim.for_workers("TLS of a proxy", function(workers)
  after_each(sim.finish)

  local net, a

  local function start(identity, of_client)
    net = sim.new { workers = workers, source = script:format(of_client or name) }
    a = net:uas("tls:10.0.0.1", { name = "a", tls = identity })
    net:uas("tls:10.0.0.2", "b")
  end

  local function call(opts)
    local alice = net:uac("tls:192.0.2.7", { name = "alice" })
    return alice:call("sip:bob@example.com", opts)
  end

  local function is_refused(cause, why)
    local made = call()
    assert.same({ "a", "b" }, made.tried)
    assert.equal("b", made.server)
    assert.equal(1, net:count("flow.down", { cause = cause, why = why, was_up = false }))
    assert.equal("tls_handshake", a.ended[1].cause)
    assert.equal("the peer rejects our certificate", a.ended[1].text)
    assert.equal(0, #a.received)
  end

  local function is_taken()
    assert.equal("a", call().server)
    assert.equal(0, #a.ended)
  end

  it("takes a server that is who it has to be", function()
    start { names = { "b.example.com", "A.example.com" } }
    is_taken()
    assert.equal("tls", a.received[1].transport)
    assert.matches("^SIP/2.0/TLS ", a.received[1]:header "Via")
  end)

  it("takes one by its SIP domain, and then by nothing else", function()
    start { names = { "sip:a.example.com", "x.example.com" } }
    is_taken()
    start { names = { "sip:x.example.com", "a.example.com" } }
    is_refused("tls_identity", "the server presents sip:x.example.com, not a.example.com")
  end)

  it("takes whoever does not say who it is", function()
    start()
    is_taken()
  end)

  it("takes whoever it is when it must not look", function()
    start({ names = { "x.example.com" }, issuer = "self", expired = true }, "verify = false")
    is_taken()
  end)

  it("refuses the wrong one", function()
    start { names = { "*.example.com" } }
    is_refused("tls_identity", "the server presents *.example.com, not a.example.com")
  end)

  it("refuses what nobody vouches for, or does no more", function()
    start { names = { "a.example.com" }, expired = true }
    is_refused("tls_handshake", "certificate has expired")
    start { issuer = "self" }
    is_refused("tls_handshake", "self-signed certificate")
    start { issuer = "Example Root" }
    is_refused("tls_handshake", "unknown CA (issuer Example Root)")
  end)

  it("changes its mind when the certificate does", function()
    start { expired = true }
    assert.equal("b", call().server)
    a:identity { names = { "a.example.com" } }
    net.nodes[1]:crash()
    net.nodes[1]:start()
    assert.equal("a", net:uac("tls:192.0.2.8"):call("sip:bob@example.com").server)
  end)

  it("shows a server a certificate, if it has one", function()
    start { wants_client = true }
    local made = call()
    assert.equal("b", made.server)
    assert.equal(1, net:count("flow.down", {
      cause = "tls_handshake", why = "the peer demands a client certificate",
    }))
    assert.equal("the client shows no certificate", a.ended[1].text)
    start({ wants_client = true }, name .. [[, cert = "sip.pem", key = "sip.key"]])
    is_taken()
  end)

  describe("with a listener that wants to know", function()
    local function connect(identity)
      start()
      local carrier = net:uac("tls:192.0.2.9", {
        name = "carrier", proxy = "10.0.0.100:5071", tls = identity,
      })
      return carrier, carrier:call "sip:bob@example.com"
    end

    it("knows who it is", function()
      local carrier, made = connect { names = { "sip:carrier.example" } }
      assert.equal(200, made.code)
      assert.equal(1, net:count("flow.up", { identity = "carrier.example" }))
      for _ = 1, 8 do -- of any worker
        carrier:call "sip:bob@example.com"
      end
      for _, invite in ipairs(a:got "INVITE") do
        assert.equal("carrier.example", invite:header "X-Identity")
      end
      assert.equal(9, #a:got "INVITE")
    end)

    it("refuses who shows nothing, or nothing good", function()
      local carrier, made = connect()
      assert.equal("transport", made.error)
      assert.equal("tls_handshake", carrier.ended[1].cause)
      assert.equal(1, net:count("flow.down", { why = "the client shows no certificate" }))
      carrier, made = connect { names = { "carrier.example" }, issuer = "self" }
      assert.equal("transport", made.error)
      assert.equal("the peer rejects our certificate", carrier.ended[1].text)
      assert.equal(0, #a.received)
    end)

    it("is not asked on the other", function()
      start()
      call()
      assert.equal("nobody", a.received[1]:header "X-Identity")
    end)
  end)
end)
