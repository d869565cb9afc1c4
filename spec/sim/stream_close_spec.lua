-- A connection that breaks while a transaction uses it (RFC 3261 17.1.4, 18.2.2): a
-- branch that was not answered yet fails at once, one that was waits on another
-- connection, and what the server may have is not forgotten.
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { check = false, passive = false, servers = {
  { name = "a", uri = "sip:10.0.0.1;transport=tcp", tier = 1 },
  { name = "b", uri = "sip:10.0.0.2;transport=tcp", tier = 2 } } })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("a connection that breaks", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  before_each(function()
    net = sim.new { seed = 3, workers = workers, source = script }
    a, b = net:uas("tcp:10.0.0.1", "a"), net:uas("tcp:10.0.0.2", "b")
    alice = net:uac("192.0.2.7", "alice")
  end)

  -- What the proxy wrote in its line about the request.
  local function tried()
    local line
    for _, event in ipairs(net.events) do
      line = event.event == "request" and event or line
    end
    return (line.tried:gsub(":%d+%.%d+", ""))
  end

  it("fails a branch without a response at once", function()
    a:silence()
    local call = alice:invite "sip:bob@example.com"
    net:run(0.5)
    a:reset()
    call:wait()
    assert.equal(200, call.code)
    assert.equal("b", call.server)
    assert(call.elapsed < 0.52)
    net:run(0.1)
    assert.equal("pbx/a:reset,pbx/b:200", tried())
    assert.equal(1, #a:got "INVITE")
  end)

  it("in good order fails it as well", function()
    a:silence()
    local call = alice:invite "sip:bob@example.com"
    net:run(0.5)
    a:close()
    call:wait()
    assert.equal("b", call.server)
    net:run(0.1)
    assert.equal("pbx/a:closed,pbx/b:200", tried())
  end)

  it("fails a request that is no INVITE, and its late answer is absorbed", function()
    local late
    a:on("MESSAGE", function(_, reply) late = reply end)
    local call = alice:request("MESSAGE", "sip:bob@example.com", { body = "x" })
    net:run(0.5)
    a:reset()
    call:wait()
    assert.equal(200, call.code)
    assert.equal("b", call.server)
    late(200)
    net:run(1)
    assert.equal(1, #alice:got(200))
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "late_final" }))
  end)

  it("leaves a ringing branch to be answered over a new one", function()
    a:ring(5)
    local call = alice:invite "sip:bob@example.com"
    net:run(1)
    a:reset()
    call:wait()
    assert.equal(200, call.code)
    assert.equal("a", call.server)
    assert.equal(0, #b:got "INVITE")
    net:run(1)
    -- and the call goes on
    assert.equal(1, #a:got "ACK")
    assert.equal(200, alice:bye(call):wait().code)
  end)

  it("does not keep a ringing branch from its CANCEL", function()
    a:ring()
    local call = alice:invite "sip:bob@example.com"
    net:run(1)
    a:reset()
    net:run(1)
    alice:cancel(call)
    call:wait()
    assert.equal(487, call.code)
    net:run(1)
    assert.equal(1, #a:got "CANCEL")
    assert.equal(1, #a:got "ACK") -- of the 487
    assert.equal(0, a.unacked)
  end)

  it("and takes a CANCEL with it is not the end of the CANCEL", function()
    a:ring()
    local call = alice:invite "sip:bob@example.com"
    net:run(1)
    alice:cancel(call)
    net:run(0.0015) -- it is on its way to a
    a:reset()
    call:wait()
    assert.equal(487, call.code)
    assert.equal(1, #a:got "CANCEL")
  end)

  -- a has the INVITE, and its phone rings after all
  local function late(code)
    local reply
    a:on("INVITE", function(_, answer) reply = answer end)
    b:ring()
    local call = alice:invite "sip:bob@example.com"
    net:run(0.5)
    a:reset()
    net:run(1)
    assert.equal(1, #b:got "INVITE")
    reply(code)
    net:run(1)
    return call
  end

  it("leaves a phone that rings late to be cancelled", function()
    late(180)
    assert.equal(1, #a:got "CANCEL")
    assert.equal(0, #b:got "CANCEL")
  end)

  it("does not lose a late 200", function()
    local call = late(200)
    assert.equal(200, call.code)
    assert.equal("a", call.server)
    assert.equal(1, #b:got "CANCEL")
    assert.equal(1, net:metric("tandem_late_2xx_total", { action = "forward" }))
    assert.equal(1, #a:got "ACK")
  end)

  it("before it was up is a request that was not sent", function()
    a:refuse()
    local call = alice:call "sip:bob@example.com"
    assert.equal("b", call.server)
    assert(call.elapsed < 0.02)
    net:run(0.1)
    assert.equal("pbx/a:refused,pbx/b:200", tried())
    assert.equal(1, net:metric("tandem_unsent_total", { kind = "request" }))
    -- nothing remains of it: it has not arrived
    assert.equal(0, #a:got "INVITE")
  end)

  it("is found broken by the next request, which goes over a new one", function()
    assert.equal(200, alice:call("sip:bob@example.com").code)
    a:power_off()
    a:resume()
    local call = alice:call "sip:bob@example.com"
    assert.equal(200, call.code)
    assert.equal("a", call.server)
    assert(call.elapsed < 0.05)
    net:run(0.1)
    assert.equal("pbx/a:200", tried())
  end)

  it("and for which there is no new one leaves a branch that may still answer", function()
    local node = net.nodes[1]
    for n = 1, 12 do
      a:on("INVITE", nil)
      assert.equal(200, alice:call("sip:bob@example.com").code)
      a:on("INVITE", function(_, reply) a:after(1, function() reply(603) end) end)
      local call = alice:invite "sip:bob@example.com"
      net:run(0.01)
      for worker = 1, workers do
        node:fail_alloc(n, { worker = worker })
      end
      a:reset()
      net:run(0.01)
      for worker = 1, workers do
        node:fail_alloc(0, { worker = worker })
      end
      call:wait()
      net:run(2)
      assert.is_truthy(call.code)
      -- what it answers belongs to a transaction
      assert.equal(0, net:metric("tandem_takeover_messages_total", { kind = "absorbed" }))
    end
  end)

  it("and had served before counts against no server by that", function()
    assert.equal(200, alice:call("sip:bob@example.com").code)
    a:reset()
    a:refuse() -- it is gone for good
    local call = alice:call "sip:bob@example.com"
    assert.equal("b", call.server)
    net:run(0.1)
    assert.equal("pbx/a:refused,pbx/b:200", tried())
  end)

  it("is not asked twice: streams do not repeat, and timers run", function()
    a:silence()
    b:silence()
    local call = alice:call "sip:bob@example.com"
    assert.equal(500, call.code)
    assert.equal(1, #a:got "INVITE")
    assert.equal(1, #b:got "INVITE")
    net:run(0.1)
    assert.equal("pbx/a:silent,pbx/b:silent", tried())
  end)
end)

-- A phone on its connection, in a call: what its server asks of it then.
for name, taken in pairs {
  ["no script"] = "",
  ["req:relay_dialog()"] = 'sip.route("*in_dialog", function(req) return req:relay_dialog() end)',
} do
  sim.for_workers("a phone's connection that breaks, with " .. name .. ",", function(workers)
    after_each(sim.finish)

    it("is 430 for what was under way and for what follows", function()
      local net = sim.new { seed = 3, workers = workers, source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
        local pbx = sip.pool("pbx", { check = false, path = "always", servers = {
          { name = "a", uri = "sip:10.0.0.1" } } })
        sip.route(function(req) return req:relay(pbx) end)
      ]] .. taken }
      local a = net:uas("10.0.0.1", "a")
      local phone = net:uac("tcp:192.0.2.7", { name = "phone", private = "192.168.1.7:5060" })
      local call = phone:call "sip:bob@example.com"
      assert.equal(200, call.code)
      net:run(1)
      phone:silence()
      local info = a:in_dialog(call, "INFO")
      net:run(0.5)
      phone:reset()
      assert.equal(430, info:wait().code)
      assert(info.elapsed < 0.6)
      assert.equal(430, a:in_dialog(call, "INFO"):wait().code)
      assert.equal(1, #phone:got "INFO")
      assert.equal(2, net:metric "tandem_flows_gone_total")
    end)
  end)
end
