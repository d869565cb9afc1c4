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
  end)
end
