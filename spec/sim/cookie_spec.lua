-- Semantics 15: the Record-Route cookie.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("the Record-Route cookie", function(workers)
  after_each(sim.finish)

  local w

  local function open(more)
    more = more or {}
    more.workers = workers
    w = policy.world(more)
  end

  local function bad_cookies()
    return w.net:metric "tandem_bad_cookies_total"
  end

  local function cookie_of(message)
    return message:header("Record-Route"):match "^<sip:10.0.0.100:5060;lr;t=(%w+)>$"
  end

  -- The route set of alice's dialog with another cookie.
  local function route_with(cookie)
    return { ("<sip:10.0.0.100:5060;lr;t=%s>"):format(cookie) }
  end

  describe("says", function()
    it("version, side, server and MAC: the server was called", function()
      open()
      w.alice:call(uri)
      assert.matches("^1d%x+$", cookie_of(w.a:got("INVITE")[1]))
      assert.equal(34, #cookie_of(w.a:got("INVITE")[1]))
    end)

    it("that the server called, when it did", function()
      open()
      w.a:call "sip:alice@192.0.2.7"
      assert.matches("^1u%x+$", cookie_of(w.alice:got("INVITE")[1]))
    end)

    it("which server it is: the same in both directions, another for another", function()
      open()
      w.alice:call(uri)
      w.a:call "sip:alice@192.0.2.7"
      w.b:call "sip:alice@192.0.2.7"
      local called = cookie_of(w.a:got("INVITE")[1]):sub(3, 18)
      local invites = w.alice:got "INVITE"
      assert.equal(called, cookie_of(invites[1]):sub(3, 18))
      assert.not_equal(called, cookie_of(invites[2]):sub(3, 18))
    end)

    it("nothing that another call could use: the MAC is of Call-ID and From tag", function()
      open()
      w.alice:call(uri, { call_id = "one", from_tag = "1" })
      w.alice:call(uri, { call_id = "one", from_tag = "2" })
      w.alice:call(uri, { call_id = "two", from_tag = "1" })
      local macs, seen = w.a:got "INVITE", {}
      for _, invite in ipairs(macs) do
        local mac = cookie_of(invite):sub(19)
        assert.is_nil(seen[mac])
        seen[mac] = true
      end
    end)

    it("what it says with the same key on another node", function()
      open { key = "0123456789abcdef" }
      local second = w.net:node { addr = "10.0.0.200", key = "0123456789abcdef" }
      local third = w.net:node { addr = "10.0.0.201", key = "another key 1234" }
      local cookies = {}
      for i, proxy in ipairs { w.net.proxy, second.addr, third.addr } do
        w.alice:call(uri, { call_id = "one", from_tag = "1", proxy = proxy })
        cookies[i] = w.a:got("INVITE")[i]:header("Record-Route"):match "t=(%w+)"
      end
      assert.equal(cookies[1], cookies[2])
      assert.not_equal(cookies[1], cookies[3])
      assert.equal(cookies[1]:sub(1, 18), cookies[3]:sub(1, 18))
    end)
  end)

  describe("is written into", function()
    local function recorded(method)
      w.alice:ask(method, uri)
      return w.a:got(method)[1]:header "Record-Route" ~= nil
    end

    -- RFC 6665, RFC 3515
    it("what makes dialogs, and into nothing else", function()
      open()
      assert.is_true(recorded "SUBSCRIBE")
      assert.is_true(recorded "REFER")
      assert.is_true(recorded "INVITE")
      assert.is_false(recorded "REGISTER")
      assert.is_false(recorded "MESSAGE")
      assert.is_false(recorded "OPTIONS")
    end)

    it("nothing within a dialog", function()
      open()
      local call = w.alice:call(uri)
      w.alice:reinvite(call):wait()
      assert.equal(2, #w.a:got "INVITE")
      assert.is_nil(w.a:got("INVITE")[2]:header "Record-Route")
    end)

    it("nothing with record_route = false: the phone then talks to the server", function()
      open { pool = "record_route = false" }
      local call = w.alice:call(uri)
      assert.is_nil(w.a:got("INVITE")[1]:header "Record-Route")
      w.net:run(0.1)
      assert.equal("192.0.2.7:5060", w.a:got("ACK")[1].source)
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.equal("192.0.2.7:5060", w.a:got("BYE")[1].source)
    end)
  end)

  describe("keeps a dialog at its server (affinity)", function()
    it("after the primary came back", function()
      open { handler = wire.failover }
      w.a:silence()
      local call = w.alice:call(uri)
      assert.equal("b", call.server)
      w.a:resume()
      assert.equal(200, w.alice:reinvite(call):wait().code)
      assert.equal(200, w.b:in_dialog(call, "INFO"):wait().code)
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.equal("INVITE ACK INVITE ACK BYE", wire.names(w.b.received):gsub(" 200", ""))
      assert.equal(0, #w.a:got "BYE")
      assert.equal(0, bad_cookies())
    end)

    it("when it is in maintenance meanwhile", function()
      open { handler = "return req:relay(b)", after = [[
        sip.after(1, function() b:maint() end)
      ]] }
      local call = w.alice:call(uri)
      w.net:run(2)
      assert.equal("maint", w.net.pools.pbx.b.status)
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.equal(1, #w.b:got "BYE")
    end)

    it("at the address of its Contact: the next hop is the route's, not the cookie's", function()
      open()
      local other = w.net:uas("10.0.0.1:5070", "other")
      w.a:share_dialogs(other)
      w.a:answer("INVITE", 200, { Contact = "<sip:pbx@10.0.0.1:5070>" })
      local call = w.alice:call(uri)
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.same({}, w.a:got "BYE")
      assert.equal("sip:pbx@10.0.0.1:5070", other:got("BYE")[1].uri)
    end)
  end)

  describe("gives the direction:", function()
    it("requests of either side are accepted, whoever called", function()
      open()
      for _, pair in ipairs { { w.alice, w.a, uri }, { w.a, w.alice, "sip:alice@192.0.2.7" } } do
        local call = pair[1]:call(pair[3])
        w.net:run(0.1)
        assert.equal(200, pair[2]:in_dialog(call, "INFO"):wait().code)
        assert.equal(200, pair[1]:bye(call):wait().code)
      end
      assert.equal(0, bad_cookies())
    end)

    it("with From and To exchanged by a third party it is nobody's", function()
      open()
      local call = w.alice:call(uri, { call_id = "one", from_tag = "1" })
      local cookie = cookie_of(w.a:got("INVITE")[1])
      w.net:run(0.1)
      local thief = w.net:uac("203.0.113.66", "thief")
      policy.send(thief, "BYE", "sip:victim@203.0.113.9", {
        route = route_with(cookie), call_id = "one", from_tag = "9", to_tag = "8",
      })
      w.net:run(1)
      assert.equal("481", wire.names(thief.received))
      assert.equal(1, bad_cookies())
      assert.equal("up", call.state)
    end)
  end)

  describe("that is forged", function()
    -- A BYE of alice's in her dialog, with another cookie; where it went.
    local function bye_with(cookie)
      local call = w.alice:call(uri)
      w.net:run(0.1)
      local asked = w.alice:in_dialog(call, "BYE", { route = route_with(cookie(call)) })
      w.net:run(1)
      return asked
    end

    local function real(call)
      return call.response:header("Record-Route"):match "t=(%w+)"
    end

    it("in any part is counted, and routed like none: to a member", function()
      for at = 1, 34 do
        open()
        local asked = bye_with(function(call)
          local cookie = real(call)
          local was = cookie:sub(at, at)
          local other = was == "0" and "1" or "0"
          if at == 2 then
            other = "u"
          end
          return cookie:sub(1, at - 1) .. other .. cookie:sub(at + 1)
        end)
        assert.equal(200, asked.code)
        assert.is_true(bad_cookies() >= 1, "position " .. at)
        w.net:finish()
      end
    end)

    it("and leads elsewhere gets 481: no open relay", function()
      open()
      local call = w.alice:call(uri)
      w.net:run(0.1)
      local victim = w.net:uas("203.0.113.9", "victim")
      local asked = w.alice:in_dialog(call, "BYE", {
        route = route_with(("1d%032x"):format(7)), uri = "sip:victim@203.0.113.9",
      })
      w.net:run(1)
      assert.equal(481, asked.code)
      assert.same({}, victim.received)
      assert.equal(1, bad_cookies())
    end)

    it("or short, long or empty is no cookie", function()
      open()
      for _, cookie in ipairs { "", "1", "1d" .. ("0"):rep(31), "1d" .. ("0"):rep(33), "zzz" } do
        local call = w.alice:call(uri)
        w.net:run(0.1)
        local asked = w.alice:in_dialog(call, "BYE", {
          route = route_with(cookie), uri = "sip:x@203.0.113.9",
        })
        w.net:run(1)
        assert.equal(481, asked.code, cookie)
      end
      assert.equal(5, bad_cookies())
    end)
  end)

  it("of a server that is gone from the script is valid: plain routing", function()
    open()
    local call = w.alice:call(uri)
    w.net:run(0.1)
    assert(w.net:reload { source = policy.script { servers = 1 }
      :gsub("10%.0%.0%.1", "10.0.0.3"):gsub('name = "a"', 'name = "c"') })
    assert.equal(200, w.alice:reinvite(call):wait().code)
    assert.equal(200, w.a:in_dialog(call, "INFO"):wait().code)
    assert.equal(200, w.alice:bye(call):wait().code)
    assert.equal(0, bad_cookies())
  end)

  it("is verified by any node with the key: each can carry the dialogs of the other", function()
    open { key = "0123456789abcdef" }
    local second = w.net:node { addr = "10.0.0.200", key = "0123456789abcdef" }
    local call = w.alice:call(uri)
    w.net:run(0.1)
    w.net.nodes[1]:power_off()
    second:take "10.0.0.100"
    assert.equal(200, w.a:in_dialog(call, "INFO"):wait().code)
    assert.equal(200, w.alice:reinvite(call):wait().code)
    assert.equal(200, w.alice:bye(call):wait().code)
    assert.equal(0, second:metric "tandem_bad_cookies_total")
  end)
end)
