-- Data files: what sip.data and sip.netset have read is loaded again when it changes.
local sim = require "support.sim"

local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
sip.settings { trust = sip.netset { file = "trusted.txt" } }
local app = sip.pool("app", { servers = sip.data "servers.json", check = false })
sip.route("OPTIONS", function(req) return req:relay("sip:x@10.0.0.9") end)
sip.route(function(req) return req:relay(app, { timeout = 2 }) end)
]]

local function servers(...)
  local list = {}
  for i, number in ipairs { ... } do
    list[i] = ('{ "name": "s%d", "uri": "sip:10.0.0.%d", "tier": %d }'):format(number, number, i)
  end
  return "[" .. table.concat(list, ",") .. "]"
end

sim.for_workers("a data file", function(workers)
  local net, alice, servers_up

  local function open()
    servers_up = {}
    net = sim.new { source = source, workers = workers,
      files = { ["servers.json"] = servers(1, 2), ["trusted.txt"] = "# nobody\n" } }
    alice = net:uac "192.0.2.7"
    for i = 1, 3 do
      servers_up[i] = net:uas("10.0.0." .. i, "s" .. i)
    end
    net:uas "10.0.0.9"
    net:run(1)
  end

  local function reached()
    return alice:call("sip:bob@example.com").server
  end

  after_each(sim.finish)

  it("that changed is applied after a second", function()
    open()
    assert.equal("s1", reached())
    net:write("servers.json", servers(3, 2))
    net:run(0.9)
    assert.equal(0, net:count "reload")
    net:run(0.2)
    assert.equal(1, net:count("reload", { added = "app/s3", removed = "app/s1" }))
    assert.equal("s3", reached())
    net:finish()
  end)

  it("is applied later, when eight generations before still have calls to end", function()
    open()
    servers_up[1]:on("INVITE", function(_, reply) reply(180) end)
    for i = 1, 9 do
      for _ = 1, 6 do -- so that every worker has some
        alice:invite "sip:bob@example.com"
      end
      net:run(1)
      assert.equal(i < 9, net:reload() == true)
    end
    net:write("servers.json", servers(3, 2))
    net:run(15)
    assert.equal(3, net:count "config.rejected") -- the last of these; 1 s, 11 s later
    assert.equal(0, net:count("reload", { added = "app/s3" }))
    for _, call in ipairs(alice.calls) do
      alice:cancel(call)
    end
    net:run(10)
    assert.equal(1, net:count("reload", { added = "app/s3", removed = "app/s1" }))
    net:finish()
  end)

  it("is loaded once when it is written several times", function()
    open()
    for i = 1, 5 do
      net:write("servers.json", servers(i % 3 + 1))
      net:run(0.5)
    end
    net:run(1)
    assert.equal(1, net:count "reload")
    assert.equal("s3", reached())
    net:finish()
  end)

  it("of networks counts too", function()
    open()
    assert.equal(500, alice:ask("OPTIONS", "sip:bob@elsewhere.example").code)
    net:write("trusted.txt", "192.0.2.7\n")
    net:run(2)
    assert.equal(200, alice:ask("OPTIONS", "sip:bob@elsewhere.example").code)
    net:finish { errors = 1 }
  end)

  it("that is broken is refused with the reason, and the next one counts", function()
    open()
    net:write("servers.json", servers(3):sub(1, -4))
    net:run(2)
    assert.equal(1, net:count("config.rejected", { reason = function(text)
      return text:find("script.lua:4: sip.data: servers.json:", 1, true)
    end }))
    assert.equal("s1", reached())
    net:write("servers.json", servers(3))
    net:run(2)
    assert.equal("s3", reached())
    net:finish()
  end)

  it("that names a server twice is refused as well", function()
    open()
    net:write("servers.json", servers(3, 3))
    net:run(2)
    assert.equal(1, net:count "config.rejected")
    assert.equal("s1", reached())
    net:finish()
  end)

  it("that vanishes is missed, and found again when it is back", function()
    open()
    net:write("servers.json", nil)
    net:run(2)
    assert.equal(1, net:count("config.rejected", { reason = function(text)
      return text:find("'servers.json' not found", 1, true)
    end }))
    assert.equal("s1", reached())
    net:write("servers.json", servers(2))
    net:run(2)
    assert.equal("s2", reached())
    net:finish()
  end)

  it("that the script did not read is not looked at", function()
    open()
    net:write("other.json", "{}")
    net:write("script.lua", "oops(")
    net:run(5)
    assert.equal(0, net:count "reload")
    assert.equal(0, net:count "config.rejected")
    net:finish()
  end)

  it("changes nothing for a call that is on its way", function()
    open()
    net.endpoints[2]:silence()
    local call = alice:invite "sip:bob@example.com"
    net:run(0.5)
    net:write("servers.json", servers(3))
    call:wait()
    assert.same({ "s1", "s2" }, call.tried)
    assert.equal("s3", reached())
    net:finish()
  end)

  it("does not start a process that has ended", function()
    open()
    net:write("servers.json", servers(3))
    net.nodes[1]:crash()
    net:run(5)
    net.nodes[1]:start()
    assert.equal("s3", reached())
    net:finish()
  end)
end)
