-- Semantics 23: REGISTER as a check, and digest credentials of requests of our own.
local sim = require "support.sim"
local guard = require "support.guard"
local policy = require "support.policy"
local wire = require "support.wire"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  check = { %s } })
sip.route(function(req) return req:relay(pbx) end)
%s
]]

local credentials = 'user = "1000", password = "pa55word-x7q"'

sim.for_workers("a REGISTER check", function(workers)
  after_each(sim.finish)

  local w

  local function open(check, before, after)
    w = policy.world {
      workers = workers, source = frame:format(before or "", check, after or ""),
    }
  end

  local function health(name)
    return w.net.pools.pbx[name].health
  end

  -- RFC 3261 10.2
  it("asks what is registered and changes nothing", function()
    open 'method = "REGISTER", user = "1000"'
    w.net:run(7)
    local check = w.a:got("REGISTER")[1]
    assert.equal("sip:10.0.0.1", check.uri)
    assert.equal("<sip:1000@10.0.0.1>", check:header "To")
    assert.matches("^<sip:1000@10.0.0.1>;tag=", check:header "From")
    assert.is_nil(check:header "Contact")
    assert.is_nil(check:header "Record-Route")
    assert.equal("up", health "a")
  end)

  it("is about the first domain, or whom `to` names; HOST is the server's host", function()
    open('method = "REGISTER", user = "1000"', 'sip.settings { domains = { "example.org" } }')
    w.net:run(7)
    local check = w.a:got("REGISTER")[1]
    assert.equal("sip:example.org", check.uri)
    assert.equal("<sip:1000@example.org>", check:header "To")
    open 'method = "REGISTER", to = "sip:line@HOST", from = "sip:probe@example.net"'
    w.net:run(7)
    check = w.b:got("REGISTER")[1]
    assert.equal("sip:10.0.0.2", check.uri)
    assert.equal("<sip:line@10.0.0.2>", check:header "To")
    assert.matches("^<sip:probe@example.net>;tag=", check:header "From")
  end)

  it("registers what `contact` says", function()
    open 'method = "REGISTER", contact = "<sip:1000@192.0.2.1>;expires=120"'
    w.net:run(7)
    assert.equal("<sip:1000@192.0.2.1>;expires=120", w.a:got("REGISTER")[1]:header "Contact")
  end)

  it("takes its time by default: 32 s, every 60 s", function()
    open 'method = "REGISTER", jitter = 0, fall = 1'
    w.net:run(0.1)
    w.a:silence()
    w.net:run(60 + 31.8)
    assert.equal("up", health "a")
    w.net:run(0.4)
    assert.equal("down", health "a")
    local branches, times = {}, {}
    for _, check in ipairs(w.a:got "REGISTER") do
      if not branches[check.branch] then
        branches[check.branch] = true
        times[#times + 1] = math.floor(check.time)
      end
    end
    assert.same({ 0, 60 }, times)
  end)

  for _, case in ipairs { { 401, "MD5" }, { 407, "MD5" }, { 401, "SHA-256" } } do
    it(("answers a %d with %s, as the same client (RFC 3261 8.1.3.5)"):format(case[1], case[2]),
      function()
        open('method = "REGISTER", expect = { 200 }, ' .. credentials)
        guard.set(w.a, "REGISTER", {
          code = case[1], algorithm = case[2], user = "1000", password = "pa55word-x7q",
        })
        w.net:run(7)
        local first, second = table.unpack(w.a:got "REGISTER")
        assert.equal("up", health "a")
        assert.equal(2, #w.a:got "REGISTER")
        assert.equal(first.call_id, second.call_id)
        assert.equal(first.from_tag, second.from_tag)
        assert.same({ 1, 2 }, { first.cseq, second.cseq })
        assert.not_equal(first.branch, second.branch)
      end)
  end

  it("answers once: a second refusal is the answer", function()
    open('method = "REGISTER", expect = { 200 }, fall = 1, ' .. credentials)
    guard.set(w.a, "REGISTER", { user = "1000", password = "another" })
    w.net:run(7)
    assert.equal(2, #w.a:got "REGISTER")
    assert.equal("down", health "a")
    assert.equal(1, w.net:count("server.health", { server = "a", to = "down", reason = "401" }))
  end)

  it("answers again when only the nonce was stale", function()
    open('method = "REGISTER", expect = { 200 }, ' .. credentials)
    local lock = guard.set(w.a, "REGISTER", { user = "1000", password = "pa55word-x7q" })
    w.a:once("REGISTER", 401, {
      ["WWW-Authenticate"] = 'Digest realm="example.com", nonce="n0", qop="auth"',
    })
    w.net:run(7)
    assert.equal("n1", lock.nonce)
    assert.equal(3, #w.a:got "REGISTER")
    assert.equal("up", health "a")
  end)

  it("lets its timeout count for both requests", function()
    open('method = "REGISTER", interval = 10, timeout = 2, fall = 1, jitter = 0, ' .. credentials)
    local lock = guard.set(w.a, "REGISTER", {
      user = "1000", password = "pa55word-x7q", accept = function() end,
    })
    assert.equal("n1", lock.nonce)
    w.net:run(1.9)
    assert.equal("unknown", health "a")
    w.net:run(0.2)
    assert.equal("down", health "a")
  end)

  it("takes a challenge for an answer when there is nothing to answer it with", function()
    open 'method = "REGISTER"'
    w.a:answer("REGISTER", 401, { ["WWW-Authenticate"] = "Digest realm=x, nonce=y" })
    w.b:answer("REGISTER", 407, { ["Proxy-Authenticate"] = "Bogus" })
    w.net:run(7)
    assert.equal("up", health "a")
    assert.equal("up", health "b")
  end)

  it("keeps the password to itself: no log, dump, event or history has it", function()
    open('method = "REGISTER", fall = 1, ' .. credentials, nil, [[
      for _, name in ipairs { "server.health", "server.hold", "pool.state" } do
        sip.on(name, function(e)
          for key, value in pairs(e) do sip.log.info(key .. " " .. tostring(value)) end
        end)
      end
    ]])
    w.net:run(7)
    w.a:refuse()
    w.net:run(120)
    local all = { table.concat(w.net.logs, "\n") }
    for _, change in ipairs(w.net.pools.pbx.a.history) do
      all[#all + 1] = change.why .. change.who
    end
    for _, packet in ipairs(w.net:packets()) do
      all[#all + 1] = packet.bytes
    end
    assert.is_true(#w.net.logs > 5)
    assert.is_nil(table.concat(all, "\n"):find("pa55word", 1, true))
  end)
end)

sim.for_workers("sip.request", function(workers)
  after_each(sim.finish)

  it("answers a challenge with `user` and `password`", function()
    local w = policy.world { workers = workers, after = [[
      sip.after(1, function()
        local res = sip.request { method = "MESSAGE", uri = "sip:10.0.0.1", body = "hi",
          headers = { ["Content-Type"] = "text/plain", ["X-A"] = "1" }, user = "u", password = "p" }
        say(res.code)
        local none, err = sip.request { method = "MESSAGE", uri = "sip:10.0.0.2", timeout = 2,
          user = "u", password = "p" }
        say(none, err)
      end)
    ]] }
    guard.set(w.a, "MESSAGE", { user = "u", password = "p", code = 407 })
    w.b:silence()
    w.net:run(5)
    assert.same({ "200", "nil timeout" }, w.said())
    local first, second = table.unpack(w.a:got "MESSAGE")
    assert.same({ "hi", "1", first.call_id }, { second.body, second:header "X-A", second.call_id })
    assert.same({ 1, 2 }, { first.cseq, second.cseq })
  end)

  it("leaves out the headers of a URI, its own and a Contact's (RFC 3261 19.1.5)", function()
    local w = policy.world { workers = workers, after = [[
      sip.after(1, function()
        local known = { user = "u", password = "p" }
        local res = sip.request { method = "INVITE", uri = "sip:x?@10.0.0.1?Subject=y",
          user = "u", password = "p" }
        say(res.code, res:request("BYE", known).code)
      end)
    ]] }
    guard.set(w.a, "INVITE", { user = "u", password = "p", accept = function(_, reply)
      reply(200, { headers = { Contact = "<sip:z@10.0.0.1;a?Subject=y>" } })
    end })
    guard.set(w.a, "BYE", { user = "u", password = "p" })
    w.net:run(5)
    assert.same({ "200 200" }, w.said())
    local invite, bye = w.a:got("INVITE")[2], w.a:got("BYE")[2]
    assert.same({ "sip:x?@10.0.0.1", "<sip:x?@10.0.0.1>" }, { invite.uri, invite:header "To" })
    assert.equal("sip:z@10.0.0.1;a", bye.uri)
  end)

  it("needs both of them, and does not repeat a wrong one in its error", function()
    local w = policy.world { workers = workers, after = [[
      sip.after(1, function()
        say(pcall(sip.request, { method = "MESSAGE", uri = "sip:10.0.0.1", user = "u" }))
        say(pcall(sip.request, { method = "MESSAGE", uri = "sip:10.0.0.1", user = "u",
          password = "secret\n" }))
      end)
    ]] }
    w.net:run(2)
    assert.matches("user and password go together", w.said()[1])
    assert.matches("password: a string without control characters", w.said()[2])
    assert.is_nil(w.said()[2]:find("secret", 1, true))
    assert.equal("", wire.names(w.a.received))
  end)
end)
