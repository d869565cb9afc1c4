-- Phones behind a NAT on TCP and TLS: nobody can connect to them, so their server's
-- requests come on the connection they opened (Path, semantics 14; checklist 52).
local sim = require "support.sim"

local key = "0123456789abcdef"
local script = [[
local sip = require "tandem"
sip.listen {
  "udp:10.0.0.100:5060", "tcp:10.0.0.100:5060",
  { "tls:10.0.0.100:5061", cert = "sip.pem", key = "sip.key" },
}
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = false, path = "always",
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

for _, transport in ipairs { "tcp", "tls" } do
  sim.for_workers("a phone behind a NAT on " .. transport, function(workers)
    after_each(sim.finish)

    local net, node, a, alice, path

    before_each(function()
      net = sim.new { source = script, workers = workers, key = key }
      node = net.nodes[1]
      a = net:uas("10.0.0.1", "a")
      alice = net:uac(transport .. ":192.0.2.7", {
        name = "alice", private = "192.168.1.7:5060",
      })
      assert.equal(200, alice:ask("REGISTER", "sip:example.com").code)
      path = a:got("REGISTER")[1]:list "Path"
    end)

    -- Its server calls it as it registered: Contact and Path.
    local function call(options)
      options = options or {}
      options.route = options.route or path
      return a:call(alice.contact:match "<(.-)>", options)
    end

    it("has a Path that names its connection, and the way to its server", function()
      assert.equal(2, #path)
      assert.equal("<sip:10.0.0.100:5060;lr>", path[1])
      assert.matches("^<sip:flow1%-p%x+@10%.0%.0%.100:506%d;transport=" .. transport .. ";lr>$",
        path[2])
    end)

    for _, who in ipairs { "phone", "server" } do
      it("is called on its connection, and the " .. who .. " hangs up", function()
        local dialog = call()
        assert.equal(200, dialog.code)
        a:reinvite(dialog)
        net:run(0.1)
        alice:reinvite(dialog)
        net:run(0.1)
        assert.equal(2, #alice:got "INVITE")
        assert.equal(1, #a:got "INVITE")
        local ends, other = a, alice
        if who == "phone" then
          ends, other = alice, a
        end
        ends:bye(dialog)
        net:run(0.1)
        assert.equal(1, #other:got "BYE")
        assert.equal(1, #alice:connections())
        assert.equal(0, node:metric("tandem_connections_total", { direction = "out" }))
      end)

      it("calls, and the " .. who .. " hangs up", function()
        local dialog = alice:call "sip:bob@example.com"
        a:reinvite(dialog)
        net:run(0.1)
        assert.equal(1, #alice:got "INVITE")
        local ends, other = a, alice
        if who == "phone" then
          ends, other = alice, a
        end
        ends:bye(dialog)
        net:run(0.1)
        assert.equal(1, #other:got "BYE")
        assert.equal(1, #alice:connections())
      end)
    end

    it("can be cancelled and refuse there", function()
      alice:ring()
      local dialog = a:invite(alice.contact:match "<(.-)>", { route = path })
      net:run(1)
      a:cancel(dialog)
      net:run(1)
      assert.equal(487, dialog.code)
      assert.equal(1, #alice:got "CANCEL")
      alice:answer("INVITE", 486)
      assert.equal(486, call().code)
      assert.equal(1, #alice:connections())
    end)

    describe("whose connection is gone: 430,", function()
      local function is_gone()
        local before = #alice:got "INVITE"
        local dialog = call()
        assert.equal(430, dialog.code)
        assert(dialog.elapsed < 0.1)
        assert.equal(before, #alice:got "INVITE")
        assert.is_true(node:metric "tandem_flows_gone_total" > 0)
      end

      it("because it closed it", function()
        alice:close()
        net:run(1)
        is_gone()
      end)

      it("because it was reset", function()
        alice:reset()
        net:run(1)
        is_gone()
      end)

      it("because it was silent for too long", function()
        net:run(200)
        assert.equal(1, net:count("flow.down", { cause = "idle" }))
        is_gone()
      end)

      it("also when it has another one by now, until it registers on that", function()
        alice:close()
        net:run(1)
        assert.equal(200, alice:ask("REGISTER", "sip:example.com").code)
        is_gone()
        path = a:got("REGISTER")[2]:list "Path"
        assert.equal(200, call().code)
      end)

      it("because the proxy was started anew", function()
        node:crash()
        node:start()
        is_gone()
      end)

      it("because it is another node's", function()
        local other = net:node { addr = "10.0.0.150", key = key }
        node:power_off()
        other:take "10.0.0.100"
        local dialog = call()
        assert.equal(430, dialog.code)
        assert.equal(1, other:metric "tandem_flows_gone_total")
      end)

      it("and in a call: its server hears it at once", function()
        local dialog = call()
        alice:close()
        net:run(1)
        local bye = a:bye(dialog):wait()
        assert.equal(430, bye.code)
      end)
    end)

    it("that pings keeps its connection", function()
      for _ = 1, 20 do
        net:run(30)
        alice:ping()
      end
      net:run(1)
      assert.equal(20, alice.keepalives)
      assert.equal(200, call().code)
    end)
  end)
end
