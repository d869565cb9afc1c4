-- Semantics 11: 100 Trying is the commit point; and what else is said early
-- (checklist 19, RFC 4320).
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("100 Trying", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  -- When alice heard it; the proxy received her INVITE at 0.001.
  local function heard()
    return wire.times(alice:got(100))
  end

  local function settle(call)
    net:run(1)
    alice:cancel(call)
    net:run(1)
  end

  describe("committing (the default)", function()
    for _, code in ipairs { 100, 180 } do
      it("comes with the first provisional of a server, here " .. code, function()
        open { handler = wire.single }
        a:on("INVITE", function(_, reply)
          a:after(0.05, function() reply(code) end)
        end)
        local call = alice:invite(uri)
        net:run(0.1)
        assert.same({ 0.054 }, heard())
        settle(call)
      end)
    end

    it("comes 200 ms after the first attempt left when that says nothing", function()
      open { handler = "sip.sleep(1) " .. wire.single }
      a:silence()
      local call = alice:invite(uri)
      net:run(1.4)
      assert.same({ 1.002 }, wire.times(a:got "INVITE"))
      assert.same({ 1.202 }, heard())
      settle(call)
    end)

    it("is not put off by a second attempt", function()
      open { handler = [[
        req:try(a, { timeout = 0.1 })
        local res = req:try(b, { timeout = 5 })
        return res and res:forward() or req:reply(500) ]] }
      a:silence()
      b:silence()
      alice:invite(uri)
      net:run(1)
      assert.same({ 0.202 }, heard())
      net:run(10)
    end)

    it("comes with the provisional of the second attempt if that is earlier", function()
      open { handler = [[
        req:try(a, { timeout = 0.05 })
        local res = req:try(b, { timeout = 5 })
        return res and res:forward() ]] }
      a:silence()
      b:answer("INVITE", 100)
      b:on("INVITE", function(_, reply)
        reply(100)
        b:after(1, function() reply(200) end)
      end)
      local call = alice:call(uri)
      assert.same({ 0.054 }, heard())
      assert.equal("b", call.server)
    end)

    it("comes at 3.5 s when no attempt was made", function()
      open { handler = "sip.sleep(5) return req:reply(486)", t1 = 30 }
      alice:call(uri)
      assert.same({ 3.502 }, heard())
    end)

    -- RFC 3261 21.1.1
    it("lets the caller repeat herself until then: another node could take over", function()
      open { handler = "sip.sleep(5) return req:reply(486)" }
      local call = alice:call(uri)
      assert.ladder(call, [[
        0.000 alice INVITE -> proxy
        0.500 alice INVITE -> proxy
        1.500 alice INVITE -> proxy
        3.500 alice INVITE -> proxy
        3.501 proxy 100    -> alice
        3.501 proxy 100    -> alice  of 3.5 s, and the answer to her copy
        5.001 proxy 486    -> alice
        5.002 alice ACK    -> proxy
      ]])
    end)

    it("is not said when the final is there first", function()
      open { handler = wire.single }
      a:answer("INVITE", 486, nil, 0.15)
      local call = alice:call(uri)
      net:run(10)
      assert.equal("486", wire.names(call.responses))
    end)

    it("is said 200 ms after the attempt, also when that was refused with 503", function()
      open()
      a:answer("INVITE", 503)
      b:silence()
      alice:invite(uri)
      net:run(10)
      assert.same({ 0.202 }, heard())
    end)

    it("is not said at all when nothing was sent and the answer came in time", function()
      open { handler = "sip.sleep(3) return req:reply(404)" }
      alice:call(uri)
      net:run(5)
      assert.same({}, heard())
    end)

    it("scales with T1 where it waits for Timer E", function()
      open {
        handler = "sip.sleep(5) return req:reply(404)", t1 = 30,
        before = "sip.settings { timers = { t1 = 0.2 } }",
      }
      alice:call(uri)
      assert.same({ 1.402 }, heard())
    end)
  end)

  describe('with trying = "rfc"', function()
    local rfc = 'sip.settings { trying = "rfc" }'

    it("comes 200 ms after receipt, whatever the script does (17.2.1)", function()
      open { handler = "sip.sleep(5) return req:reply(486)", before = rfc }
      alice:call(uri)
      assert.same({ 0.202 }, heard())
    end)

    it("does not come with the first provisional", function()
      open { handler = wire.single, before = rfc }
      a:on("INVITE", function(_, reply)
        reply(100)
        a:after(1, function() reply(200) end)
      end)
      local call = alice:call(uri)
      assert.same({ 0.202 }, heard())
      assert.equal("100 200", wire.names(call.responses))
    end)

    it("is not said after a 180 or a final", function()
      open { handler = wire.single, before = rfc }
      a:ring(1)
      local call = alice:call(uri)
      assert.equal("180 200", wire.names(call.responses))
    end)
  end)

  describe("to other requests (RFC 4320 4.1)", function()
    for _, mode in ipairs { "commit", "rfc" } do
      it("comes when Timer E would reach T2, with trying = " .. mode, function()
        open {
          handler = "sip.sleep(6) return req:reply(404)", t1 = 30,
          before = ('sip.settings { trying = "%s" }'):format(mode),
        }
        alice:ask("MESSAGE", uri)
        assert.same({ 3.502 }, heard())
        assert.equal("100 404", wire.names(alice.received))
      end)
    end

    it("does not come with the 100 of a server", function()
      open { handler = wire.single }
      a:on("MESSAGE", function(_, reply)
        reply(100)
        a:after(3, function() reply(200) end)
      end)
      alice:ask("MESSAGE", uri)
      assert.same({}, heard())
    end)
  end)

  it("has the Via, From, To, Call-ID and CSeq of the request, and no To tag (8.2.6)", function()
    open { handler = wire.single }
    a:answer("INVITE", 486, nil, 1)
    local call = alice:call(uri)
    local trying, invite = alice:got(100)[1], sim.parse(call.tx.bytes)
    for _, name in ipairs { "From", "To", "Call-ID", "CSeq" } do
      assert.equal(invite:header(name), trying:header(name))
    end
    assert.is_nil(trying.to_tag)
    assert.equal(1, #trying:list "Via")
    assert.equal(invite.branch, trying.branch)
  end)

  it("of a server is never forwarded, only ours is heard, once (checklist 19)", function()
    open { handler = wire.single }
    a:on("INVITE", function(_, reply)
      for _ = 1, 3 do
        reply(100)
      end
      a:after(1, function() reply(200) end)
    end)
    local call = alice:call(uri)
    assert.equal("100 200", wire.names(call.responses))
    assert.is_nil(call.responses[1]:header "Contact")
  end)

  it("is followed by every 18x, unchanged, with the To tag it came with (checklist 19)", function()
    open { handler = [[
      for _, server in ipairs { a, b } do
        local res = req:try(server)
        if res and res.code ~= 503 then return res:forward() end
      end ]] }
    a:on("INVITE", function(_, reply)
      reply(183, { tag = "of-a", headers = { ["X-Early"] = "a" }, body = "media" })
      a:after(1, function() reply(503, { tag = "of-a" }) end)
    end)
    b:on("INVITE", function(_, reply)
      reply(180, { tag = "of-b" })
      b:after(1, function() reply(180, { tag = "of-b2" }) end)
      b:after(2, function() reply(200, { tag = "of-b" }) end)
    end)
    local call = alice:call(uri)
    assert.equal("100 183 180 180 200", wire.names(call.responses))
    local tags = {}
    for i = 2, 5 do
      tags[#tags + 1] = call.responses[i].to_tag
    end
    assert.same({ "of-a", "of-b", "of-b2", "of-b" }, tags)
    assert.equal("a", call.responses[2]:header "X-Early")
    assert.equal("media", call.responses[2].body)
  end)
end)
