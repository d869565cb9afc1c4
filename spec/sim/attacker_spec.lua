-- Somebody without any right tries to send through the proxy, or to have it attack a third
-- party (semantics 17, docs/reference/who-may-send-where.md). Whatever the script is, not
-- one packet may leave for a host that is no declared server, but back to where the
-- attacker's own packet came from; and a counter must tell.
-- open_relay_spec.lua has the rules one by one, with those who may.
local sim = require "support.sim"
local policy = require "support.policy"
local registrar = require "support.registrar"
local ipairs, next, pairs, table = ipairs, next, pairs, table

local attacker_ip, victim_ip = "192.0.2.66", "203.0.113.9"
local victim = "sip:victim@" .. victim_ip
local ours, theirs = "<sip:10.0.0.100;lr>", "<sip:203.0.113.9;lr>"

-- What a script may be like: nothing but a pool; or so careless that it sends everything
-- where its Request-URI says.
local scripts = {
  relay = { script = "examples/relay.lua" },
  register = { script = "examples/register.lua" },
  careless = { handler = "return req:relay(req.ruri.text)" },
  quiet = { handler = "return req:relay(pbx)" }, -- without checks
  forks = { handler = "return req:fork { a, req.ruri.text }" },
  served = {
    handler = "return req:relay(req.ruri.text)",
    before = 'sip.settings { domains = { "example.org" } }',
  },
}

local function dropped(reason)
  return { "tandem_dropped_total", { reason = reason } }
end

local function denied(reason)
  return { "tandem_relay_denied_total", { reason = reason } }
end

local bad_cookie, bad_token = { "tandem_bad_cookies_total" }, { "tandem_bad_tokens_total" }
local function refused(code)
  return { "tandem_responses_total", { code = code } }
end
local bad = { "tandem_parse_errors_total" }

