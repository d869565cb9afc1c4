-- TLS in the built program, with certificates of the openssl command: its s_client is a
-- stranger, and sipp behind socat a server.
local certs = require "support.certs"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"
local tunnel = require "support.tunnel"

local function options(id)
  return table.concat({
    "OPTIONS sip:127.0.0.1 SIP/2.0",
    "Via: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK" .. id .. ";rport",
    "From: <sip:a@example.com>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: " .. id,
    "CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", "",
  }, "\r\n")
end

-- A stranger that sends this and waits a moment: all that openssl prints.
local function stranger(port, arguments)
  local name = process.write("stranger", options "stranger")
  local _, output = sh.run(("(cat %s; sleep 0.3) | timeout 5 openssl s_client "
    .. "-connect 127.0.0.1:%d %s"):format(name, port, arguments or ""))
  return output
end

-- The only connection that failed, whose line says why.
local function the_failure(tandem, match)
  match.was_up = "false"
  tandem:wait_logged("flow.down", match)
  local list = tandem:logged("flow.down", match)
  assert.equal(1, #list)
  assert.equal("warn", list[1].level)
  return list[1]
end

-- With one worker: connections are counted here, and each has its own.
describe("a stranger by TLS", function()
  local source = [[
local sip = require "tandem"
sip.listen { { "tls:127.0.0.1:%{port}", cert = "%{cert}", key = "%{key}" } }
sip.listen { { "tls:127.0.0.1:%{mutual}", cert = "%{cert}", key = "%{key}", ca = "%{ca}",
  verify = true } }
sip.route(function(req)
  return req:reply(200, "Hello " .. (req.source.identity or "nobody"))
end)
]]
  local port, mutual, ca, own, tandem

  before_each(function()
    port, mutual = process.ports(2)
    ca = certs.authority "ca"
    own = ca:issue("sip.example.com", { names = { "sip.example.com" } })
    tandem = proxy.start { source = source, workers = 1, values = {
      port = port, mutual = mutual, cert = own.cert, key = own.key, ca = ca.cert,
    } }
  end)
  after_each(process.clean)

  for _, version in ipairs { "-tls1_2", "-tls1_3" } do
    it("is answered with " .. version, function()
      local output = stranger(port, version .. " -verify_return_error -CAfile " .. ca.cert)
      assert.matches("SIP/2.0 200 Hello nobody", output)
      assert.matches("Verification: OK", output)
    end)
  end

  it("is refused with TLS 1.1", function()
    local output = stranger(port, "-tls1_1 -cipher DEFAULT@SECLEVEL=0")
    assert.not_matches("SIP/2.0", output)
    assert.matches("^no version of TLS in common",
      the_failure(tandem, { cause = "tls_handshake" }).why)
  end)

  it("is refused without TLS", function()
    sh.run(("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d; cat %s >&3; timeout 1 cat <&3'")
      :format(port, process.write("plain", options "plain")))
    assert.equal("the peer does not speak TLS", the_failure(tandem, {}).why)
  end)

  it("proves who it is", function()
    local client = ca:issue("client", { uris = { "sip:carrier.example" } })
    local output = stranger(mutual, ("-cert %s -key %s"):format(client.cert, client.key))
    assert.matches("SIP/2.0 200 Hello carrier.example", output)
    assert.equal("carrier.example", tandem:wait_logged("flow.up").identity)
  end)

  for what, case in pairs {
    ["shows no certificate"] = { "^the client shows no certificate$" },
    ["has expired"] = { "^certificate has expired on %d+", { expired = true } },
    ["is of an unknown CA"] = { "^unknown CA %(issuer other%)$", {}, "other" },
    ["signs itself"] = { "^self%-signed certificate$", {}, "itself" },
  } do
    it("that " .. what .. " is refused where certificates are demanded", function()
      local why, conf, issuer = table.unpack(case)
      local shown = nil
      if issuer == "itself" then
        shown = certs.self_signed "client"
      elseif conf then
        shown = (issuer and certs.authority(issuer) or ca):issue("client", conf)
      end
      local output = stranger(mutual,
        shown and ("-cert %s -key %s"):format(shown.cert, shown.key) or "")
      assert.not_matches("SIP/2.0 200", output)
      local line = the_failure(tandem, { cause = "tls_handshake", direction = "in" })
      assert.matches(why, line.why)
      assert.equal("127.0.0.1:" .. mutual, line.listener)
    end)
  end

  it("finds room beside a crowd that never ends its handshake", function()
    local crowd = process.start { name = "crowd",
      argv = { (os.getenv "BUILD" or "build/san") .. "/slow_clients", port, 200, 0 } }
    assert(process.eventually(5, function() return crowd:output():find "open" end))
    assert.matches("SIP/2.0 200", stranger(port, "-bind 127.0.0.2:0"))
    assert.equal(0, crowd:wait())
    tandem:wait_logged("flow.down", { why = "the handshake took too long" })
    -- Of one address 64 may be there at a time (per_source).
    local function refused()
      local n = 0
      for _, event in ipairs(tandem:logged "tls.refused") do
        n = n + event.n
      end
      return n == 200 - 64
    end
    assert(process.eventually(6, refused))
  end)

  -- Asks which certificate a new connection gets.
  local function serial()
    local _, output = sh.run(("openssl s_client -connect 127.0.0.1:%d </dev/null 2>/dev/null "
      .. "| openssl x509 -noout -serial"):format(port))
    return output:match "serial=(%x+)"
  end

  it("keeps its connection when certificates are read again, new ones get the new", function()
    local before = assert(serial())
    local fifo = process.path "talk"
    sh.run("mkfifo " .. fifo)
    local talk = process.start { name = "talk", argv = { "sh", "-c",
      ("exec openssl s_client -quiet -connect 127.0.0.1:%d <%s"):format(port, fifo) } }
    local hand = assert(io.open(fifo, "w"))
    hand:setvbuf "no"
    hand:write(options "before")
    assert(process.eventually(3, function() return talk:output():find "Call%-ID: before" end))

    ca:issue("sip.example.com", { names = { "sip.example.com" } }) -- in place of the old
    tandem:signal "HUP"
    tandem:wait_logged "reload"
    local after = assert(serial())
    assert.are_not.equal(before, after)
    hand:write(options "after")
    assert(process.eventually(3, function() return talk:output():find "Call%-ID: after" end))
    hand:close()

    -- A key that belongs to another certificate: nothing changes.
    local other = ca:issue("other", { names = { "sip.example.com" } })
    sh.run(("cp %s %s"):format(other.key, own.key))
    tandem:signal "HUP"
    assert.matches("does not belong to the certificate",
      tandem:wait_logged("config.rejected").reason)
    assert.equal(after, serial())
  end)

  it("gets other files when the script names others", function()
    local before = assert(serial())
    local other = ca:issue("other", { names = { "sip.example.com" } })
    local script = process.path "proxy.lua"
    local text = process.read(script):gsub("sip%.example%.com%.", "other.")
    process.write("proxy.lua", text)
    assert.matches(other.cert, text, 1, true)
    tandem:signal "HUP"
    tandem:wait_logged "reload"
    assert.are_not.equal(before, assert(serial()))
    assert.same({}, tandem:logged "reload.kept")
  end)
end)

describe("a server by TLS", function()
  local source = [[
local sip = require "tandem"
sip.listen {
  "udp:127.0.0.1:%{port}",
  { "tls:127.0.0.1:%{secure}", cert = "%{cert}", key = "%{key}" },
}
local pbx = sip.pool("pbx", { check = false, tls = { ca = "%{ca}" }, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{outer};transport=tls", tls = { name = "a.example" } },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 },
} })
-- The same address and another name.
local other = sip.pool("other", { check = false, tls = { ca = "%{ca}", name = "c.example" },
  servers = { { name = "c", uri = "sip:127.0.0.1:%{outer};transport=tls" } } })
sip.settings { tcp = { connect_timeout = 20 } }
sip.route(function(req)
  local opts = { timeout = req.ruri.user == "soon" and 0.3 or nil }
  if not req:relay(req.ruri.user == "other" and other or pbx, opts) then return req:reply(500) end
end)
]]
  local port, secure, inner, outer, b, ca, tandem

  before_each(function()
    port, secure, inner, outer, b = process.ports(5)
    ca = certs.authority "ca"
    local own = ca:issue("own", { names = { "sip.example.com" } })
    tandem = proxy.start { source = source, workers = 1, values = {
      port = port, secure = secure, outer = outer, b = b, ca = ca.cert,
      cert = own.cert, key = own.key,
    } }
  end)
  after_each(process.clean)

  -- sipp behind TLS with this certificate.
  local function serve(cert)
    sipp.server("answer", {
      name = "a", port = inner, values = { ring = 0 }, protocol = "tcp", args = { "-t", "t1" },
      replace = { ["[local_port]>"] = outer .. ";transport=tls>" },
    })
    tunnel.server("door", { host = "127.0.0.1", outer = outer, inner = inner, own = cert })
  end

  local function call(user, name)
    return sipp.call("call", { proxy = "127.0.0.1:" .. port, name = name or user,
      values = { hold = 100, uri = "sip:" .. user .. "@example.com" } })
  end

  it("takes a call when it is who it has to be", function()
    serve(ca:issue("a", { names = { "a.example" } }))
    call "bob"
    local line = tandem:wait_logged("request", { method = "INVITE" })
    assert.matches("^pbx/a:200:[^,]*$", line.tried)
    assert.equal("a.example", tandem:wait_logged("flow.up", { direction = "out" }).identity)
  end)

  for what, case in pairs {
    ["presents another name"] = { "tls_identity",
      "^the server presents other.example, not a.example$", { names = { "other.example" } } },
    ["has expired"] = { "tls_handshake", "^certificate has expired on %d+",
      { names = { "a.example" }, expired = true } },
    ["is of an unknown CA"] = { "tls_handshake", "^unknown CA %(issuer other%)$",
      { names = { "a.example" } }, "other" },
    ["signs itself"] = { "tls_handshake", "^self%-signed certificate$",
      { names = { "a.example" } }, "itself" },
  } do
    it("that " .. what .. " gets nothing, and the backup the call", function()
      local cause, why, conf, issuer = table.unpack(case)
      sipp.server("answer", { name = "b", port = b, values = { ring = 0 } })
      serve(issuer == "itself" and certs.self_signed("a", conf)
        or (issuer and certs.authority(issuer) or ca):issue("a", conf))
      call "bob"
      local line = tandem:wait_logged("request", { method = "INVITE" })
      assert.matches("^pbx/a:" .. cause .. ":[^,]*,pbx/b:200:[^,]*$", line.tried)
      assert.matches(why, the_failure(tandem, { cause = cause, direction = "out" }).why)
    end)
  end

  it("hears nothing of a call that went elsewhere while it shook hands", function()
    sipp.server("answer", { name = "b", port = b, values = { ring = 0 } })
    local own = ca:issue("a", { names = { "a.example" } })
    local a = process.start { name = "a", argv = { "socat", "-u",
      ("OPENSSL-LISTEN:%d,pf=ip4,bind=127.0.0.1,cert=%s,key=%s,verify=0"):format(outer,
        own.cert, own.key), "STDOUT" } }
    a:wait_bound(outer, "tcp")
    a:signal "STOP"
    call "soon"
    assert.matches("^pbx/a:silent:[^,]*,pbx/b:200:",
      tandem:wait_logged("request", { method = "INVITE" }).tried)
    a:signal "CONT"
    assert.equal("a.example", tandem:wait_logged("flow.up", { direction = "out" }).identity)
    call("soon", "again") -- which it does hear, and does not answer
    local function heard()
      local _, n = a:output():gsub("INVITE sip:soon@example.com SIP", "")
      return n
    end
    assert(process.eventually(3, function() return heard() > 0 end))
    assert.equal(1, heard())
  end)

  it("is not reached over a connection that was opened for another name", function()
    serve(ca:issue("a", { names = { "a.example", "c.example" } }))
    call "bob"
    call "other"
    call("bob", "again")
    local names = {}
    for _, event in ipairs(tandem:logged("flow.up", { direction = "out" })) do
      names[#names + 1] = event.identity
    end
    assert.same({ "a.example", "c.example" }, names)
  end)

  it("is not reached under another name than its own at the same address", function()
    serve(ca:issue("a", { names = { "a.example" } }))
    call "bob"
    local refused = sipp.start("refused", { proxy = "127.0.0.1:" .. port, name = "other",
      values = { uri = "sip:other@example.com", code = 500 } })
    refused:succeed()
    assert.equal("the server presents a.example, not c.example",
      the_failure(tandem, { cause = "tls_identity", direction = "out" }).why)
  end)

  it("that demands a certificate and gets none says so", function()
    sipp.server("answer", { name = "b", port = b, values = { ring = 0 } })
    sipp.server("answer", { name = "a", port = inner, values = { ring = 0 },
      protocol = "tcp", args = { "-t", "t1" } })
    tunnel.server("door", { host = "127.0.0.1", outer = outer, inner = inner,
      own = ca:issue("a", { names = { "a.example" } }), ca = ca })
    call "bob"
    local line = tandem:wait_logged("request", { method = "INVITE" })
    assert.matches("^pbx/a:tls_handshake:[^,]*,pbx/b:200:", line.tried)
    assert.equal("the peer demands a client certificate",
      tandem:wait_logged("flow.down", { direction = "out" }).why)
  end)
end)

describe("a script with certificates", function()
  after_each(process.clean)

  local function check(item)
    local script = process.write("route.lua", process.fill(
      'local sip = require "tandem"\nsip.listen {\n  { "%{address}", %{more} },\n}\n'
        .. "sip.route(function(req) return req:reply(480) end)\n", item))
    local _, output = sh.run((os.getenv "BUILD" or "build/san")
      .. "/tandem check --lua-dir lua -c " .. script)
    return output
  end

  -- Of files that are there: "a.pem", "a.key", "b.key".
  for said, item in pairs {
    ["^OK\n"] = { "tls", 'cert = "a.pem", key = "a.key"' },
    [":2: sip.listen: item 1: a TLS listener needs a certificate"] = { "tls", 'advertise = "x"' },
    [":2: sip.listen: item 1: cert and key go together"] = { "tls", 'cert = "a.pem"' },
    [":2: sip.listen: item 1: key: [^ ]*b.key: does not belong to the certificate [^ ]*a.pem"] =
      { "tls", 'cert = "a.pem", key = "b.key"' },
    [":2: sip.listen: item 1: cert: [^ ]*c.pem: No such file"] =
      { "tls", 'cert = "c.pem", key = "a.key"' },
    [":2: sip.listen: item 1: verify needs ca"] =
      { "tls", 'cert = "a.pem", key = "a.key", verify = true' },
    [":2: sip.listen: item 1: ca: [^ ]*a.key: no certificate in it"] =
      { "tls", 'cert = "a.pem", key = "a.key", verify = true, ca = "a.key"' },
    [":2: sip.listen: item 1: cert is an option of tls: listeners"] =
      { "tcp", 'cert = "a.pem", key = "a.key"' },
    ["unknown option 'crt'; did you mean 'cert'?"] = { "tls", 'crt = "a.pem", key = "a.key"' },
  } do
    it("says what is wrong: " .. said, function()
      certs.self_signed "a"
      certs.self_signed "b"
      assert.matches(said, check { address = item[1] .. ":127.0.0.1:5061", more = item[2] })
    end)
  end

  it("is warned of one that has expired", function()
    certs.authority("ca"):issue("a", { expired = true })
    local output = check { address = "tls:127.0.0.1:5061", more = 'cert = "a.pem", key = "a.key"' }
    assert.matches("level=warn event=tls.certificate file=[^ ]*a.pem days=%-[12] ends=", output)
    assert.matches("\nOK\n", output)
  end)
end)
