-- Several workers of one node: what a caller or a server must not notice.
local sim = require "tandem.sim"

local source = [[
  local sip = require "tandem"
  sip.listen { "tcp:10.0.0.100:5060" }
  local pbx = sip.pool("pbx", { servers = {
    { name = "a", uri = "sip:10.0.0.1;transport=tcp" } } })
  sip.route(function(req)
    return req:relay(pbx)
  end)
]]

local identity = [[
  local sip = require "tandem"
  sip.listen {
    "udp:10.0.0.100:5060",
    { "tls:10.0.0.100:5061", cert = "c.pem", key = "k.pem", ca = "ca.pem", verify = true },
  }
  local bob = sip.pool("bob", { check = false, servers = {
    { name = "b", uri = "sips:192.0.2.66:32768", tls = { name = "bob.example.com" } } } })
  sip.route(function(req)
    return req:relay(bob)
  end)
]]

for _, workers in ipairs { 1, 2, 4 } do
  describe(("with %d workers"):format(workers), function()
    after_each(sim.finish)

    local net, a, alice

    before_each(function()
      net = sim.new { source = source, seed = 4, workers = workers }
      a = net:uas("tcp:10.0.0.1:5060", "a")
      alice = net:uac("tcp:192.0.2.7", "alice")
    end)

    -- A phone behind a NAT: nobody can connect to it.
    it("a caller is reached over the one connection that it has opened", function()
      local first = alice:ask("OPTIONS", "sip:10.0.0.100;transport=tcp")
      local port = first.headers.via:match "rport=(%d+)"
      alice.contact = ("<sip:alice@192.0.2.7:%s;transport=tcp>"):format(port)
      for _ = 1, 12 do
        local call = alice:call("sip:bob@example.com")
        assert.equal(200, call.code)
        net:run(0.1)
        local bye = a:bye(call)
        net:run(0.1)
        assert.equal(200, bye.code)
        assert.is_truthy(call.ended)
      end
    end)

    -- RFC 5922 7.3. Who calls himself what he has not proved is at the address of another.
    for _, name in ipairs { "bob.example.com", "mallory.example.com" } do
      it("a connection is used for the name that was proved on it: " .. name, function()
        local bob = sim.new { source = identity, seed = 4, workers = workers }
        local phone = bob:uac("tls:192.0.2.66", { name = "phone", listen = false,
          proxy = "10.0.0.100:5061", tls = { names = { name } } })
        local caller = bob:uac("udp:192.0.2.7", "caller")
        phone:connect()
        bob:run(1)
        assert.equal(1, bob:count("flow.up", { identity = name, direction = "in" }))
        local reached = name == "bob.example.com"
        for _ = 1, 12 do
          assert.equal(reached and 200 or 500, caller:call("sip:bob@example.com").code)
        end
        assert.equal(reached and 12 or 0, #phone:got "INVITE")
      end)
    end
  end)
end
