-- Digest authentication, with the examples of the RFCs.
local fake = require "support.fake_core"
local md = require "support.md"

local digest

local function answer(challenge, more)
  local request = { method = "GET", uri = "/dir/index.html", user = "Mufasa" }
  for name, value in pairs(more) do
    request[name] = value
  end
  return digest.answer(assert(digest.parse(challenge)), request)
end

local function field(text, name)
  return text:match(name .. '="([^"]*)"') or text:match(name .. "=([^,]*)")
end

describe("digest", function()
  before_each(function()
    local world = fake.new()
    world.core.digest = md
    digest = world:require "tandem.health.digest"
  end)

  it("is that of RFC 2617 3.5", function()
    local text = answer([[Digest realm="testrealm@host.com", qop="auth,auth-int",
      nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"]],
      { password = "Circle Of Life", cnonce = "0a4f113b" })
    assert.equal("6629fae49393a05397450978507c4ef1", field(text, "response"))
    assert.equal('Digest username="Mufasa", realm="testrealm@host.com", '
      .. 'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", '
      .. 'response="6629fae49393a05397450978507c4ef1", algorithm=MD5, qop=auth, nc=00000001, '
      .. 'cnonce="0a4f113b", opaque="5ccc069c403ebaf9f0171e9517f40e41"', text)
  end)

  local rfc7616 = [[Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=%s,
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"]]
  local mufasa = {
    password = "Circle of Life", cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
  }

  -- RFC 7616 3.3, 3.4.1; RFC 8760 2.4
  it("is that of RFC 7616 3.9.1, with MD5 and with SHA-256", function()
    assert.equal("8ca523f5e9506fed4657c9700eebdbec",
      field(answer(rfc7616:format "MD5", mufasa), "response"))
    local text = answer(rfc7616:format "SHA-256", mufasa)
    assert.equal("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
      field(text, "response"))
    assert.matches("algorithm=SHA%-256,", text)
  end)

  it("without qop is that of RFC 2069 (RFC 3261 22.4)", function()
    local ha1, ha2 = md("md5", "bob:example.com:zanzibar"), md("md5", "INVITE:sip:bob@example.com")
    local text = answer('Digest realm="example.com", nonce="n1"', {
      user = "bob", password = "zanzibar", method = "INVITE", uri = "sip:bob@example.com",
      cnonce = "c",
    })
    assert.equal(md("md5", ha1 .. ":n1:" .. ha2), field(text, "response"))
    assert.is_nil(text:find("nc=", 1, true))
    assert.is_nil(text:find("cnonce", 1, true))
  end)

  -- RFC 7616 3.4.3
  it("with -sess hashes the nonces into the secret", function()
    local secret = md("md5", "bob:x:pw")
    secret = md("md5", secret .. ":n:c")
    local what = md("md5", "BYE:sip:b")
    local text = answer('Digest realm="x",nonce="n",algorithm=MD5-sess,qop="auth"', {
      user = "bob", password = "pw", method = "BYE", uri = "sip:b", cnonce = "c", count = 2,
    })
    assert.equal(md("md5", secret .. ":n:00000002:c:auth:" .. what), field(text, "response"))
    assert.matches("algorithm=MD5%-sess", text)
    assert.matches("nc=00000002", text)
  end)

  it("repeats what is escaped as it came", function()
    local challenge = digest.parse [[digest REALM="a \"b\" \\", nonce="", stale=TRUE]]
    assert.same({ [[a \"b\" \\]], "", true }, { challenge.realm, challenge.nonce, challenge.stale })
  end)

  it("does not answer what it does not understand", function()
    for _, text in ipairs {
      'Basic realm="x"', "Digest", 'Digest realm="x"', 'Digest nonce="x"',
      'Digest realm="x", nonce="y', 'Digest realm="x", nonce="y", algorithm=SHA-1',
      'Digest realm="x", nonce="y", qop="auth-int"', 'Digest realm="x', "", "Digest ====",
    } do
      assert.is_nil(digest.parse(text), text)
    end
  end)

  -- RFC 8760 2.4
  it("takes the first of several challenges that it can answer (RFC 8760)", function()
    local chosen = digest.choose {
      'Digest realm="a", nonce="1", algorithm=SHA-512-256', -- not here
      'Digest realm="a", nonce="2", algorithm=SHA-256', 'Digest realm="a", nonce="3"',
    }
    assert.equal("2", chosen.nonce)
    assert.is_nil(digest.choose {})
    assert.is_nil(digest.choose { 'Basic realm="x"' })
  end)

  describe("in a session", function()
    local function response(code, ...)
      local values = { ... }
      return { code = code, headers = function(_, name)
        local wanted = code == 401 and "WWW-Authenticate" or "Proxy-Authenticate"
        return name == wanted and values or {}
      end }
    end

    it("answers each challenger once, and again when only the nonce was stale", function()
      local session = digest.session("bob", "pw")
      assert.is_true(session:take(response(401, 'Digest realm="x", nonce="1"')))
      assert.is_false(session:take(response(401, 'Digest realm="x", nonce="2"')))
      assert.is_true(session:take(response(401, 'Digest realm="x", nonce="3", stale=true')))
      assert.is_false(session:take(response(401, 'Digest realm="x", nonce="4", stale=true')))
    end)

    it("keeps the answer for the proxy when the server asks too", function()
      local session = digest.session("bob", "pw")
      assert.is_true(session:take(response(407, 'Digest realm="p", nonce="1", qop="auth"')))
      local first = session:headers({ { "X-A", "1" } }, "INVITE", "sip:a")
      assert.same({ "X-A", "Proxy-Authorization" }, { first[1][1], first[2][1] })
      assert.matches("nc=00000001", first[2][2])
      assert.is_true(session:take(response(401, 'Digest realm="s", nonce="2"')))
      local second = session:headers({}, "INVITE", "sip:a")
      assert.same({ "Authorization", "Proxy-Authorization" }, { second[1][1], second[2][1] })
      assert.matches("nc=00000002", second[2][2])
    end)

    it("does nothing about other responses", function()
      local session = digest.session("bob", "pw")
      assert.is_false(session:take(response(403)))
      assert.is_false(session:take(response(401)))
      assert.same({}, session:headers({}, "INVITE", "sip:a"))
    end)
  end)
end)
