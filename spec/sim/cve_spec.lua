-- docs/reference/cve-classes.md: what broke other implementations, done to this one. After
-- each a call goes through, and the network ends with nothing left.
local page = require "support.page"
local sim = require "support.sim"
local tree = require "support.tree"
local wire = require "support.wire"

local doc = "docs/reference/cve-classes.md"
local rows = page.rows(doc, "| published as | in | what went wrong | here | spec |")

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
sip.settings { trust = { "192.0.2.0/24" } }
local pool = sip.pool("pool", { check = false, passive = false, servers = {
  { name = "a", uri = "sip:10.0.0.1%s" }, { name = "b", uri = "sip:10.0.0.2", tier = 2 } } })
local a, b = pool:server "a", pool:server "b"
sip.route("*from_server", function(req) return req:relay(req.ruri.text) end)
sip.route(function(req)
  %s
  return req:relay(a)
end)
local _ = b
]]

local serial = 0

-- A request with more fields, a new one each time; lines by name replace those there are.
local function request(method, replace, more, body)
  serial = serial + 1
  replace = replace or {}
  local lines = { ("%s %s SIP/2.0"):format(method, replace.uri or "sip:bob@example.com") }
  for _, field in ipairs {
    { "Via", ("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKcve%05d"):format(serial) },
    { "From", "<sip:alice@example.com>;tag=from" }, { "To", "<sip:bob@example.com>" },
    { "Call-ID", ("cve%05d"):format(serial) }, { "CSeq", "1 " .. method },
    { "Max-Forwards", "70" }, { "Contact", "<sip:alice@192.0.2.7>" },
  } do
    local other = replace[field[1]]
    if other ~= false then
      lines[#lines + 1] = other or field[1] .. ": " .. field[2]
    end
  end
  for _, line in ipairs(more or {}) do
    lines[#lines + 1] = line
  end
  lines[#lines + 1] = replace["Content-Length"] or "Content-Length: " .. #(body or "")
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

sim.for_workers("what broke others breaks nothing:", function(workers)
  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    net = sim.new { workers = workers, dns = opts.dns,
      source = script:format(opts.server or "", opts.handler or "") }
    a = net:uas("10.0.0.1", { name = "a", transports = { "udp", "tcp" } })
    b = net:uas("10.0.0.2", "b")
    alice = net:uac((opts.caller or "") .. "192.0.2.7", "alice")
  end

  -- The codes of what alice was answered since, without 100.
  local function codes()
    local list = {}
    for _, message in ipairs(alice.received) do
      list[#list + 1] = message.code ~= 100 and message.code or nil
    end
    alice.received = {}
    return table.concat(list, " ")
  end

  local function answer_to(bytes)
    alice.received, a.received = {}, {}
    alice:send(bytes)
    net:run(0.2)
    return codes()
  end

  -- With this field and body a message goes on as it is.
  local function passes(method, field, body)
    assert.equal("200", answer_to(request(method, nil, { field }, body)):match "^200")
    assert.equal(body, a.received[1].body)
    assert.matches("\r\n" .. field .. "\r\n", a.received[1].bytes, 1, true)
  end

  local cases = {}

  cases["CVE-2016-2385"] = function()
    open { caller = "tcp:", server = ";transport=tcp", handler = [[
      req:del_header "X-Gone" req:set_header("X-Last", "new") req:add_header("X-More", "1")
    ]] }
    for _, size in ipairs { 32767 - 5000, 32767, 32768, 40000, 60000, 64000 } do
      local more = { "X-Gone: " .. ("g"):rep(8000) }
      for i = 1, 90 do
        more[#more + 1] = ("X-%d: %s"):format(i, ("h"):rep(150))
      end
      more[#more + 1] = "X-Gone : " .. ("g"):rep(3000)
      more[#more + 1] = "X-Last: old"
      local bare = request("MESSAGE", nil, more)
      local body = ("b"):rep(size - #bare)
      alice.received, a.received = {}, {}
      alice:raw(request("MESSAGE", nil, more, body))
      net:run(1)
      assert.equal("200", codes())
      local got = a.received[1]
      assert.equal(body, got.body)
      assert.equal("new", got:header "X-Last")
      assert.equal("1", got:header "X-More")
      assert.is_nil(got:header "X-Gone")
      for i = 1, 90 do
        assert.equal(150, #got:header("X-" .. i))
      end
    end
  end

  cases["CVE-2016-9938"] = function()
    open()
    for _, name in ipairs { "From", "To", "Via", "Call-ID", "CSeq", "Route", "X" } do
      for _, byte in ipairs { "\1", "\8", "\11", "\12", "\31", "\127", "\160", "\255", "\0" } do
        local code = answer_to(request("INVITE", nil, { name .. byte .. ": <sip:evil@x>" }))
        assert.same({ name, byte, "400" }, { name, byte, code })
        assert.same({}, a.received)
      end
    end
  end

  cases["CVE-2017-9372"] = function()
    open()
    for _, n in ipairs { 1, 127, 128, 255, 256 } do
      local method = ("M"):rep(n)
      local bytes = request(method, { Via = "Via: SIP/2.0/UDP 192.0.2.7",
        uri = "sip:" .. ("u"):rep(1000) .. "@example.com", ["Call-ID"] = "i: " .. ("c"):rep(252)
          .. n,
        From = "f: <sip:x@example.com>;tag=" .. ("f"):rep(256) })
      assert.equal("200", answer_to(bytes))
      assert.equal("200", answer_to(bytes)) -- the repetition is one
      assert.same({}, a.received)
    end
    for _, n in ipairs { 257, 1024, 4096, 8000, 20000 } do
      local method = ("M"):rep(n)
      assert.equal("400", answer_to(request("INVITE", { CSeq = "CSeq: 1 " .. method:sub(1, 8000),
        Via = "Via: SIP/2.0/UDP 192.0.2.7" })))
      answer_to(request(method, { Via = "Via: SIP/2.0/UDP 192.0.2.7" }))
      assert.same({}, a.received)
    end
  end

  cases["CVE-2017-9359, CVE-2022-21723"] = function()
    open()
    for _, boundary in ipairs { "", ";boundary", ";boundary=", ';boundary="', ';boundary=""',
      ";boundary=" .. ("b"):rep(70), ";boundary=" .. ("b"):rep(4000), ';boundary="\\',
        ";boundary=x;" } do
      for _, body in ipairs { "", "--", "--x", "--x\r\n", "--x--", "\r\n--x\r\n\r\n--x--",
        "--x\r\nA\0:\r\n",
        ("--x\r\nContent-Type: a/b\r\n"):rep(200), ("-"):rep(9000), "\0\0\0\0" } do
        passes("MESSAGE", "Content-Type: multipart/mixed" .. boundary, body)
      end
    end
  end

  cases["CVE-2018-8828"] = function()
    open()
    for _, n in ipairs { 1, 63, 64, 65, 127, 128, 129, 254, 255, 256, 257, 511, 512, 1023, 1024,
      4096 } do
      local want = n <= 256 and "200" or "400"
      assert.same({ n, want }, { n, answer_to(request("OPTIONS", {
        From = "From: <sip:a@example.com>;tag=" .. ("t"):rep(n) })) })
      local branch = ("z9hG4bK%d" .. ("b"):rep(n)):format(n):sub(1, math.max(n, 12))
      assert.same({ n, want }, { n, answer_to(request("OPTIONS", {
        Via = "Via: SIP/2.0/UDP 192.0.2.7;branch=" .. branch })) })
    end
  end

  local function one_of_each(bytes)
    assert.equal("400", answer_to(bytes))
    local packets = net:packets()
    local message = sim.parse(packets[#packets].bytes)
    for _, name in ipairs { "From", "To", "Call-ID", "CSeq" } do
      assert.equal(1, #message:all(name))
    end
    assert.same({}, a.received)
    return message
  end

  cases["CVE-2018-14767"] = function()
    open()
    for _, second in ipairs { "To: <sip:x@y>;tag=", "t:;tag=", "To:", "T: \"",
      "To: <sip:x@y>;tag" } do
      local message = one_of_each(request("INVITE", nil, { second }))
      assert.matches("^<sip:bob@example.com>;tag=%x+$", message:header "To")
      answer_to(request("INVITE", { To = second .. "\r\nTo: <sip:bob@example.com>" }))
      assert.same({}, a.received)
    end
  end

  cases["CVE-2018-16657"] = function()
    open()
    for via, answered in pairs {
      ["Via: SIP/2.0/UDP 192.0.2.7;;,;"] = true, ["Via: SIP/2.0/UDP 192.0.2.7:0"] = true,
      ["v: SIP/2.0/UDP h;branch=\""] = true, ["Via: SIP/2.0/UDP h;rport=x"] = true,
      ["Via: SIP/2.0/UDP h;received=nobody;branch="] = true,
      ["Via:"] = false, ["Via: "] = false, ["Via: ,"] = false, ["Via: ,,,;;="] = false,
      ["Via: SIP"] = false, ["Via: SIP/2.0/UDP"] = false, ["Via: SIP/2.0/UDP "] = false,
      ["Via: SIP/2.0/UDP ;branch=z9hG4bK1"] = false, ["X: no Via"] = false,
      ["Via: SIP/2.0/UDP [::1;branch=z9hG4bK1"] = false,
    } do
      assert.same({ via, answered and "400" or "" },
        { via, answer_to(request("INVITE", { Via = via })) })
      assert.same({}, a.received)
    end
  end

  cases["CVE-2018-7284"] = function()
    open { caller = "tcp:", server = ";transport=tcp" }
    for _, more in ipairs {
      { "Accept: " .. ("a/b, "):rep(1600) .. "c/d" },
      { "Accept: " .. (","):rep(8000) }, { "Accept: a/b" .. (";p"):rep(4000) },
      { "Supported: " .. ("x,"):rep(4000), "Allow: " .. ("X,"):rep(4000) },
    } do
      local bytes = request("SUBSCRIBE", nil, more)
      alice.received, a.received = {}, {}
      alice:raw(bytes)
      net:run(1)
      assert.equal("200", codes())
      assert.matches(more[1], a.received[1].bytes, 1, true)
    end
    local accepts = {}
    for i = 1, 110 do
      accepts[i] = ("Accept: a/b%d"):format(i)
    end
    alice:raw(request("SUBSCRIBE", nil, accepts))
    net:run(1)
    assert.equal("200", codes())
  end

  cases["CVE-2018-7286, CVE-2020-28327"] = function()
    for _, how in ipairs { "close", "reset" } do
      open { caller = "tcp:" }
      a:ring(5)
      for _ = 1, 50 do
        alice:raw(request("INVITE"))
      end
      net:run(0.5)
      assert.equal(50, #a:got "INVITE")
      alice[how](alice)
      net:run(400) -- 180 and 200 have nowhere to go, and neither has their ACK
      if how == "close" then
        net:finish()
      end
    end
  end

  cases["CVE-2020-27507"] = function()
    open()
    for _, n in ipairs { 10, 256, 257, 5000 } do
      for _, name in ipairs { "From", "To", "f", "t" } do
        one_of_each(request("INVITE", nil, { ("%s: <sip:x@y>;tag=%s"):format(name, ("t"):rep(n)) }))
        one_of_each(request("INVITE", nil, { ("%s: <sip:x@y>;tag=%s"):format(name, ("t"):rep(n)),
          "Call-ID: 2", "CSeq: 2 BYE" }))
      end
    end
  end

  cases["CVE-2020-28361"] = function()
    open { handler = 'req:del_header "X-Hdr" req:set_header("P-Asserted-Identity", "<sip:ok@x>")' }
    for _, before in ipairs { "", " ", "\t", "  \t " } do
      for _, name in ipairs { "X-Hdr", "x-hdr", "X-HDR" } do
        assert.equal("200", answer_to(request("INFO", nil, { name .. before .. ": 1",
          name .. before .. ":\r\n 2", "p-asserted-IDENTITY" .. before .. ": <sip:evil@x>" })))
        assert.is_nil(a.received[1]:header "X-Hdr")
        assert(not a.received[1].bytes:lower():find "x%-hdr")
        assert.same({ "<sip:ok@x>" }, a.received[1]:all "P-Asserted-Identity")
      end
    end
  end

  cases["CVE-2021-41145"] = function()
    open()
    a:silence()
    net:run(1)
    local before = wire.alive(net)
    for i = 1, 2000 do
      alice:send(request("INVITE", { CSeq = "CSeq: 1 BYE", uri = "sip:" .. i .. "@example.com" }))
    end
    net:run(1)
    assert.same(before, wire.alive(net)) -- what is refused keeps nothing
    local bytes = request "INVITE"
    for _ = 1, 500 do
      alice:send(bytes)
    end
    net:run(0.2)
    assert.equal(1, wire.alive(net).servers)
    for _ = 1, 500 do
      alice:send(request "OPTIONS")
    end
    net:run(0.2)
    assert.equal(501, wire.alive(net).servers)
    a:resume()
    net:run(110)
    assert.same({ 0, 0, 0 }, { wire.alive(net).servers, wire.alive(net).clients,
      wire.alive(net).requests })
  end

  cases["CVE-2021-37624, CVE-2021-41157, CVE-2021-41158"] = function()
    net = sim.new { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pool = sip.pool("pool", {
        check = { method = "REGISTER", user = "proxy", password = "secret", interval = 2,
          timeout = 1 },
        servers = { { name = "a", uri = "sip:10.0.0.1" } } })
      sip.route(function(req) return req:relay(pool) end)
    ]] }
    a, b = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", "alice")
    net:run(3)
    for _, method in ipairs { "INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH", "OPTIONS" } do
      for code, name in pairs { [401] = "WWW-Authenticate", [407] = "Proxy-Authenticate" } do
        a:answer(method, code, { [name] = 'Digest realm="x", nonce="n", algorithm=MD5' })
        a.received = {}
        assert.equal(code, alice:ask(method, "sip:bob@example.com").code)
        net:run(1)
        assert.equal(1, #a:got(method))
        assert.is_nil(a.received[1]:header "Authorization")
        assert.is_nil(a.received[1]:header "Proxy-Authorization")
      end
      a:answer(method, 200)
    end
  end

  cases["CVE-2021-37706, CVE-2022-31001, CVE-2022-31002, CVE-2022-31003, CVE-2023-22741, "
    .. "CVE-2023-32307"] = function()
    open()
    for _, type in ipairs { "\0\1", "\1\1", "\0\17", "\255\255" } do
      for _, length in ipairs { "\0\0", "\0\1", "\0\4", "\255\255", "\127\255" } do
        assert.equal("", answer_to(type .. length .. "\33\18\164\66" .. ("t"):rep(12)
          .. "\0\8\255\255"))
      end
    end
    assert.equal(20, net:metric("tandem_parse_errors_total", { reason = "not_sip" }))
    for _, body in ipairs { "v", "v=", "v=0\r\n", "m=audio 99999999999999999999 RTP/AVP "
      .. ("0 "):rep(3000),
      "a=rtpmap:", "a=fmtp:\0", "m=\r\nm=\r\nc=", "a=candidate:" .. ("1 "):rep(1000), "o="
        .. ("9"):rep(9000),
      "a=rtcp-fb:* \r\n", "a=crypto:1 " .. ("A"):rep(500) } do
      passes("INFO", "Content-Type: application/sdp", body)
    end
  end

  cases["CVE-2016-10324, CVE-2016-10325, CVE-2016-10326, CVE-2017-7853, "
    .. "CVE-2022-41550"] = function()
    open()
    for _, body in ipairs { "\0", "a\0b", ("\0"):rep(1000), "\r\n", "\r\n\r\n", ("\r\n"):rep(4000),
      "INVITE sip:evil@example.com SIP/2.0\r\n\r\n", "Content-Length: 99\r\n\r\nx",
        ("x"):rep(40000) } do
      passes("MESSAGE", "Content-Type:\r\n multipart/mixed ;\r\n boundary = x", body)
    end
    -- single values the library is given
    for _, value in ipairs { '"', '"\\', "<", "<>", "<sip:", "sip:", "sip:@", "<sip:a@b",
      "sip:a@b?", "a;",
      "<sip:[::>", "<sip:a%>", "<sip:a%00%zz@b>", "<sip:a:b@c:99999>", ("<"):rep(3000),
        (";"):rep(30) } do
      for _, name in ipairs { "From", "To", "Contact", "Route", "Record-Route" } do
        local part = name ~= "From" and name ~= "To" and name .. ": " .. value
        answer_to(request("INVITE", { [name] = not part and name .. ": " .. value or nil },
          { part or nil }))
        assert.same({ name, value, 0 }, { name, value, #a.received })
      end
    end
  end

  cases["CVE-2022-23608"] = function()
    open { handler = "if req.ruri.user == 'fork' then return req:fork { a, b } end" }
    for _, server in ipairs { a, b } do
      server:on("INVITE", function(_, reply)
        reply(180, { tag = server.name .. "1" })
        reply(180, { tag = server.name .. "2" })
        server:after(0.5, function() reply(200, { tag = server.name .. "2" }) end)
      end)
    end
    for _ = 1, 10 do
      local call = alice:call "sip:fork@example.com"
      assert.equal(200, call.code)
      net:run(1)
      alice:bye(call)
      net:run(1)
    end
    a:on("INVITE", nil)
    b:on("INVITE", nil)
  end

  cases["CVE-2023-27597"] = function()
    open()
    local urns = { "tel:+49301234", "tel:", "tel:;phone-context=", "urn:service:sos", "urn:",
      "mailto:a@b",
      "sip:", "im:x", "http://a/b?c", "sipfoo:a@b", "x:" }
    for _, uri in ipairs(urns) do
      for _, opts in ipairs { { uri = uri }, { From = "From: <" .. uri .. ">;tag=1" },
        { To = "To: <" .. uri .. ">" } } do
        answer_to(request("OPTIONS", opts))
      end
      for _, name in ipairs { "Contact", "Route", "Record-Route", "Refer-To",
        "P-Asserted-Identity" } do
        answer_to(request("OPTIONS", nil, { name .. ": <" .. uri .. ">" }))
        answer_to(request("INFO", { To = "To: <sip:x@y>;tag=1", uri = uri }, { name .. ": <" .. uri
          .. ">" }))
      end
    end
    assert.equal("200", answer_to(request("OPTIONS", { uri = "tel:+49301234" })))
    assert.equal("416", answer_to(request("OPTIONS", { uri = "urn:service:sos" })))
  end

  cases["CVE-2023-27598, CVE-2023-27599"] = function()
    open()
    local via = 'Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1;a="b\\"c'
    local to = 'To: "bob \\" b" <sip:bob:pw@[2001:db8::1]:5060;a=b>;tag="x'
    local head = "OPTIONS sip:bob@example.com SIP/2.0\r\n"
      .. "f: <sip:a@b>;tag=1\r\ni: 1\r\nCSeq: 1 OPTIONS\r\n"
    for _, tail in ipairs { to .. "\r\n" .. via, via .. "\r\n" .. to } do
      local whole = head .. tail
      for n = #head - 20, #whole do
        for _, ending in ipairs { "", "\r", "\r\n", "\r\n\r\n", '"', "\\" } do
          alice:send(whole:sub(1, n) .. ending)
        end
      end
    end
    net:run(1)
    assert.same({}, alice.garbage)
    assert.same({}, a.received)
  end

  cases["CVE-2023-28095"] = function()
    open()
    for _, sizes in ipairs { { 1, 7000 }, { 7000, 1 }, { 200, 201 } } do
      local function to(n)
        return "To: <sip:" .. ("b"):rep(n) .. "@example.com>"
      end
      local message = one_of_each(request("INVITE", { To = to(sizes[1]) }, { to(sizes[2]),
        "Call-ID: " .. ("c"):rep(sizes[2]), "From: <sip:" .. ("f"):rep(sizes[2]) .. "@x>;tag=2" }))
      assert.equal("<sip:" .. ("b"):rep(sizes[1]) .. "@example.com>",
        message:header("To"):match "^[^;]*")
    end
  end

  local function over_tcp(length)
    open { caller = "tcp:" }
    alice:raw(request("INVITE", { ["Content-Length"] = "Content-Length: " .. length }, nil,
      "x"):sub(1, -2)
      .. request("INVITE", { uri = "sip:smuggled@example.com" }))
    net:run(1)
    assert.same({ length, 1 }, { length, #alice.ended })
    assert.same({}, a.received)
    return codes()
  end

  cases["CVE-2023-28097"] = function()
    for _, length in ipairs { "2147483647", "2147483648", "4294967295", "9223372036854775807",
      "9223372036854775808", "18446744073709551615", ("9"):rep(3000) } do
      assert.equal("513", over_tcp(length))
      net:finish()
    end
    assert.equal("400", over_tcp "-1")
  end

  cases["CVE-2026-23457"] = function()
    for _, length in ipairs { "4294967296", "4294967297", "18446744073709551616", "65536" } do
      assert.equal("513", over_tcp(length))
      net:finish()
    end
    open()
  end

  cases["CVE-2023-28098"] = function()
    net = sim.new { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pool = sip.pool("pool", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
        check = false })
      sip.route("MESSAGE", function(req)
        local res = sip.request { method = "OPTIONS", uri = "sip:10.0.0.2", user = "u",
          password = "p",
          timeout = 1 }
        return req:reply(res and res.code or 480)
      end)
      sip.route(function(req) return req:relay(pool) end)
    ]] }
    a, b = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", "alice")
    for _, value in ipairs { "", "D", "Digest", "Digest ", "Digest realm", "Digest realm=",
      'Digest realm="',
      'Digest realm="\\', 'Digest realm="x", nonce="', 'Digest realm="x", nonce="n', "Digest =,=,=",
      'Digest realm="x",,,nonce=,', 'Digest realm="x", nonce="n", qop="',
        'Digest realm="x", nonce="n", algorithm',
      "Digest " .. ("a=b,"):rep(1500), 'Digest realm="' .. ("r"):rep(7000) .. '", nonce="n"',
      "Basic realm=x", "\255\254" } do
      b.received = {}
      b:answer("OPTIONS", 401, { ["WWW-Authenticate"] = value })
      alice.received = {}
      alice:send(request "MESSAGE")
      net:run(2)
      assert.same({ value, "401" }, { value, codes() })
      assert(#b:got "OPTIONS" <= 2)
    end
  end

  after_each(sim.finish)

  for _, row in ipairs(rows) do
    local name = row["published as"]
    if row.spec == "`sim/cve`" then
      it(("%s: %s"):format(name, row["what went wrong"]), function()
        assert(cases[name], "no case of that name")()
        -- and the service goes on
        local bob = net:uac("192.0.2.8", "bob")
        local call = bob:call "sip:bob@example.com"
        assert.equal(200, call.code)
        assert.equal("a", call.server)
        bob:bye(call)
        net:run(1)
        assert.equal(0, net:count "lua.error")
      end)
    elseif row.spec ~= "" then
      it(("%s is named in %s"):format(name, row.spec), function()
        local text = tree.read("spec/" .. page.code(row.spec) .. "_test.c")
        for cve in name:gmatch "CVE%-[%d-]+" do
          assert(text:find(cve, 1, true), cve)
        end
      end)
    else
      it(name .. " does not apply", function()
        assert.matches("^does not apply: ", row.here)
      end)
    end
  end

  it("has a row for each case", function()
    local known = {}
    for _, row in ipairs(rows) do
      known[row["published as"]] = true
    end
    for name in pairs(cases) do
      assert(known[name], name)
    end
  end)
end)
