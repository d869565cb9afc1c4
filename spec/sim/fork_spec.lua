-- Semantics 9: several at once, the best final, and one try at a time.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"
local trust = 'sip.settings { trust = { "192.0.2.0/24" } }'
local both = "return req:fork({ a, b }):forward()"

sim.for_workers("req:fork", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  -- Each server answers an INVITE with its code; alice calls.
  local function outcome(codes, handler)
    open(handler or "return req:fork({ a, b, c }, { timeout = 1 }):forward()", { servers = 3 })
    for name, code in pairs(codes) do
      if code == "silent" then
        w[name]:silence()
      else
        w[name]:answer("INVITE", code)
      end
    end
    return w.alice:call(uri)
  end

  describe("sends to all at once", function()
    it("with a branch each", function()
      open(both)
      w.alice:call(uri)
      assert.same({ 0.002 }, wire.times(w.a:got "INVITE"))
      assert.same({ 0.002 }, wire.times(w.b:got "INVITE"))
      assert.not_equal(w.a:got("INVITE")[1].branch, w.b:got("INVITE")[1].branch)
    end)

    it("servers and URIs", function()
      open("return req:fork({ a, 'sip:carol@10.0.0.3' }):forward()", { before = trust })
      w.alice:call(uri)
      assert.equal(uri, w.a:got("INVITE")[1].uri)
      assert.equal("sip:carol@10.0.0.3", w.c:got("INVITE")[1].uri)
    end)

    it("eight, but not nine", function()
      open([[
        local targets = {}
        for i = 1, 9 do targets[i] = "sip:carol@10.0.1." .. i end
        local ok, why = pcall(req.fork, req, targets)
        say(ok, why)
        targets[9] = nil
        local res, err = req:fork(targets, { timeout = 1 })
        return req:reply(480)
      ]], { before = trust })
      local call = w.alice:call(uri)
      assert.equal(480, call.code)
      assert.equal(8, #call.tried)
      assert.same({ "false script.lua:15: req:fork: at most 8 targets, got 9" }, w.said())
    end)

    it("not to nobody", function()
      open "return req:fork({})"
      assert.equal(500, w.alice:call(uri).code)
      assert.is_nil(policy.failure(w.net))
    end)
  end)

  describe("with a 2xx", function()
    it("returns it at once and cancels the others", function()
      open [[
        local res = req:fork { a, b }
        say(req:age(), res.code, res.server.name)
        return res:forward()
      ]]
      w.a:ring(2)
      w.b:ring(10)
      local call = w.alice:call(uri)
      w.net:run(1)
      assert.equal("a", call.server)
      assert.equal(2.004, call.elapsed)
      assert.same({ "2.002 200 a" }, w.said())
      assert.equal("INVITE CANCEL ACK", wire.names(w.b.received))
      assert.equal('SIP;cause=200;text="Call completed elsewhere"',
        w.b:got("CANCEL")[1]:header "Reason")
    end)

    it("does not wait for those who refuse or are silent", function()
      local call = outcome { a = 486, b = "silent", c = 200 }
      assert.equal("c", call.server)
      assert.equal(0.004, call.elapsed)
    end)

    it("both ring: the caller hears both, with their own tags", function()
      open(both)
      w.a:ring(3)
      w.b:ring(9)
      w.alice:call(uri)
      local rang = w.alice:got(180)
      assert.equal(2, #rang)
      assert.not_equal(rang[1].to_tag, rang[2].to_tag)
    end)
  end)

  describe("without one waits for all and has the best final (checklist 20):", function()
    it("the lowest class", function()
      assert.equal(404, outcome { a = 500, b = 404, c = 503 }.code)
      assert.equal(302, outcome({ a = 404, b = 302, c = 500 }).code)
    end)

    it("a 6xx before all", function()
      assert.equal(603, outcome { a = 302, b = 603, c = 404 }.code)
    end)

    it("within 4xx those the caller can do something about", function()
      assert.equal(407, outcome { a = 404, b = 486, c = 407 }.code)
      assert.equal(401, outcome { a = 404, b = 401, c = 415 }.code)
      assert.equal(484, outcome { a = 404, b = 484, c = 486 }.code)
      assert.equal(420, outcome { a = 480, b = 484, c = 420 }.code)
    end)

    it("another 5xx before a 503, and a 503 goes up as 500", function()
      assert.equal(504, outcome { a = 503, b = 504, c = 503 }.code)
      assert.equal(500, outcome { a = 503, b = 503, c = "silent" }.code)
    end)

    it("when the last has ended, not before", function()
      open(both)
      w.a:answer("INVITE", 486)
      w.b:answer("INVITE", 404, nil, 3)
      local call = w.alice:call(uri)
      assert.equal(404, call.code)
      assert.equal(3.004, call.elapsed)
    end)

    it("a real answer before a local failure", function()
      local call = outcome { a = "silent", b = 503, c = "silent" }
      assert.equal(500, call.code)
      assert.equal("b", call.server)
      assert.equal(1.002, call.elapsed)
    end)

    it("a real answer before a local 408", function()
      open "return req:fork({ a, b }, { ring_timeout = 10 }):forward()"
      w.a:ring()
      w.b:answer("INVITE", 500)
      local call = w.alice:call(uri)
      w.net:run(1)
      assert.equal("b", call.server)
      assert.equal(500, call.code)
      assert.equal(10.004, call.elapsed)
    end)

    it("the local 408 when there is nothing else", function()
      open [[
        local res = req:fork({ a, b }, { ring_timeout = 10, timeout = 2 })
        say(res.code, res.is_local)
        return res:forward()
      ]]
      w.a:ring()
      w.b:silence()
      local call = w.alice:call(uri)
      w.net:run(1)
      assert.equal(408, call.code)
      assert.same({ "408 true" }, w.said())
    end)

    it("nil and why when nobody answered", function()
      open [[
        local res, err, detail = req:fork({ a, b }, { timeout = 1 })
        say(res, err, detail.cause)
        return req:reply(480)
      ]]
      w.a:silence()
      w.b:silence()
      assert.equal(480, w.alice:call(uri).code)
      assert.same({ "nil timeout silent" }, w.said())
    end)

    it("the challenges of all, when it is one", function()
      open(both)
      w.a:answer("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="a", nonce="1"' })
      w.b:answer("INVITE", 401, { ["WWW-Authenticate"] = 'Digest realm="b", nonce="2"' })
      local call = w.alice:call(uri)
      assert.equal(401, call.code)
      assert.same({ 'Digest realm="b", nonce="2"' }, call.response:all "WWW-Authenticate")
      assert.same({ 'Digest realm="a", nonce="1"' }, call.response:all "Proxy-Authenticate")
    end)
  end)

  it("with a 6xx cancels the others and waits for their finals (checklist 22)", function()
    open [[
      local res = req:fork { a, b }
      say(req:age(), res.code)
      return res:forward()
    ]]
    w.a:answer("INVITE", 603, nil, 1)
    w.b:on("INVITE", function(_, reply) reply(180) end)
    local call = w.alice:call(uri)
    w.net:run(1)
    assert.equal(603, call.code)
    assert.same({ "1.004 603" }, w.said()) -- a round trip later: the 487 of b
    assert.equal("INVITE CANCEL ACK", wire.names(w.b.received))
  end)

  it("with a 6xx still takes a 2xx that crosses the CANCEL", function()
    open(both)
    w.a:answer("INVITE", 603, nil, 1)
    w.b:on("INVITE", function(_, reply)
      reply(180)
      w.b:after(1.001, function() reply(200) end)
    end)
    w.b:on("CANCEL", function(_, reply) reply(481) end)
    local call = w.alice:call(uri)
    w.net:run(1)
    assert.equal("b", call.server)
    assert.equal(200, call.code)
  end)

  it("works for other requests: the first 2xx, once", function()
    open(both)
    w.a:answer("REGISTER", 200, nil, 0.3)
    w.b:answer("REGISTER", 200, nil, 0.2)
    local register = w.alice:ask("REGISTER", "sip:example.com")
    w.net:run(10)
    assert.equal("b", register.server)
    assert.equal(1, #w.alice:got(200))
  end)

  it("ends with the caller's CANCEL: both are cancelled, 487", function()
    open [[
      local res, err = req:fork { a, b }
      say(res, err)
    ]]
    w.a:ring()
    w.b:ring()
    local call = w.alice:invite(uri)
    w.net:run(1)
    w.alice:cancel(call)
    w.net:run(1)
    assert.equal(487, call.code)
    assert.same({ "nil cancelled" }, w.said())
    assert.equal("INVITE CANCEL ACK", wire.names(w.a.received))
    assert.equal("INVITE CANCEL ACK", wire.names(w.b.received))
  end)

  describe("one try at a time per request:", function()
    it("a second one raises while the first is open, also from sip.spawn", function()
      open [[
        sip.spawn(function()
          local ok, why = pcall(req.try, req, b)
          say(ok, why)
        end)
        return req:try(a):forward()
      ]]
      w.a:answer("INVITE", 486, nil, 1)
      local call = w.alice:call(uri)
      assert.equal(486, call.code)
      assert.same({ "a" }, call.tried)
      assert.matches("^false .*a try of this request is still open", w.said()[1])
    end)

    it("a spawned one counts", function()
      open [[
        local task = sip.spawn(function() return req:try(b, { timeout = 3 }).code end)
        sip.sleep(0.5)
        say(pcall(req.fork, req, { a }))
        say(task:wait())
        return req:try(a):forward()
      ]]
      w.b:answer("INVITE", 486, nil, 1)
      local call = w.alice:call(uri)
      assert.same({ "b", "a" }, call.tried)
      assert.matches("^false .*a try of this request is still open", w.said()[1])
      assert.equal("486", w.said()[2])
      assert.equal(200, call.code)
    end)

    it("and no verb beside it", function()
      open [[
        sip.spawn(function() say(pcall(req.reply, req, 500)) end)
        return req:try(a):forward()
      ]]
      w.a:answer("INVITE", 486, nil, 1)
      assert.equal(486, w.alice:call(uri).code)
      assert.matches("^false .*a try of this request is still open", w.said()[1])
    end)
  end)
end)

sim.for_workers("pool:each", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler, more.servers = workers, handler, 3
    w = policy.world(more)
  end

  local walk = [[
    for server in pbx:each(req) do
      say(server.name)
      req:try(server, { timeout = 1 })
    end
    return req:reply(480)
  ]]

  local function silence()
    for _, name in ipairs { "a", "b", "c" } do
      w[name]:silence()
    end
  end

  it("looks again before every step: who went down meanwhile is skipped", function()
    open(walk, { after = [[
      sip.after(0.5, function() b:mark_down() end)
    ]] })
    silence()
    w.alice:call(uri)
    assert.same({ "a", "c" }, w.said())
  end)

  it("and who came back meanwhile is not", function()
    open(walk, { after = [[
      sip.on("start", function() b:mark_down() end)
      sip.after(0.5, function() b:mark_up() end)
    ]] })
    silence()
    w.alice:call(uri)
    assert.same({ "a", "b", "c" }, w.said())
  end)

  it("never yields a server twice, not even one that comes back better", function()
    open(walk, { after = [[
      sip.after(0.5, function() a:mark_down() end)
      sip.after(1.5, function() a:mark_up() end)
    ]] })
    silence()
    w.alice:call(uri)
    assert.same({ "a", "b", "c" }, w.said())
  end)

  it("begins anew in every loop", function()
    open [[
      for server in pbx:each(req) do say(server.name) break end
      for server in pbx:each(req) do say(server.name) end
      return req:reply(480)
    ]]
    w.alice:call(uri)
    assert.same({ "a", "a", "b", "c" }, w.said())
  end)
end)
