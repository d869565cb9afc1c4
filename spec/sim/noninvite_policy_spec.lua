-- Semantics 7: what a script cannot do to a request that is no INVITE (RFC 4320).
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("a script and a non-INVITE", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function dropped()
    return w.net:metric("tandem_dropped_total", { reason = "noninvite_timeout" })
  end

  -- What came up, without the 100 that every retransmission gets.
  local function finals()
    return (wire.names(w.alice.received):gsub("100 ?", ""))
  end

  it("cannot answer 408: an error with the line, and 500", function()
    open "return req:reply(408)"
    assert.equal(500, w.alice:ask("REGISTER", "sip:example.com").code)
    assert.matches("^script.lua:13: req:reply: 408 is no answer to REGISTER",
      policy.failure(w.net).error)
    w.net:finish { errors = 1 }
  end)

  it("can answer 408 to an INVITE", function()
    open "return req:reply(408)"
    assert.equal(408, w.alice:call(uri).code)
  end)

  it("cannot ring (RFC 4320 4.1)", function()
    open "req:reply(180) return req:reply(200)"
    assert.equal(500, w.alice:ask("MESSAGE", uri).code)
    assert.matches("req:reply: no 180 to a request that is no INVITE",
      policy.failure(w.net).error)
    w.net:finish { errors = 1 }
  end)

  it("answers nothing after 64*T1: what it replies is dropped and counted", function()
    open [[
      sip.sleep(33)
      req:reply(500)
      say("replied", req:answered())
    ]]
    w.alice:request("MESSAGE", uri)
    w.net:run(40)
    assert.same({ "replied true" }, w.said())
    assert.equal("", finals())
    assert.equal(1, dropped())
  end)

  it("still answers just before 64*T1", function()
    open "sip.sleep(31.9) return req:reply(480)"
    local message = w.alice:ask("MESSAGE", uri)
    assert.equal(480, message.code)
    assert.equal(0, dropped())
  end)

  it("passes nothing on after 64*T1 either: a server that takes too long", function()
    open "return req:relay(pbx, { budget = 100, timeout = 40, last_timeout = 40 })"
    w.a:answer("MESSAGE", 200, nil, 33)
    w.b:silence()
    local message = w.alice:ask("MESSAGE", uri)
    w.net:run(80)
    assert.equal("timeout", message.error)
    assert.equal("", finals())
    assert.equal(1, dropped())
  end)

  it("has time for two servers: 4 s and what is left of 20", function()
    open "return req:relay(pbx)"
    w.a:silence()
    w.b:answer("REGISTER", 200, nil, 15)
    local register = w.alice:ask("REGISTER", "sip:example.com")
    assert.equal("b", register.server)
    assert.equal(19.004, register.elapsed)
  end)

  it("passes no provisional on but its own 100 (RFC 4320 4.1)", function()
    open "return req:relay(pbx)"
    w.a:on("REGISTER", function(_, reply)
      reply(183)
      w.a:after(5, function() reply(200) end)
    end)
    local register = w.alice:ask("REGISTER", "sip:example.com")
    assert.equal(200, register.code)
    assert.same({ 100, 100 }, register.provisionals) -- one for a retransmission
  end)
end)
