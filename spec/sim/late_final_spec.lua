-- RFC 3261 17.2.2, semantics 7 and 19: a request that is no INVITE has one final. Timer J
-- is 0 on connections, so that nothing of its caller's transaction is left when the
-- server's answer comes after our own 500.
local sim = require "support.sim"
local assert, ipairs = assert, ipairs

local uri = "sip:bob@example.com"

local script = [[
local sip = require "tandem"
sip.listen {
  "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "c.pem", key = "k.pem" },
}
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "%s" } },
  check = false, passive = { fall = 1000 } })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("the answer to what was answered 500", function(workers)
  after_each(sim.finish)

  local net, a, alice

  local function open(caller, server)
    net = sim.new {
      source = script:format(server or "sip:10.0.0.1"), workers = workers, seed = 3,
    }
    a = net:uas("10.0.0.1", { name = "a", transports = { "udp", "tcp" } })
    alice = net:uac(caller .. ":192.0.2.7", "alice")
  end

  -- The server takes the request, its port is closed for a second, and then it answers.
  local function answer_late()
    a:on("MESSAGE", function(_, reply)
      net:after(0.2, function() a:refuse() end)
      net:after(1.2, function() a:resume() end)
      a:after(3, function() reply(200) end)
    end)
  end

  for _, caller in ipairs { "udp", "tcp", "tls" } do
    it("goes nowhere after a repetition that found the port closed, " .. caller, function()
      open(caller)
      answer_late()
      local call = alice:ask("MESSAGE", uri)
      assert.equal(500, call.code)
      net:run(10)
      assert.equal(1, #a:got "MESSAGE")
      assert.equal(0, #alice:got(200))
    end)
  end

  -- What was sent on a connection that had fallen quiet goes once more, over another.
  it("goes nowhere after a second connection that was refused", function()
    open("tls", "sip:10.0.0.1;transport=tcp")
    assert.equal(200, alice:ask("MESSAGE", uri).code)
    a:on("MESSAGE", function(_, reply)
      net:after(0.2, function() a:refuse() end)
      net:after(1.2, function() a:resume() end)
      a:after(3, function() reply(200) end)
    end)
    local call = alice:ask("MESSAGE", uri)
    assert.equal(500, call.code)
    net:run(10)
    assert.equal(2, #a:got "MESSAGE")
    assert.equal(1, #alice:got(200))
  end)
end)
