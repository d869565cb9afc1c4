-- Tenants stay where they are, come what may to the servers of others.
local sim = require "tandem.sim"

describe("examples/tenant.lua", function()
  local net, servers, alice

  local function world(options)
    options.script = "examples/tenant.lua"
    net, servers = sim.new(options), {}
    for i = 1, 5 do
      servers["app" .. i] = net:uas("10.0.2." .. i, "app" .. i)
    end
    alice = net:uac "192.0.2.7"
    net:run(5)
  end

  before_each(function() world {} end)
  after_each(function() net:finish() end)

  local function of(tenant, caller)
    local call = (caller or alice):call("sip:conference@example.com", {
      headers = { ["X-Tenant-ID"] = tenant },
    })
    assert.equal(200, call.code)
    return call.server
  end

  -- Where each of a hundred tenants is.
  local function homes()
    local list = {}
    for i = 1, 100 do list[i] = of("tenant" .. i) end
    return list
  end

  it("brings a tenant to one server, whoever calls", function()
    local home = of "acme"
    for i = 1, 10 do
      assert.equal(home, of("acme", net:uac("192.0.2." .. 10 + i)))
    end
  end)

  it("takes the domain where no tenant is named", function()
    local first = alice:call "sip:one@acme.example"
    assert.equal(first.server, alice:call("sip:two@acme.example").server)
  end)

  it("spreads tenants by weight", function()
    local n = 0
    for _, home in ipairs(homes()) do n = n + (home == "app4" and 1 or 0) end
    assert.near(40, n, 12)
  end)

  it("moves only the tenants of a server that is gone, and brings them back", function()
    local before = homes()
    servers.app2:power_off()
    net:run(10)
    for i, home in ipairs(homes()) do
      if before[i] == "app2" then
        assert.not_equal("app2", home)
      else
        assert.equal(before[i], home)
      end
    end
    servers.app2:resume()
    net:run(60)
    assert.same(before, homes())
  end)

  it("needs no new script for a new server", function()
    local before = homes()
    net:finish()
    world { files = { ["app-servers.json"] = [=[ [
      { "name": "app1", "uri": "sip:10.0.2.1" }, { "name": "app2", "uri": "sip:10.0.2.2" },
      { "name": "app3", "uri": "sip:10.0.2.3" }, { "name": "app5", "uri": "sip:10.0.2.5" },
      { "name": "app4", "uri": "sip:10.0.2.4", "weight": 2 } ] ]=] } }
    local moved = 0
    for i, home in ipairs(homes()) do
      moved = moved + (home ~= before[i] and 1 or 0)
      assert(home == before[i] or home == "app5")
    end
    assert(moved > 5 and moved < 35, moved)
  end)
end)
