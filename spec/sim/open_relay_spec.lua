-- Semantics 17: who may send where.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"
local ours = "<sip:10.0.0.100;lr>"
local theirs = "<sip:203.0.113.9;lr>" -- the victim's
local victim_uri = "sip:victim@203.0.113.9"

local settings = [[
  sip.settings { trust = { "198.51.100.0/24" }, domains = { "example.org", "192.0.2.50" } }
]]

sim.for_workers("an open relay this is not:", function(workers)
  after_each(sim.finish)

  local w, victim, friend, stranger, served

  local function open(handler, more)
    more = more or {}
    more.workers = workers
    more.handler = handler or "say(req.method) return req:relay(pbx)"
    more.before = more.before or settings
    w = policy.world(more)
    victim = w.net:uas("203.0.113.9", "victim")
    friend = w.net:uac("198.51.100.5", "friend")
    stranger = w.net:uac("192.0.2.66", "stranger")
    served = w.net:uas("192.0.2.50", "served")
  end

  local function nobody_heard()
    assert.same({}, victim.received)
    assert.same({}, victim.garbage)
  end

  -- What a raw request of this endpoint is answered.
  local function answer(ua, method, to, opts)
    policy.send(ua, method, to, opts)
    w.net:run(2)
    local codes = {}
    for _, message in ipairs(ua.received) do
      if message.code and message.code ~= 100 then
        codes[#codes + 1] = message.code
      end
    end
    return table.concat(codes, " ")
  end

  describe("an initial request", function()
    it("with a preloaded Route that names us loses it, cookie or not", function()
      open()
      local call = w.alice:invite(uri, { route = { ours } })
      w.net:run(1)
      assert.equal("a", call.server)
      assert.same({}, w.a:got("INVITE")[1]:all "Route")
    end)

    it("with two of ours loses both", function()
      open()
      local call = w.alice:invite(uri, { route = { ours, "<sip:10.0.0.100:5060;lr;x=1>" } })
      w.net:run(1)
      assert.equal("a", call.server)
      assert.same({}, w.a:got("INVITE")[1]:all "Route")
    end)

    it("with a foreign Route is 403, and no script sees it", function()
      open()
      local call = w.alice:invite(uri, { route = { theirs }, proxy = w.net.proxy })
      w.net:run(1)
      assert.equal(403, call.code)
      assert.equal("Route Not Allowed", call.reason)
      assert.same({}, w.said())
      nobody_heard()
    end)

    it("with a foreign Route below ours is 403 too", function()
      open()
      local call = w.alice:invite(uri, { route = { ours, theirs } })
      w.net:run(1)
      assert.equal(403, call.code)
      nobody_heard()
    end)

    it("with our address and another port in Route is 403", function()
      open()
      local call = w.alice:invite(uri, { route = { "<sip:10.0.0.100:5099;lr>" },
        proxy = w.net.proxy })
      w.net:run(1)
      assert.equal(403, call.code)
    end)

    it("with a Route that is none is 400", function()
      open()
      assert.equal("400", answer(stranger, "OPTIONS", uri, { route = { "no route" } }))
    end)

    it("with a foreign Route of a trusted source reaches the script, which keeps it", function()
      open()
      local call = friend:invite(uri, { route = { ours, theirs } })
      w.net:run(1)
      assert.equal("a", call.server)
      assert.same({ "INVITE" }, w.said())
      assert.same({ theirs }, w.a:got("INVITE")[1]:list "Route")
    end)

    it("with a foreign Route of a member is followed", function()
      open()
      local call = w.a:invite(uri, { route = { ours, theirs } })
      w.net:run(1)
      assert.equal("victim", call.server)
      assert.same({}, w.said())
    end)

    it("may be sent to a declared server, whoever it is from", function()
      open "return req:try(a):forward()"
      assert.equal("a", stranger:call(uri).server)
    end)

    it("of a stranger may not be sent to a URI: an error of the script, and 500", function()
      open(("return req:try '%s'"):format(victim_uri))
      assert.equal(500, stranger:call(uri).code)
      assert.matches("script.lua:14: req:try: the caller may not reach '" .. victim_uri,
        policy.failure(w.net).error, 1, true)
      nobody_heard()
      w.net:finish { errors = 1 }
    end)

    -- RFC 3261 16.5
    it("of a stranger may not be sent to its own Request-URI", function()
      open "return req:relay(req.ruri.text)"
      assert.equal(500, stranger:call(victim_uri).code)
      nobody_heard()
      w.net:finish { errors = 1 }
    end)

    it("of a stranger may not be forked there either", function()
      open(("return req:fork { a, '%s' }"):format(victim_uri))
      assert.equal(500, stranger:call(uri).code)
      nobody_heard()
      assert.same({}, w.a.received)
      w.net:finish { errors = 1 }
    end)

    it("of a trusted source may", function()
      open "return req:relay(req.ruri.text)"
      assert.equal("victim", friend:call(victim_uri).server)
    end)

    it("of anybody may be sent to a served domain", function()
      open "return req:relay(req.ruri.text)"
      assert.equal("served", stranger:call("sip:bob@192.0.2.50").server)
    end)

    it("of anybody may be sent to the address of a member", function()
      open "return req:relay(req.ruri.text)"
      assert.equal("b", stranger:call("sip:bob@10.0.0.2").server)
    end)

    it("is not trusted for what its headers say", function()
      open(("return req:try '%s'"):format(victim_uri))
      local bytes = wire.bytes(([[
        INVITE %s SIP/2.0
        Via: SIP/2.0/UDP 198.51.100.5:5060;branch=z9hG4bK1;received=198.51.100.5
        Max-Forwards: 9
        From: <sip:friend@198.51.100.5>;tag=1
        To: <sip:bob@example.com>
        Call-ID: lies
        CSeq: 1 INVITE
        Contact: <sip:friend@198.51.100.5>
        Content-Length: 0
      ]]):format(uri))
      stranger:send(bytes)
      w.net:run(40)
      nobody_heard()
      w.net:finish { errors = 1 }
    end)

    it("goes to no multicast, broadcast or zero address", function()
      open "return req:relay(req.ruri.text)"
      for _, host in ipairs { "224.0.1.75", "255.255.255.255", "0.0.0.0" } do
        local sent = #w.net:packets()
        local call = friend:call("sip:all@" .. host)
        assert.equal(500, call.code, host)
        for i = sent + 1, #w.net:packets() do
          assert.not_equal(host .. ":5060", w.net:packets()[i].to)
        end
      end
    end)

    it("does not come back to ourselves", function()
      open("return req:relay(req.ruri.text)")
      local call = friend:call "sip:loop@10.0.0.100"
      assert.equal(482, call.code)
      assert.equal(6, #w.net:packets(), w.net:ladder())
    end)
  end)

  describe("a To-tagged request with no Route of ours", function()
    it("whose Request-URI is a member goes there, not to the script", function()
      open()
      assert.equal("481", answer(stranger, "INFO", "sip:pbx@10.0.0.1", { to_tag = "1" }))
      assert.equal("INFO", wire.names(w.a.received)) -- the 481 was a's
      assert.same({}, w.said())
    end)

    it("whose Request-URI is a served domain goes there", function()
      open()
      assert.equal("481", answer(stranger, "INFO", "sip:x@192.0.2.50", { to_tag = "1" }))
      assert.equal("INFO", wire.names(served.received))
    end)

    it("to anywhere else is 481, also with *in_dialog", function()
      open(nil, { after = [[
        sip.route("*in_dialog", function(req) say "in_dialog" return req:reply(200) end)
      ]] })
      assert.equal("481", answer(stranger, "BYE", victim_uri, { to_tag = "1" }))
      assert.same({}, w.said())
      nobody_heard()
    end)

    it("that is an ACK is dropped and counted", function()
      open()
      assert.equal("", answer(stranger, "ACK", victim_uri, { to_tag = "1" }))
      nobody_heard()
      assert.equal(1, w.net:metric("tandem_dropped_total", { reason = "stray_ack" }))
    end)

    it("that is an ACK to a member passes", function()
      open()
      assert.equal("", answer(stranger, "ACK", "sip:pbx@10.0.0.1", { to_tag = "1" }))
      assert.equal("ACK", wire.names(w.a.received))
    end)

    it("from a trusted source goes where it says", function()
      open()
      assert.equal("481", answer(friend, "INFO", victim_uri, { to_tag = "1" }))
      assert.equal("INFO", wire.names(victim.received))
    end)

    it("from a member goes where it says: a phone that knows no Record-Route", function()
      open()
      assert.equal("481", answer(w.a, "INFO", victim_uri, { to_tag = "1" }))
      assert.equal("INFO", wire.names(victim.received))
    end)

    it("to ourselves is 481: we have no dialogs", function()
      open()
      assert.equal("481", answer(stranger, "BYE", "sip:10.0.0.100", { to_tag = "1" }))
      assert.same({}, w.said())
    end)
  end)

  describe("a To-tagged request with a Route", function()
    local forged = ("<sip:10.0.0.100;lr;t=1d%032x>"):format(5)

    local function bad_cookies()
      return w.net:metric "tandem_bad_cookies_total"
    end

    it("to elsewhere is 403", function()
      open()
      assert.equal("403", answer(stranger, "BYE", uri, { to_tag = "1", route = { theirs } }))
      nobody_heard()
    end)

    it("that is ours, without a cookie, and on to elsewhere is 403", function()
      open()
      assert.equal("403",
        answer(stranger, "BYE", uri, { to_tag = "1", route = { ours, theirs } }))
      nobody_heard()
    end)

    it("that is an ACK to elsewhere is dropped", function()
      open()
      assert.equal("", answer(stranger, "ACK", uri, { to_tag = "1", route = { ours, theirs } }))
      nobody_heard()
    end)

    it("to a member goes there", function()
      open()
      assert.equal("481", answer(stranger, "BYE", "sip:x@192.0.2.9", {
        to_tag = "1", route = { ours, "<sip:10.0.0.1;lr>" } }))
      assert.equal("BYE", wire.names(w.a.received))
    end)

    it("with a forged cookie and a member as next hop is routed, and counted", function()
      open()
      assert.equal("481", answer(stranger, "BYE", "sip:pbx@10.0.0.1", {
        to_tag = "1", route = { forged } }))
      assert.equal("BYE", wire.names(w.a.received))
      assert.equal(1, bad_cookies())
    end)

    it("with a forged cookie from a member is routed, and counted", function()
      open()
      assert.equal("481", answer(w.a, "BYE", "sip:x@192.0.2.7", {
        to_tag = "1", route = { forged } }))
      assert.equal("BYE", wire.names(w.alice.received))
      assert.equal(1, bad_cookies())
    end)

    it("with a forged cookie and nobody we know is 481, and counted", function()
      open()
      assert.equal("481", answer(stranger, "BYE", victim_uri, {
        to_tag = "1", route = { forged } }))
      nobody_heard()
      assert.equal(1, bad_cookies())
    end)

    it("with a forged cookie and a foreign Route below is 403, and counted", function()
      open()
      assert.equal("403", answer(stranger, "BYE", uri, {
        to_tag = "1", route = { forged, theirs } }))
      nobody_heard()
      assert.equal(1, bad_cookies())
    end)

    it("in the Request-URI, as strict routers put it, is looked at likewise", function()
      open()
      policy.send(stranger, "BYE", ("sip:10.0.0.100;lr;t=1d%032x"):format(5), {
        to_tag = "1", route = { "<" .. victim_uri .. ">" } })
      w.net:run(2)
      assert.equal("481", wire.names(stranger.received))
      nobody_heard()
      assert.equal(1, bad_cookies())
    end)

    it("with a good cookie follows the dialog's remote target, wherever it is", function()
      open()
      local call = w.a:call "sip:alice@192.0.2.7"
      w.net:run(0.1)
      w.alice.contact = "<sip:moved@203.0.113.9>"
      assert.equal(200, w.alice:reinvite(call):wait().code)
      w.a:in_dialog(call, "INFO")
      w.net:run(1)
      assert.equal("INFO", wire.names(victim:got "INFO"))
    end)
  end)

  it("what a stranger gets is no more than what he sent (reflection)", function()
    open()
    for _, opts in ipairs { { route = { theirs } }, { to_tag = "1" },
      { to_tag = "1", route = { ours, theirs } } } do
      local before = #w.net:packets()
      policy.send(stranger, "OPTIONS", victim_uri, opts)
      w.net:run(40)
      local list = w.net:packets()
      assert.equal(before + 2, #list) -- one in, one out
      assert.is_true(#list[before + 2].bytes <= 1.5 * #list[before + 1].bytes)
    end
  end)
end)
