-- What is for the ends passes as it came, whatever it says: a proxy that does not
-- understand an extension is not in its way.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("What is for the ends", function(workers)
  after_each(sim.finish)

  local net, a, alice

  before_each(function()
    local _
    net, a, _, alice = wire.world { handler = wire.single, workers = workers }
  end)

  local function seen(headers, body)
    alice:call(uri, { headers = headers, body = body })
    return a:got("INVITE")[1]
  end

  -- RFC 3261 8.2.2.3
  it("is what Require and Supported ask for: nobody here says 420", function()
    local invite = seen { Require = "100rel, no-such-thing", Supported = "gruu, x" }
    assert.equal("100rel, no-such-thing", invite:header "Require")
    assert.equal("gruu, x", invite:header "Supported")
  end)

  -- RFC 3261 8.2.2.3
  it("is the 420 of the server, with what it does not know", function()
    a:answer("INVITE", 420, { Unsupported = "no-such-thing" })
    local call = alice:call(uri, { headers = { Require = "no-such-thing" } })
    assert.equal(420, call.code)
    assert.equal("no-such-thing", call.response:header "Unsupported")
  end)

  -- RFC 8898; RFC 3261 22.3
  it("are credentials of any scheme", function()
    for i, value in ipairs {
      "Bearer eyJ.abc-_.x==",
      'Digest username="a", realm="r", nonce="n", uri="sip:b", response="x", userhash=true,'
        .. " algorithm=SHA-512-256, future=1",
    } do
      seen { Authorization = value }
      assert.equal(value, a:got("INVITE")[i]:header "Authorization")
    end
  end)

  -- RFC 8898; RFC 8760
  it("are challenges of any scheme, in their order", function()
    local challenges = {
      'Bearer authz_server="https://x", scope="sip"',
      'Digest realm="r", nonce="n", algorithm=SHA-256',
      'Digest realm="r", nonce="n", algorithm=MD5',
    }
    local fields = {}
    for i, challenge in ipairs(challenges) do
      fields[i] = { "WWW-Authenticate", challenge }
    end
    a:answer("INVITE", 401, fields)
    local call = alice:call(uri)
    assert.equal(table.concat(challenges, ", "),
      table.concat(call.response:list "WWW-Authenticate", ", "))
  end)

  -- RFC 3261 23, 7.4
  it("is a signed body, byte for byte", function()
    local body = "preamble\r\n--b\r\nContent-type:  application/sdp\r\n\r\nv=0\0\r\n--b\r\n\r\n"
      .. "\1\2\255\r\n--b--\r\nepilogue"
    local invite = seen({ ["Content-Type"] = "multipart/signed; boundary=b" }, body)
    assert.equal(body, invite.body)
    assert.equal("multipart/signed; boundary=b", invite:header "Content-Type")
  end)

  -- RFC 3261 8.1.3.2
  it("is a code that nobody has heard of", function()
    a:answer("INVITE", 499)
    local call = alice:call(uri)
    assert.equal(499, call.code)
    net:run(1)
    assert.equal(1, #a:got "ACK")
  end)

  -- RFC 3261 20.29: 420 to an ACK or a CANCEL would help nobody.
  it("is Proxy-Require in ACK and CANCEL", function()
    local call = alice:call(uri, { ack = false })
    alice:ack(call, { headers = { ["Proxy-Require"] = "x" } })
    net:run(1)
    assert.equal("x", a:got("ACK")[1]:header "Proxy-Require")
  end)
end)
