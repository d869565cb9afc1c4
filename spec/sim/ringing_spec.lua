-- Semantics 6: what happens once a phone rings, and what on_response may do.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

-- a, then b, and what came of each.
local loop = [[
  for server in pbx:each(req) do
    local res, err = req:try(server, { timeout = 2, progress_timeout = 3 })
    say(server.name, res and res.code or err)
    if res and res.code ~= 503 then return res:forward() end
  end
  return req:reply(500)
]]

local function rings_then(server, seconds, code)
  server:on("INVITE", function(_, reply)
    reply(180)
    server:after(seconds, function() reply(code) end)
  end)
end

sim.for_workers("after 101-199", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler or loop
    w = policy.world(more)
  end

  it("silence moves nothing: the call stays where it rings (checklist 16)", function()
    open()
    rings_then(w.a, 60, 200)
    local call = w.alice:call(uri)
    assert.equal("a", call.server)
    assert.equal(60.004, call.elapsed)
    assert.same({ "a" }, call.tried)
  end)

  it("early media is ringing too (checklist 16)", function()
    open()
    w.a:on("INVITE", function(_, reply)
      reply(183, { body = "v=0\r\n", headers = { ["Content-Type"] = "application/sdp" } })
      w.a:after(30, function() reply(200) end)
    end)
    local call = w.alice:call(uri)
    assert.equal("a", call.server)
    assert.equal("v=0\r\n", w.alice:got(183)[1].body)
  end)

  it("a final 503 still moves the call", function()
    open()
    rings_then(w.a, 10, 503)
    local call = w.alice:call(uri)
    assert.equal("b", call.server)
    assert.same({ "a 503", "b 200" }, w.said())
    assert.same({ "a", "b" }, call.tried)
  end)

  it("a final 503 still moves the call with relay", function()
    open "return req:relay(pbx)"
    rings_then(w.a, 10, 503)
    local call = w.alice:call(uri)
    assert.equal("b", call.server)
    assert.equal(10.006, call.elapsed)
  end)

  it("18x go up at once, 100 never", function()
    open()
    w.a:on("INVITE", function(_, reply)
      reply(100)
      w.a:after(1, function() reply(180) end)
      w.a:after(2, function() reply(100) end)
      w.a:after(2.5, function() reply(183) end)
      w.a:after(3, function() reply(200) end)
    end)
    local call = w.alice:call(uri)
    assert.equal(200, call.code)
    assert.same({ 100, 180, 183 }, call.provisionals)
    -- our own 100, without a To tag
    assert.is_nil(w.alice:got(100)[1].to_tag)
    assert.same({ 1.004, 2.504 }, { w.alice:got(180)[1].time, w.alice:got(183)[1].time })
  end)

  it("an 18x of a second attempt comes with its own To tag, unchanged (checklist 19)", function()
    open()
    for name, seconds in pairs { a = 1, b = 2 } do
      w[name]:on("INVITE", function(_, reply)
        reply(180, { tag = "tag-" .. name, headers = { ["X-Of"] = name } })
        w[name]:after(seconds, function() reply(name == "a" and 503 or 200) end)
      end)
    end
    local call = w.alice:call(uri)
    assert.equal("b", call.server)
    local rang = w.alice:got(180)
    assert.same({ "tag-a", "tag-b" }, { rang[1].to_tag, rang[2].to_tag })
    assert.same({ "a", "b" }, policy.headers(rang, "X-Of"))
    assert.equal("tag-b", call.response.to_tag)
  end)

  it("the response as such goes up: only our Via is gone", function()
    open()
    w.a:on("INVITE", function(_, reply)
      reply(180, { reason = "It Rings", headers = { ["X-Odd"] = " a , b" } })
      reply(486)
    end)
    w.alice:call(uri)
    w.net:run(1)
    local up = w.alice:got(180)[1]
    assert.equal("It Rings", up.reason)
    assert.equal(1, #up:list "Via")
    assert.matches("^SIP/2.0/UDP 192.0.2.7:5060", up:header "Via")
  end)
end)

sim.for_workers("on_response", function(workers)
  after_each(sim.finish)

  local w

  -- A handler whose attempts have this function.
  local function watching(body, verb)
    return ("local function watch(res)\n%s\nend\n"):format(body)
      .. (verb or "return req:relay(pbx, { on_response = watch, attempts = 1 })")
  end

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function answers(...)
    local codes = { ... }
    w.a:on("INVITE", function(_, reply)
      for _, code in ipairs(codes) do
        reply(code)
      end
    end)
  end

  local watch = "say(res.code, res.server.name) res:set_header('X-Seen', res.code .. '')"

  it("sees 101-199 and 2xx before they pass, and may edit headers", function()
    open(watching(watch))
    answers(100, 180, 183, 200)
    w.alice:call(uri)
    assert.same({ "180 a", "183 a", "200 a" }, w.said())
    assert.same({ "180", "183", "200" }, policy.headers(
      { w.alice:got(180)[1], w.alice:got(183)[1], w.alice:got(200)[1] }, "X-Seen"))
  end)

  it("sees no failure and no 100: those are the handler's", function()
    open(watching(watch))
    answers(100, 486)
    assert.equal(486, w.alice:call(uri).code)
    assert.same({}, w.said())
    assert.is_nil(w.alice:got(486)[1]:header "X-Seen")
  end)

  it("sees the answer to other requests", function()
    open(watching(watch))
    w.alice:ask("OPTIONS", uri)
    assert.same({ "200 a" }, w.said())
    assert.equal("200", w.alice:got(200)[1]:header "X-Seen")
  end)

  it("is an option of try and fork too", function()
    open(watching(watch, [[
      local res = req:try(a, { on_response = watch })
      if res.code >= 300 then res = req:fork({ b, c }, { on_response = watch }) end
      return res:forward()
    ]]), { servers = 3 })
    answers(180, 486)
    w.b:on("INVITE", function(_, reply) reply(182) w.b:after(1, function() reply(200) end) end)
    w.c:on("INVITE", function(_, reply) reply(181) end)
    w.alice:call(uri)
    assert.same({ "180 a", "182 b", "181 c", "200 b" }, w.said())
  end)

  it("of one attempt does not see what comes from the one before", function()
    open(watching(watch, [[
      req:try(a, { timeout = 1, on_response = watch })
      local res = req:try(b)
      if res then return res:forward() end
    ]]))
    w.a:on("INVITE", function(_, reply)
      w.a:after(1.5, function() reply(180) end)
      w.a:after(2, function() reply(200) end) -- late, and not held up by the CANCEL
    end)
    w.a:on("CANCEL", function(_, reply) reply(481) end)
    w.b:ring(5)
    local call = w.alice:call(uri)
    assert.equal("a", call.server)
    assert.same({}, w.said())
  end)

  it("can take headers away and add some", function()
    open(watching [[
      res:del_header "X-Away"
      res:add_header("X-More", "1")
      res:add_header("X-More", "2")
    ]])
    w.a:answer("INVITE", 200, { ["X-Away"] = "1" })
    local call = w.alice:call(uri)
    assert.is_nil(call.response:header "X-Away")
    assert.same({ "1", "2" }, call.response:all "X-More")
  end)

  describe("may not", function()
    -- Each of these is an error of the script; the response passes all the same.
    local function fails(body, message)
      open(watching(body))
      answers(180, 200)
      local call = w.alice:call(uri)
      assert.equal(200, call.code)
      assert.equal("a", call.server)
      assert.same({ 100, 180 }, call.provisionals)
      assert.equal("on_response", policy.failure(w.net).where)
      assert.matches(message, policy.failure(w.net).error)
      w.net:finish { errors = 2 } -- one for each response
    end

    it("wait", function()
      fails("sip.sleep(1)", "sleep cannot wait in an on_response function")
    end)

    it("try", function()
      fails("req:try(b)", "req:try: not in an on_response function")
    end)

    it("reply", function()
      fails("req:reply(486)", "req:reply: not in an on_response function")
    end)

    it("relay", function()
      fails("req:relay(pbx)", "req:try: not in an on_response function")
    end)

    it("drop", function()
      fails("req:drop('x')", "req:drop: not in an on_response function")
    end)

    it("forward what it sees", function()
      fails("res:forward()", "res:forward: not in an on_response function")
    end)

    it("raise", function()
      fails("error 'oops'", "script.lua:14: oops")
    end)
  end)

  it("is no verb and leaves the request to the handler", function()
    open [[
      local res, err = req:try(a, { on_response = function(r) r:set_header("X-Seen", "1") end })
      say(res.code, err)
      return res:forward()
    ]]
    answers(180, 486)
    assert.equal(486, w.alice:call(uri).code)
    assert.same({ "486 nil" }, w.said())
    assert.equal("100 180 486", wire.names(w.alice.received))
  end)
end)
