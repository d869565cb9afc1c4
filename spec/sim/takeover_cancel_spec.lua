-- Semantics 20: the caller cancels by way of a node that has never seen his INVITE. It
-- goes to each server that may have it, under the branch that the INVITE has there.
local sim = require "support.sim"
local takeover = require "support.takeover"
local wire = require "support.wire"
local ipairs = ipairs

local uri = takeover.uri

sim.for_workers("a CANCEL after the death of a node", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    w = takeover.open(opts)
    for _, server in ipairs { w.a, w.b } do
      server:ring(30)
    end
  end

  -- Alice's call rings at a server, and its node dies.
  local function ringing(opts)
    local call = w.alice:invite(uri, opts)
    w.net:run(1)
    assert.equal(180, call.provisionals[#call.provisionals])
    w:die()
    return call, w.a:got("INVITE")[1] or w.b:got("INVITE")[1]
  end

  -- What she hears, and that nobody is left who rings.
  local function assert_cancelled(call)
    call:wait(5)
    w.net:run(0.5)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
    assert(call.elapsed < 2, call.elapsed)
    assert.equal(1, w:transactions "INVITE")
    assert.equal(0, w.a.unacked + w.b.unacked)
    assert.equal(1, #w.alice:got(487))
  end

  for _, policy in ipairs { "failover.lua", "relay", "weighted", "hash" } do
    it("reaches the server under the branch of its INVITE: " .. policy, function()
      open { policy = policy }
      local call, invite = ringing()
      w.alice:cancel(call)
      assert_cancelled(call)
      local server = #w.a:got "INVITE" > 0 and w.a or w.b
      local cancels = server:got "CANCEL"
      assert.equal(1, #cancels)
      local cancel = cancels[1]
      assert.equal(invite.branch, cancel.branch)
      assert.equal(invite.uri, cancel.uri)
      assert.equal(invite:header "From", cancel:header "From")
      assert.equal(invite:header "To", cancel:header "To")
      assert.equal(invite.cseq .. " CANCEL", cancel:header "CSeq")
      assert.equal(1, #cancel:list "Via")
      assert.equal(invite:list("Via")[1], cancel:list("Via")[1])
      assert.equal(w.vip .. ":5060", cancel.source)
    end)
  end

  it("over IPv6", function()
    open { v6 = true }
    local call = ringing()
    w.alice:cancel(call)
    assert_cancelled(call)
  end)

  it("to a server of TCP, which has noticed that its connection is gone", function()
    open { to = "tcp" }
    local call = ringing()
    w.a:reset()
    w.alice:cancel(call)
    assert_cancelled(call)
  end)

  it("finds the backup, and the primary's silence does not matter", function()
    open()
    w.a:silence()
    local call = w.alice:invite(uri)
    w.net:run(3)
    assert.same({ "a", "b" }, call.tried)
    w:die()
    w.alice:cancel(call)
    call:wait(5)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
    assert.equal(1, #wire.branches(w.b:got "CANCEL"))
    assert.equal(w.b:got("INVITE")[1].branch, w.b:got("CANCEL")[1].branch)
  end)

  it("the 481s of the others are absorbed", function()
    open()
    local call = ringing()
    w.alice:cancel(call)
    assert_cancelled(call)
    -- b was asked too, and said that it knows nothing.
    assert.equal(1, #w.b:got "CANCEL")
    assert.same({}, w.alice:got(481))
  end)

  it("has the caller's R-URI, whatever the server was given: it matches the branch", function()
    open { policy = "relay", server = 'rewrite = "host"' }
    local call, invite = ringing()
    assert.equal("sip:bob@10.0.0.1", invite.uri)
    w.alice:cancel(call)
    assert_cancelled(call)
    assert.equal(uri, w.a:got("CANCEL")[1].uri)
    assert.equal(invite.branch, w.a:got("CANCEL")[1].branch)
  end)

  it("of a call that was challenged: only its INVITE has credentials", function()
    open()
    w.a:once("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' })
    local first = w.alice:call(uri)
    assert.equal(407, first.code)
    local call = w.alice:invite(uri, { again = first, headers = {
      ["Proxy-Authorization"] = "Digest whatever", ["Proxy-Require"] = {},
    } })
    w.net:run(1)
    w:die()
    w.alice:cancel(call)
    call:wait(5)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
    assert.equal(w.a:got("INVITE")[2].branch, w.a:got("CANCEL")[1].branch)
  end)

  for _, who in ipairs { "caller", "server" } do
    it("of a re-INVITE of the " .. who .. ": to whom it went, and nobody else", function()
      open()
      w.a:on("INVITE", nil)
      local call = w.alice:call(uri)
      w.net:run(0.1)
      local asks, hears = w.alice, w.a
      if who == "server" then
        asks, hears = w.a, w.alice
      end
      hears:on("INVITE", function(_, reply) reply(180) end)
      local again = asks:reinvite(call)
      w.net:run(1)
      w:die()
      asks:cancel(again)
      again:wait(5)
      assert.equal(487, again.code)
      assert.equal(200, again.cancel.code)
      assert.equal(1, #hears:got "CANCEL")
      local invites = hears:got "INVITE"
      assert.equal(invites[#invites].branch, hears:got("CANCEL")[1].branch)
      assert.same({}, w.b.received)
      w.net:run(1)
      assert.equal(200, w.alice:bye(call):wait().code)
    end)
  end

  it("of a call that a server makes to a phone", function()
    open { policy = "relay" }
    w.alice:ring(30)
    local call = w.a:invite "sip:alice@192.0.2.7"
    w.net:run(1)
    w:die()
    w.a:cancel(call)
    call:wait(5)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
    assert.equal(w.alice:got("INVITE")[1].branch, w.alice:got("CANCEL")[1].branch)
    assert.same({}, w.b.received)
  end)

  it("is repeated as one, and answered once", function()
    open()
    w.net:link(w.alice, w.two, { loss = 0.6 })
    local call = ringing()
    w.alice:cancel(call)
    call:wait(30)
    assert.equal(487, call.code)
    call.cancel:wait(30)
    assert.equal(200, call.cancel.code)
    assert(#w.alice:got(200) == 1)
    assert.equal(1, #w.a:got "CANCEL")
    assert.equal(1, #w.b:got "CANCEL")
  end)

  it("gets 481 when nobody knows the call", function()
    open()
    local call = w.alice:invite(uri)
    w.net:run(1)
    w:die()
    w.a:crash()
    w.a:resume() -- has forgotten it
    w.alice:cancel(call)
    w.net:run(5)
    assert.equal(481, call.cancel.code)
    assert.equal(1, #wire.branches(w.a:got "CANCEL"))
    w.net:run(60)
  end)

  it("gets 481 from a node whose servers are all silent, before its caller gives up", function()
    open()
    local call = ringing()
    w.a:silence()
    w.b:silence()
    w.alice:cancel(call)
    w.net:run(60)
    -- 408 to a CANCEL would be one to a non-INVITE (RFC 4320).
    assert.equal(481, call.cancel.code)
    assert.near(8, call.cancel.elapsed, 0.1) -- 16 T1
  end)

  -- Each goes to all servers, whoever it comes from.
  it("does not lead a flood of them to the servers", function()
    open()
    local call = ringing()
    local text = ("CANCEL %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%%d;rport\r\n"
      .. "Max-Forwards: 70\r\nFrom: <sip:x@y>;tag=1\r\nTo: <%s>\r\nCall-ID: %%d\r\n"
      .. "CSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"):format(uri, w.carol.addr, uri)
    local n = 4000 * workers
    for i = 1, n do
      w.carol:send(text:format(i, i), w.vip)
    end
    w.net:run(0.3)
    -- 4000 at once, and 1000 a second, of each worker; half of them by TCP, in case.
    local went = #wire.branches(w.a:got "CANCEL")
    assert(went >= 1000 * workers and went <= 1100 * workers, went)
    assert.equal(went, #wire.branches(w.b:got "CANCEL"))
    assert.equal(n - went, w:dropped "takeover_cancel_limit")
    assert.equal(n, #w.carol:got(481) + w:dropped "error_reply_limit")
    w.net:run(2)
    w.alice:cancel(call)
    call:wait(5)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
    w.net:run(40)
  end)

  it("that came before the INVITE starts nothing", function()
    open()
    w:die()
    local stray = w.carol:invite(uri, { branch = "z9hG4bKstray" })
    w.net:run(1)
    stray.tx.branch = "z9hG4bKother"
    w.carol:send(("CANCEL %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKnone;rport\r\n"
      .. "Max-Forwards: 70\r\nFrom: <sip:x@y>;tag=1\r\nTo: <%s>\r\nCall-ID: nobody\r\n"
      .. "CSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"):format(uri, w.carol.addr, uri), w.vip)
    w.net:run(1)
    assert.equal(481, w.carol:got(481)[1].code)
    assert.equal("ringing", stray.state)
    stray.tx.branch = "z9hG4bKstray"
    w.carol:cancel(stray)
    stray:wait(5)
    assert.equal(487, stray.code)
  end)

  it("and a 2xx that crosses it: the caller is in a call, and hangs up", function()
    open()
    local call = ringing()
    w.a:on("CANCEL", function(_, reply) reply(481) end)
    w.a:after(0.2, function() w.a:on("INVITE", nil) end)
    w.alice:cancel(call)
    call:wait(40) -- a answers after all
    assert.equal(200, call.code)
    w.net:run(1)
    assert.equal(1, #w.a:got "BYE")
    assert.equal(0, w.a.unacked)
  end)

  it("by way of the node that has the INVITE by now, is its own matter", function()
    open()
    w.a:silence()
    local call = w.alice:invite(uri)
    w.net:run(0.1)
    w:die()
    w.a:resume()
    w.net:run(1) -- alice has sent it again: the second node has it, under the same branch
    assert.equal(1, #wire.branches(w.a:got "INVITE"))
    w.alice:cancel(call)
    assert_cancelled(call)
    assert.equal(1, #w.a:got "CANCEL")
    assert.same({}, w.b:got "CANCEL")
  end)
end)