sim.for_workers("an attacker", function(workers)
  after_each(sim.finish)

  local w, attacker

  local function open(name)
    local opts = { workers = workers }
    for option, value in next, scripts[name] do
      opts[option] = value
    end
    w = policy.world(opts)
    attacker = w.net:uac(attacker_ip, "attacker")
    w.net:uas(victim_ip, "victim")
    w.net:uas("203.0.113.10", "second victim")
    for _, host in ipairs { "victim.test", "example.org.victim.test", "notexample.org" } do
      w.net:dns(host, victim_ip)
    end
    w.net:run(2) -- with the first checks
  end

  -- Where packets of the proxy may go, beside servers: hosts of endpoints.
  local function confined(friends)
    local allowed = { ["10.0.0.1"] = true, ["10.0.0.2"] = true }
    for _, ip in ipairs(friends or { attacker_ip }) do
      allowed[ip] = true
    end
    for _, packet in ipairs(w.net:packets()) do
      local to = packet.to:match "^(.*):%d+$"
      if packet.node and not packet.icmp and not allowed[to] then
        error("a packet went to " .. packet.to .. "\n" .. packet.bytes)
      end
      -- An answer goes to the very place that the request came from.
      if packet.node and to == attacker_ip and packet.bytes:find "^SIP/2%.0 " then
        assert.equal(attacker.addr, packet.to)
      end
    end
  end

  local function value(counter)
    return w.net:metric(counter[1], counter[2]) or 0
  end

  -- A request as text: start line, then any header lines in place of those that it has.
  -- `%s` is the branch, so that each is another.
  local function text(start, lines, more)
    more = more or {}
    local method = start:match "^%S+"
    local list = {
      start .. " SIP/2.0",
      more.via or ("Via: SIP/2.0/UDP %s;branch=z9hG4bK%s"):format(attacker_ip,
        w.net:token(12)),
    }
    for _, line in ipairs(lines or {}) do
      list[#list + 1] = line
    end
    for _, line in ipairs {
      "Max-Forwards: " .. (more.hops or 70),
      "From: <sip:mallory@192.0.2.66>;tag=" .. (more.from_tag or "m"),
      "To: <sip:bob@example.com>" .. (more.to_tag and ";tag=" .. more.to_tag or ""),
      "Call-ID: " .. (more.call_id or w.net:token(12)),
      ("CSeq: %d %s"):format(more.cseq or 1, method),
      "Contact: " .. (more.contact or "<sip:mallory@192.0.2.66>"),
      "Content-Length: 0",
    } do
      list[#list + 1] = line
    end
    return table.concat(list, "\r\n") .. "\r\n\r\n"
  end

  -- Sends it and waits until all that comes of it has begun; the codes that came back.
  local function send(bytes)
    local before, id = #attacker.received, bytes:match "\r\nCall%-ID: ([^\r]+)"
    attacker:send(bytes)
    w.net:run(6)
    local codes = {}
    for i = before + 1, #attacker.received do
      local message = attacker.received[i]
      if message.code and message.code ~= 100 and message.call_id == id
        and message.code ~= codes[#codes] then
        codes[#codes + 1] = message.code
      end
    end
    return table.concat(codes, " ")
  end

  -- It is tried with that script; without one with several, of which for the first one a
  -- counter and the answers are looked at.
  local function try(name, attempt)
    it(name, function()
      local all = { "relay", "register", "careless" }
      for _, script in ipairs(workers == 1 and not attempt.script and all
        or { attempt.script or "relay" }) do
        open(script)
        local looked = script == (attempt.script or "relay")
        local counter = attempt.counter
        local before = counter and value(counter)
        local answer = send(attempt.bytes())
        confined()
        if looked then
          assert.equal(attempt.answer, answer)
          assert(value(counter) > before, counter[1])
        end
        w.net:finish { errors = w.net.nodes[1]:errors() }
        sim.finish()
      end
    end)
  end

  local function invite(uri, lines, more)
    return function()
      return text("INVITE " .. uri, lines, more)
    end
  end

  describe("preloads a Route", function()
    local bob = "sip:bob@example.com"
    local tries = {
      ["to his victim"] = { "Route: " .. theirs },
      ["to his victim below ours"] = { "Route: " .. ours .. ", " .. theirs },
      ["in a header of its own below ours"] = { "Route: " .. ours, "Route: " .. theirs },
      ["in a header in strange letters"] = { "rOUtE : " .. theirs },
      ["in a folded line"] = { "Route: " .. ours .. ",", " " .. theirs },
      ["through us twice"] = { "Route: " .. ours .. "," .. ours .. ", " .. theirs },
      ["with our address as its user"] = { "Route: <sip:10.0.0.100@203.0.113.9;lr>" },
      ["with our address as its password"] = { "Route: <sip:x:10.0.0.100@203.0.113.9;lr>" },
      ["with our address in its display name"] = { 'Route: "<sip:10.0.0.100;lr>" ' .. theirs },
      ["without lr"] = { "Route: <sip:203.0.113.9>" },
      ["to a name"] = { "Route: <sip:victim.test;lr>" },
      ["to its address as IPv6"] = { "Route: <sip:[::ffff:203.0.113.9];lr>" },
      ["to our address at another port"] = { "Route: <sip:10.0.0.100:22;lr>" },
      ["by sips"] = { "Route: <sips:203.0.113.9;lr>" },
    }
    for name, lines in pairs(tries) do
      try(name, { bytes = invite(bob, lines), answer = "403", counter = denied "route" })
    end

    for name, route in pairs {
      ["with its host in percent signs"] = "<sip:%32%30%33.0.113.9;lr>",
      ["with two hosts"] = "<sip:bob@10.0.0.100@203.0.113.9;lr>",
      ["without brackets"] = "sip:203.0.113.9;lr, x",
    } do
      try(name, { bytes = invite(bob, { "Route: " .. route }), answer = "400", counter = bad })
    end

    -- They are taken off, and the script decides.
    for name, route in pairs {
      ["that is ours but for its maddr"] = "<sip:10.0.0.100;maddr=203.0.113.9;lr>",
      ["to loopback, where we listen"] = "<sip:127.0.0.1;lr>",
    } do
      try(name, { bytes = invite(bob, { "Route: " .. route }), answer = "200",
        counter = refused "200" })
    end

    try("that is his victim's but for its maddr, which is ours", { answer = "403",
      bytes = invite(bob, { "Route: <sip:203.0.113.9;maddr=10.0.0.100;lr>" }),
      counter = denied "route" })

    for _, method in ipairs { "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTHING" } do
      try("in a " .. method, { answer = "403", counter = denied "route",
        bytes = function() return text(method .. " " .. bob, { "Route: " .. theirs }) end })
    end
  end)

  describe("asks for a Request-URI", function()
    local tries = {
      ["of his victim"] = victim,
      ["of his victim by TCP"] = victim .. ";transport=tcp",
      ["of a name of his"] = "sip:bob@victim.test",
      ["whose maddr is his victim"] = "sip:bob@10.0.0.1;maddr=203.0.113.9",
      ["of his victim by way of our maddr"] = "sip:bob@203.0.113.9;maddr=10.0.0.100",
      ["with a server as its user"] = "sip:10.0.0.1@203.0.113.9",
      ["with a server as its password"] = "sip:bob:10.0.0.1@203.0.113.9",
      ["of an IPv4 address as IPv6"] = "sip:bob@[::ffff:203.0.113.9]",
      ["of loopback"] = "sip:bob@127.0.0.1",
      ["of loopback by name"] = "sip:bob@localhost",
      ["of IPv6 loopback"] = "sip:bob@[::1]",
      ["of a multicast group"] = "sip:bob@224.0.1.75",
      ["of everybody"] = "sip:bob@255.255.255.255",
      ["of nobody"] = "sip:bob@0.0.0.0",
      ["of ourselves, for somebody"] = "sip:bob@10.0.0.100",
      ["of ourselves as IPv6"] = "sip:bob@[::ffff:10.0.0.100]",
      ["by sips"] = "sips:victim@203.0.113.9",
      ["by SIPS in capitals"] = "SIPS:victim@203.0.113.9",
      ["whose name ends with a domain of ours"] = "sip:bob@notexample.org",
      ["whose name begins with a domain of ours"] = "sip:bob@example.org.victim.test",
      ["with a domain of ours as a parameter"] = victim .. ";host=example.org",
    }
    for name, uri in pairs(tries) do
      for _, script in ipairs(workers == 1 and { "careless", "served", "forks" }
        or { "careless" }) do
        try(name .. " (" .. script .. ")", { script = script, bytes = invite(uri),
          answer = "500", counter = denied "uri" })
      end
    end

    for name, uri in pairs {
      ["with its host in percent signs"] = "sip:bob@203%2e0%2e113%2e9",
      ["with two hosts"] = "sip:bob@10.0.0.1@203.0.113.9",
      ["of an address as one number"] = "sip:bob@3405803785",
      ["of an address with a point behind"] = "sip:bob@203.0.113.9.",
      ["with a Route among its headers"] = "sip:bob@10.0.0.1?Route=%3Csip:203.0.113.9%3E",
    } do
      try(name, { script = "careless", bytes = invite(uri), answer = "400", counter = bad })
    end

    try("of a server's address as IPv6: that is where it goes", { script = "careless",
      bytes = invite "sip:bob@[::ffff:10.0.0.1]", answer = "200", counter = refused "200" })
    try("that is a number", { script = "careless", bytes = invite "tel:+15550100",
      answer = "500", counter = refused "500" })

    it("by a name that leads to his victim, and nobody is even asked for it", function()
      open "careless"
      assert.equal("500", send(text "INVITE sip:bob@victim.test"))
      for _, query in ipairs(w.net:queries()) do
        assert.not_equal("victim.test", query.name)
      end
      confined()
      w.net:finish { errors = 1 }
    end)

    try("of another scheme", { bytes = invite "http://203.0.113.9/", answer = "416",
      counter = { "tandem_invalid_requests_total", { reason = "scheme" } } })
    try("with no hop left", { bytes = invite(victim, {}, { hops = 0 }), answer = "483",
      counter = { "tandem_invalid_requests_total", { reason = "max_forwards" } } })
  end)

  describe("says in his Via", function()
    local host = "SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKvia"
    for name, via in pairs {
      ["that he is his victim"] = host,
      ["that he is his victim at a port"] = "SIP/2.0/UDP 203.0.113.9:9;branch=z9hG4bKv",
      ["received"] = host .. ";received=203.0.113.10",
      ["rport"] = host .. ";rport=9",
      ["maddr"] = host .. ";maddr=203.0.113.10",
      ["a group as maddr"] = host .. ";maddr=224.0.1.75;ttl=255",
      ["TCP"] = "SIP/2.0/TCP 203.0.113.9;branch=z9hG4bKvia",
      ["TLS"] = "SIP/2.0/TLS 203.0.113.9;alias;branch=z9hG4bKvia",
      ["a name"] = "SIP/2.0/UDP victim.test;branch=z9hG4bKvia",
      ["all of it, and another Via below"] = host .. ";received=203.0.113.10;rport=9;maddr="
        .. victim_ip .. ", SIP/2.0/UDP 203.0.113.10;branch=z9hG4bKw",
    } do
      try(name .. ": the answer of a server comes to himself", { answer = "200",
        counter = refused "200",
        bytes = invite("sip:bob@example.com", {}, { via = "Via: " .. via }) })
      try(name .. ": the refusal comes to himself", { answer = "403", counter = refused "403",
        bytes = invite("sip:bob@example.com", { "Route: " .. theirs }, { via = "v: " .. via }) })
    end
  end)

  describe("claims a dialog", function()
    local forged = ("<sip:10.0.0.100;lr;t=1n%032x>"):format(5)

    for _, method in ipairs { "BYE", "INFO", "INVITE", "UPDATE", "MESSAGE", "REFER" } do
      try("with a To tag alone, " .. method, { answer = "481", counter = denied "dialog",
        bytes = function() return text(method .. " " .. victim, {}, { to_tag = "1" }) end })
    end

    local function inside(lines, uri)
      return function()
        return text("BYE " .. (uri or victim), lines, { to_tag = "1" })
      end
    end

    try("with a Route of ours without a cookie",
      { bytes = inside { "Route: " .. ours }, answer = "481", counter = denied "dialog" })
    try("with a forged cookie",
      { bytes = inside { "Route: " .. forged }, answer = "481", counter = bad_cookie })
    try("with an empty cookie",
      { bytes = inside { "Route: <sip:10.0.0.100;lr;t>" }, answer = "481", counter = bad_cookie })
    try("with many forged cookies", { answer = "481", counter = bad_cookie,
      bytes = inside { "Route: " .. (forged .. ", "):rep(20) .. forged } })
    try("with a forged cookie and a way on", { answer = "403", counter = denied "route",
      bytes = inside { "Route: " .. forged .. ", " .. theirs } })
    try("as a strict router, with a forged cookie", { answer = "481", counter = bad_cookie,
      bytes = inside({ "Route: <" .. victim .. ">" }, forged:match "<(.*)>") })
    try("with a forged token of a phone at his victim's", { answer = "481", counter = bad_token,
      bytes = inside { "Route: <sip:flow1-d00010a00006413c401cb00710913c4" .. ("0"):rep(16)
        .. "@10.0.0.100;lr>" } })
    try("and there is maddr", { answer = "481", counter = denied "dialog",
      bytes = inside({ "Route: " .. ours }, "sip:pbx@10.0.0.1;maddr=203.0.113.9") })
    try("with an ACK", { answer = "", counter = dropped "stray_ack",
      bytes = function() return text("ACK " .. victim, {}, { to_tag = "1" }) end })
    try("with an ACK and a Route", { answer = "", counter = dropped "stray_ack",
      bytes = function()
        return text("ACK " .. victim, { "Route: " .. forged .. ", " .. theirs }, { to_tag = "1" })
      end })
    try("with a CANCEL", { answer = "481", counter = refused "481",
      bytes = function() return text("CANCEL " .. victim, {}) end })
    try("with a CANCEL and a Route", { answer = "481", counter = refused "481",
      bytes = function() return text("CANCEL " .. victim, { "Route: " .. theirs }) end })
  end)

  -- A real call of somebody else's, all of which the attacker has seen.
  local function overheard()
    open "quiet"
    local call = w.alice:call "sip:bob@example.com"
    w.net:run(0.5)
    local request = w.a:got("INVITE")[1]
    return call, request:list("Record-Route")[1], request
  end

  describe("has a cookie", function()
    it("of a call of another Call-ID", function()
      local call, route = overheard()
      assert.equal("481", send(text("INFO " .. victim, { "Route: " .. route },
        { to_tag = call.remote_tag or "1", from_tag = call.local_tag or "m" })))
      confined { attacker_ip, "192.0.2.7" }
      assert.equal(1, value(bad_cookie))
    end)

    it("of a call with other tags", function()
      local call, route = overheard()
      assert.equal("481", send(text("INFO " .. victim, { "Route: " .. route },
        { to_tag = "1", from_tag = "2", call_id = call.id })))
      confined { attacker_ip, "192.0.2.7" }
      assert.equal(1, value(bad_cookie))
    end)

    it("of a call and none of its tags is a To tag", function()
      local call, route = overheard()
      -- It is no request of a dialog: the script has it, and sends it to a server.
      assert.equal("200", send(text("INFO " .. victim, { "Route: " .. route },
        { from_tag = "2", call_id = call.id })))
      confined { attacker_ip, "192.0.2.7" }
    end)

    it("and changes who the server is", function()
      local call, route = overheard()
      local other = route:gsub("t=1d(%x)", function(digit)
        return "t=1d" .. (digit == "0" and "1" or "0")
      end)
      assert.equal("481", send(text("INFO " .. victim, { "Route: " .. other },
        { to_tag = "1", from_tag = w.a:got("INVITE")[1].from_tag, call_id = call.id })))
      confined { attacker_ip, "192.0.2.7" }
      assert.equal(1, value(bad_cookie))
    end)
  end)

  describe("has a token", function()
    local phone, bindings

    before_each(function()
      open "register"
      phone = w.net:uac("198.51.100.9:41002", { name = "phone", private = "192.168.1.20" })
      bindings = registrar.new(w.a)
      assert.equal(200, phone:ask("REGISTER", "sip:example.com").code)
    end)

    local friends = { attacker_ip, "198.51.100.9" }

    it("of a phone that is not his to call", function()
      assert.equal("403", send(text("INVITE sip:phone@192.168.1.20",
        { "Route: " .. bindings.phone.path[1] })))
      assert.equal(1, value(denied "flow"))
      assert.same({}, phone:got "INVITE")
      confined(friends)
    end)

    it("and writes his victim's address into it", function()
      local token = bindings.phone.path[1]
      assert.equal("403", send(text("INVITE sip:phone@192.168.1.20",
        { "Route: " .. token:gsub("c6336409", "cb007109") })))
      assert.equal(1, value(bad_token))
      confined(friends)
    end)

    it("cut short, and with more behind", function()
      local token = bindings.phone.path[1]
      local head, tail = token:match "^(.*)(@.*)$"
      for i, changed in ipairs { head:sub(1, -2), head .. "00", head:sub(1, 11) } do
        assert.equal("403", send(text("INVITE sip:phone@192.168.1.20",
          { "Route: " .. changed .. tail })))
        assert.equal(i, value(bad_token))
      end
      assert.same({}, phone:got "INVITE")
      confined(friends)
    end)

    it("for himself, and a Route of his victim's in his Path", function()
      assert.equal("200", send(text("REGISTER sip:example.com", { "Path: " .. theirs,
        "Supported: path" }, { contact = "<" .. victim .. ">" })))
      local call = registrar.invite(w.a, bindings.bob)
      w.net:run(2)
      assert.is_true(call.code ~= nil)
      assert.equal(1, #attacker:got "INVITE") -- his own flow
      for _, packet in ipairs(w.net:packets()) do
        assert.not_equal(victim_ip .. ":5060", packet.to)
      end
    end)
  end)

  describe("puts into a request", function()
    for name, lines in pairs {
      ["a Record-Route of his victim's"] = { "Record-Route: " .. theirs },
      ["a Record-Route of ours"] = { ("Record-Route: <sip:10.0.0.100;lr;t=1d%032x>"):format(7) },
      ["headers that other proxies believe"] = { "X-Forward-To: " .. victim,
        "P-Asserted-Identity: <" .. victim .. ">", "P-Served-User: <" .. victim .. ">",
        "Destination: " .. victim, "X-Destination: 203.0.113.9", "Refer-To: <" .. victim .. ">",
        "Referred-By: <" .. victim .. ">", "Reply-To: <" .. victim .. ">",
        "Alert-Info: <" .. victim .. ">", "Service-Route: " .. theirs },
      ["his victim as Contact"] = { "m: <" .. victim .. ">" },
    } do
      it(name, function()
        for _, script in ipairs { "relay", "register" } do
          open(script)
          local bytes = text("INVITE sip:bob@example.com", lines)
          if name:find "Contact" then
            bytes = bytes:gsub("Contact: [^\r]*\r\n", "")
          end
          -- Until the call is up. What the server sends in it is the server's to decide,
          -- and goes where Contact and Record-Route say.
          attacker:send(bytes)
          w.net:run(2)
          assert.equal(200, attacker.received[#attacker.received].code)
          confined()
          sim.finish()
        end
      end)
    end
  end)

  describe("sends a response", function()
    -- To a request that was answered long ago, with changes.
    local function replay(change, opts)
      local call, _, request = overheard()
      if opts and opts.restart then
        w.net.nodes[1]:crash()
        w.net.nodes[1]:start()
      else
        w.net:run(40)
      end
      local before = #w.net:packets()
      local via = request:list "Via"
      local bytes = change({
        line = "SIP/2.0 200 OK", top = via[1], below = via[2], call_id = call.id,
        from = request:header "From", cseq = "1 INVITE",
      })
      attacker:send(table.concat({
        bytes.line, "Via: " .. bytes.top, bytes.below and "Via: " .. bytes.below or "X: y",
        "From: " .. bytes.from, "To: <sip:bob@example.com>;tag=forged",
        "Call-ID: " .. bytes.call_id, "CSeq: " .. bytes.cseq,
        "Contact: <" .. victim .. ">", "Content-Length: 0", "", "",
      }, "\r\n"))
      w.net:run(36)
      local list = w.net:packets()
      for i = before + 2, #list do
        assert(not list[i].node, list[i].bytes)
      end
    end

    local forgeries = {
      ["of another Call-ID"] = function(r) r.call_id = "other" return r end,
      ["of another From tag"] = function(r) r.from = "<sip:x@y>;tag=other" return r end,
      ["of another CSeq"] = function(r) r.cseq = "2 INVITE" return r end,
      ["for his victim"] = function(r)
        r.below = "SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKx;received=203.0.113.9;rport=5060"
        return r
      end,
      ["for his victim by received"] = function(r)
        r.below = r.below:gsub("received=[^;]*", "received=203.0.113.9")
        return r
      end,
      ["for another port"] = function(r)
        r.below = r.below:gsub("rport=%d+", "rport=9")
        return r
      end,
      ["for another name"] = function(r)
        r.below = r.below:gsub("UDP [^;]*", "UDP victim.test")
        return r
      end,
      ["with a branch of his own making"] = function(r)
        r.top = r.top:gsub("branch=z9hG4bK1%x+", "branch=z9hG4bK1" .. ("5"):rep(50))
        return r
      end,
      ["with one digit of the branch changed"] = function(r)
        r.top = r.top:gsub("(branch=z9hG4bK1%x+)(%x)", function(head, digit)
          return head .. (digit == "0" and "1" or "0")
        end)
        return r
      end,
    }
    for name, change in pairs(forgeries) do
      it("with a branch that is ours, " .. name, function()
        replay(change)
        assert.equal(1, value(dropped "forged_branch"))
      end)

      it("to a process that has begun anew, " .. name, function()
        replay(change, { restart = true })
        assert.equal(1, value(dropped "forged_branch"))
      end)
    end

    it("without a second Via", function()
      replay(function(r) r.below = nil return r end)
      assert.equal(1, value(dropped "stray_response"))
    end)

    it("with a branch of another kind", function()
      replay(function(r)
        r.top = r.top:gsub("branch=[^;]*", "branch=z9hG4bKother")
        return r
      end)
      assert.equal(1, value(dropped "stray_response"))
    end)

    it("whose top Via is not ours", function()
      replay(function(r) r.top = r.top:gsub("10%.0%.0%.100", "203.0.113.9") return r end)
      assert.equal(1, value(dropped "via_not_ours"))
    end)

    it("to a call that is being set up: it goes to nobody but its caller", function()
      open "relay"
      w.a:ring(20)
      w.alice:invite "sip:bob@example.com"
      w.net:run(1)
      local via = w.a:got("INVITE")[1]:list "Via"
      local request = w.a:got("INVITE")[1]
      attacker:send(table.concat({ "SIP/2.0 486 Busy Here", "Via: " .. via[1],
        "Via: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKx;received=203.0.113.9;rport=5060",
        "From: " .. request:header "From", "To: <sip:bob@example.com>;tag=forged",
        "Call-ID: " .. request.call_id, "CSeq: 1 INVITE", "Content-Length: 0", "", "" },
        "\r\n"))
      w.net:run(40)
      confined { attacker_ip, "192.0.2.7" }
    end)
  end)

  -- I20: whoever writes somebody else's address onto his packets gains nothing.
  -- RFC 3261 26.1.5
  describe("wants more to come back than he sends:", function()
    -- As short as a request can be.
    local function short(method, uri, more)
      return table.concat({ ("%s %s SIP/2.0"):format(method, uri),
        "v:SIP/2.0/UDP a", "f:<sip:a>;tag=1", "t:<sip:a>" .. (more and more.to or ""),
        "i:1", "CSeq:1 " .. method, more and more.line or "Max-Forwards:9", "", "" }, "\r\n")
    end

    for name, bytes in pairs {
      ["a Route to elsewhere (403)"] = short("INVITE", "sip:a", { line = "Route:<sip:b;lr>" }),
      ["a dialog that is none (481)"] = short("BYE", "sip:a", { to = ";tag=2" }),
      ["a CANCEL for nothing (481)"] = short("CANCEL", "sip:a"),
      ["a scheme (416)"] = short("INVITE", "x:a"),
      ["no hop (483)"] = short("INVITE", "sip:a", { line = "Max-Forwards:0" }),
      ["an extension (420)"] = short("INVITE", "sip:a", { line = "Proxy-Require:a" }),
      ["bad Route (400)"] = short("INVITE", "sip:a", { line = "Route:x" }),
      ["bad Max-Forwards (400)"] = short("INVITE", "sip:a", { line = "Max-Forwards:x" }),
      ["bad Content-Length (400)"] = short("INVITE", "sip:a", { line = "l:x" }),
      ["another version (505)"] = (short("INVITE", "sip:a"):gsub("SIP/2%.0\r", "SIP/3.0\r", 1)),
      ["a token (403)"] = short("INVITE", "sip:a",
        { line = "Route:<sip:flow1-p00@10.0.0.100;lr>" }),
      ["OPTIONS for us (200)"] = short("OPTIONS", "sip:10.0.0.100"),
    } do
      it(name, function()
        open "relay"
        local before = #w.net:packets()
        attacker:send(bytes)
        w.net:run(40)
        local out, n = 0, 0
        for i = before + 1, #w.net:packets() do
          local packet = w.net:packets()[i]
          if packet.node and packet.to == attacker.addr then
            out, n = out + #packet.bytes, n + 1
          end
        end
        assert.is_true(n <= 1)
        assert.is_true(out <= 1.5 * #bytes, ("%d bytes for %d"):format(out, #bytes))
      end)
    end
  end)
end)
