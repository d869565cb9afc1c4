-- Semantics 10 and checklist 23: a 3xx is an ordinary response, and may be followed.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

local follow = [[
  local res, err = req:try(a)
  while res and res.code // 100 == 3 do
    res, err = req:fork(res.contacts)
    say(res and res.code, err)
  end
  if res then return res:forward() end
  return req:reply(500)
]]

sim.for_workers("a 3xx", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    more.before = more.before or 'sip.settings { trust = { "192.0.2.0/24" } }'
    w = policy.world(more)
  end

  local function redirect(server, contact)
    server:answer("INVITE", 302, { Contact = contact })
  end

  it("can be forwarded like any other final", function()
    open "return req:relay(pbx)"
    redirect(w.a, "<sip:bob@10.0.0.3>")
    local call = w.alice:call(uri)
    assert.equal(302, call.code)
    assert.equal("<sip:bob@10.0.0.3>", call.headers.Contact)
    assert.same({}, w.c.received)
  end)

  -- RFC 3261 19.1.1: what a Contact has as headers is for a client to put into its request.
  it("has contacts whose headers do not go into the Request-URI", function()
    open(follow)
    redirect(w.a, "<sip:bob@10.0.0.3;x=1?Route=%3Csip:203.0.113.9%3E&Subject=y>")
    local call = w.alice:call(uri)
    assert.equal(200, call.code)
    assert.equal("sip:bob@10.0.0.3;x=1", w.c:got("INVITE")[1].uri)
    assert.same({}, w.c:got("INVITE")[1]:all "Route")
    assert.is_nil(w.c:got("INVITE")[1]:header "Subject")
  end)

  it("tells its contacts: uri, q and parameters", function()
    open [[
      local res = req:try(a)
      for i, contact in ipairs(res.contacts) do
        say(i, contact.uri, contact.q, contact.params.expires, contact.params.x)
      end
      return res:forward()
    ]]
    redirect(w.a, '"Bob, home" <sip:bob@10.0.0.3;transport=udp>;q=0.7;expires=60,'
      .. " sip:bob@10.0.0.2;x=1 , <tel:+4930123>")
    w.alice:call(uri)
    assert.same({
      "1 sip:bob@10.0.0.3;transport=udp 0.7 60 nil",
      "2 sip:bob@10.0.0.2 nil nil 1",
      "3 tel:+4930123 nil nil nil",
    }, w.said())
  end)

  -- RFC 3261 8.1.3.4, 16.7 step 4
  it("is followed by req:fork(res.contacts), with the Contact as Request-URI", function()
    open(follow)
    redirect(w.a, "<sip:bob@10.0.0.3;x=1>")
    local call = w.alice:call(uri)
    assert.equal("c", call.server)
    assert.equal("sip:bob@10.0.0.3;x=1", w.c:got("INVITE")[1].uri)
    assert.same({ "a", "c" }, call.tried)
  end)

  -- RFC 3261 19.1.1, 19.1.5: a Request-URI has neither headers nor a method.
  it("is followed without what a Request-URI may not have", function()
    open(follow)
    redirect(w.a, "<sip:bob@10.0.0.3;x=1;method=BYE?Subject=hi&Route=%3Csip:evil%3E>")
    local call = w.alice:call(uri)
    assert.equal("c", call.server)
    local invite = w.c:got("INVITE")[1]
    assert.equal("sip:bob@10.0.0.3;x=1", invite.uri)
    assert.is_nil(invite:header "Subject")
    assert.is_nil(invite:header "Route")
  end)

  it("with several contacts is followed to all of them", function()
    open(follow)
    redirect(w.a, "<sip:bob@10.0.0.2>, <sip:bob@10.0.0.3>")
    w.b:answer("INVITE", 486)
    w.c:answer("INVITE", 200, nil, 1)
    local call = w.alice:call(uri)
    assert.equal("c", call.server)
    assert.same({ "a", "b", "c" }, call.tried)
  end)

  it("is followed three deep; then nil, 'depth'", function()
    open(follow)
    redirect(w.a, "<sip:one@10.0.0.2>")
    redirect(w.b, "<sip:two@10.0.0.2>")
    local call = w.alice:call(uri)
    assert.equal(500, call.code)
    assert.same({ "302 nil", "302 nil", "302 nil", "nil depth" }, w.said())
    assert.same({ "a", "b", "b", "b" }, call.tried)
  end)

  it("in a circle ends likewise", function()
    open(follow)
    redirect(w.a, "<sip:bob@10.0.0.2>")
    redirect(w.b, "<sip:bob@10.0.0.1>")
    local call = w.alice:call(uri)
    assert.equal(500, call.code)
    assert.same({ "a", "b", "a", "b" }, call.tried)
  end)

  it("is counted for each request on its own", function()
    open(follow)
    redirect(w.a, "<sip:one@10.0.0.2>")
    for _ = 1, 4 do
      assert.equal("b", w.alice:call(uri).server)
    end
  end)

  it("leads nowhere this caller may not go (semantics 17)", function()
    open(follow, { before = "" })
    redirect(w.a, "<sip:bob@203.0.113.9>")
    local call = w.alice:call(uri)
    assert.equal(500, call.code)
    assert.same({ "nil forbidden" }, w.said())
    assert.same({ "a" }, call.tried)
  end)

  it("leads to those of its contacts where the caller may go", function()
    open(follow, { before = "" })
    redirect(w.a, "<sip:bob@203.0.113.9>, <sip:bob@10.0.0.2>")
    local call = w.alice:call(uri)
    assert.equal("b", call.server)
    assert.same({ "a", "b" }, call.tried)
  end)

  -- What a server says is no mistake of the script.
  it("with more contacts than fit is followed to the best eight", function()
    open(follow)
    local list = {}
    for i = 1, 10 do
      list[i] = ("<sip:bob@10.0.1.%d>;q=%s"):format(i, i == 3 and "0" or i == 5 and "0.1" or "1")
      w.net:uas("10.0.1." .. i):answer("INVITE", 404)
    end
    redirect(w.a, table.concat(list, ", "))
    local call = w.alice:call(uri)
    assert.equal(404, call.code)
    local tried = {}
    for _, packet in ipairs(w.net:packets()) do
      local to = packet.bytes:match "^INVITE" and packet.to:match "^10%.0%.1%.(%d+)"
      tried[#tried + 1] = to
    end
    table.sort(tried, function(x, y) return tonumber(x) < tonumber(y) end)
    assert.same({ "1", "2", "4", "6", "7", "8", "9", "10" }, tried)
    assert.is_nil(policy.failure(w.net))
  end)

  it("without a contact leaves nothing to follow: nil, 'empty'", function()
    open(follow)
    w.a:answer("INVITE", 302)
    assert.equal(500, w.alice:call(uri).code)
    assert.same({ "nil empty" }, w.said())
    assert.is_nil(policy.failure(w.net))
  end)
end)
