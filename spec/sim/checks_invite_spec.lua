-- Semantics 23: the call that is none. Whatever happens, nothing stays on the server.
local sim = require "support.sim"
local guard = require "support.guard"
local policy = require "support.policy"
local wire = require "support.wire"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1" } },
  check = { method = "INVITE", fall = 1, jitter = 0, %s } })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("an INVITE check", function(workers)
  after_each(sim.finish)

  local w

  local function open(check, before)
    w = policy.world { workers = workers, source = frame:format(before or "", check or "") }
  end

  local function health()
    return w.net.pools.pbx.a.health
  end

  local function names()
    return wire.names(w.a.received)
  end

  -- Every call that the server took was acknowledged and ended. (The ACK of a 2xx has
  -- a branch of its own, that of a refusal has the INVITE's.)
  local function assert_nothing_left(calls)
    assert.equal(0, w.a.unacked)
    local invites, taken, ended = {}, {}, {}
    for _, message in ipairs(w.a.received) do
      if message.method == "INVITE" then
        invites[message.branch] = true
      elseif message.method == "ACK" and not invites[message.branch] then
        taken[message.call_id] = true
      elseif message.method == "BYE" then
        ended[message.call_id] = true
      end
    end
    assert.same(taken, ended)
    local n = 0
    for _ in pairs(taken) do
      n = n + 1
    end
    assert.equal(calls, n)
  end

  -- RFC 3264 5.1
  it("calls, offers no media, acknowledges and hangs up", function()
    open()
    w.net:run(1)
    local check = w.a:got("INVITE")[1]
    assert.equal("INVITE ACK BYE", names())
    assert.equal("sip:10.0.0.1", check.uri)
    assert.equal("application/sdp", check:header "Content-Type")
    assert.matches("\r\na=inactive\r\n", check.body)
    assert.matches("\r\nc=IN IP4 0.0.0.0\r\n", check.body)
    assert.equal(2, w.a:got("BYE")[1].cseq)
    assert.equal(check.from_tag, w.a:got("BYE")[1].from_tag)
    assert.equal("up", health())
    assert_nothing_left(1)
  end)

  it("calls whom `to` names, from our domain or `from`; HOST is the server's", function()
    open('to = "sip:echo@HOST"', 'sip.settings { domains = { "example.org" } }')
    w.net:run(1)
    local check = w.a:got("INVITE")[1]
    assert.equal("sip:echo@10.0.0.1", check.uri)
    assert.equal("<sip:echo@10.0.0.1>", check:header "To")
    assert.matches("^<sip:tandem@example.org>;tag=", check:header "From")
    open 'to = "sip:echo@pbx.example", from = "sip:probe@HOST"'
    w.net:run(1)
    assert.matches("^<sip:probe@10.0.0.1>;tag=", w.a:got("INVITE")[1]:header "From")
  end)

  it("answers a challenge, also that of its BYE", function()
    open 'user = "u", password = "p", expect = { 200 }'
    guard.set(w.a, "INVITE", { code = 407, user = "u", password = "p",
      accept = function(_, reply)
        reply(200, { headers = { Contact = "<sip:echo@10.0.0.1:5060>" } })
      end })
    guard.set(w.a, "BYE", { code = 401, nonce = "other", user = "u", password = "p" })
    w.net:run(2)
    assert.equal("INVITE ACK INVITE ACK BYE BYE", names())
    assert.equal("up", health())
    local first, second = table.unpack(w.a:got "INVITE")
    assert.same({ first.call_id, first.from_tag, 2 },
      { second.call_id, second.from_tag, second.cseq })
    assert.equal(w.a:got("BYE")[1].cseq + 1, w.a:got("BYE")[2].cseq)
  end)

  it("takes refusals for answers, but not 5xx", function()
    for code, expected in pairs { [486] = "up", [404] = "up", [603] = "up", [503] = "down" } do
      open()
      w.a:answer("INVITE", code)
      w.net:run(1)
      assert.equal("INVITE ACK", names())
      assert.equal(expected, health())
    end
  end)

  it("cancels after its timeout: down", function()
    open "interval = 30, timeout = 5"
    w.a:ring()
    w.net:run(4.9)
    assert.equal("unknown", health())
    assert.equal("INVITE", names())
    w.net:run(2)
    assert.equal("down", health())
    assert.equal("INVITE CANCEL ACK", names())
    assert.equal(1, w.net:count("server.health", { to = "down", reason = "timeout" }))
    assert_nothing_left(0)
  end)

  it("has a timeout of 32 s", function()
    open()
    w.a:ring()
    w.net:run(31.9)
    assert.equal("unknown", health())
    w.net:run(0.2)
    assert.equal("down", health())
    w.net:run(5)
    assert_nothing_left(0)
  end)

  it("ends a call whose 200 crosses the CANCEL", function()
    open "interval = 90, timeout = 5"
    w.a:on("INVITE", function(_, reply)
      reply(180)
      w.a:after(4.9995, function()
        reply(200, { headers = { Contact = "<sip:echo@10.0.0.1:5060>" } })
      end)
    end)
    w.net:run(10)
    assert.equal("down", health())
    assert.matches("CANCEL", names())
    assert_nothing_left(1)
  end)

  it("ends a call that is answered long after", function()
    open "interval = 90, timeout = 5"
    w.a:on("INVITE", function(_, reply) -- deaf to CANCEL as well
      w.a:after(20, function()
        reply(200, { headers = { Contact = "<sip:echo@10.0.0.1:5060>" } })
      end)
    end)
    w.net:run(30)
    assert.equal("down", health())
    assert_nothing_left(1)
  end)

  it("that nobody hears leaves nothing either", function()
    open "interval = 30, timeout = 5"
    w.a:silence()
    w.net:run(20)
    assert.equal("down", health())
    w.a:resume()
    w.net:run(100)
    assert.equal("up", health())
    assert.equal(0, w.a.unacked)
  end)

  it("repeats a BYE that nobody answers", function()
    open()
    w.a:on("BYE", function() end)
    w.net:run(10)
    local n = 0
    for _, packet in ipairs(w.net:packets()) do
      n = n + (packet.bytes:find "^BYE " and 1 or 0)
    end
    assert.is_true(n >= 3, n)
    assert.equal("up", health())
  end)

  for _, case in ipairs {
    { "rings", 0.5, 0 }, { "is answered", 1.0015, 1 }, { "ends", 1.003, 1 },
  } do
    it(("leaves nothing when the script is replaced while it %s"):format(case[1]), function()
      open "interval = 1000"
      w.a:on("INVITE", function(_, reply)
        reply(180)
        w.a:after(1, function()
          reply(200, { headers = { Contact = "<sip:echo@10.0.0.1:5060>" } })
        end)
      end)
      w.net:run(case[2])
      assert(w.net:reload { source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        sip.route(function(req) return req:reply(404) end)
      ]] })
      w.net:run(10)
      assert_nothing_left(case[3])
      assert.equal(1, #w.a:got "INVITE")
    end)
  end

  it("never has two in flight", function()
    open "interval = 6, timeout = 5, down_interval = 5"
    w.a:ring()
    w.net:run(60)
    local times = wire.times(w.a:got "INVITE")
    for i = 2, #times do
      assert.is_true(times[i] - times[i - 1] >= 5 - 0.001, times[i] - times[i - 1])
    end
    assert.is_true(#times > 8)
    assert.equal(#times - 1, #w.a:got "CANCEL") -- the last one still rings
  end)
end)
