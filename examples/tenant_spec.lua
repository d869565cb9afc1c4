-- Tenants stay where they are, come what may to the servers of others.
local sim = require "tandem.sim"

describe("examples/tenant.lua", function()
  local net, servers, alice

  before_each(function()
    net, servers = sim.new { script = "examples/tenant.lua" }, {}
    for i = 1, 5 do
      servers["app" .. i] = net:uas("10.0.2." .. i, "app" .. i)
    end
    alice = net:uac "192.0.2.7"
    net:run(5)
  end)

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

  -- Another list of servers, as an editor would save it.
  local function save(list)
    net.nodes[1]:write("app-servers.json", "[" .. table.concat(list, ",") .. "]")
    net:run(5)
  end

  local function line(i, more)
    return ('{ "name": "app%d", "uri": "sip:10.0.2.%d" %s }'):format(i, i, more or "")
  end

  it("takes a new server from the file, without a restart", function()
    local before, moved = homes(), 0
    save { line(1), line(2), line(3), line(4, ', "weight": 2'), line(5) }
    for i, home in ipairs(homes()) do
      moved = moved + (home ~= before[i] and 1 or 0)
      assert(home == before[i] or home == "app5")
    end
    assert(moved > 5 and moved < 35, moved)
  end)

  it("lets the calls of a server end that is not in the file any more", function()
    local call
    repeat
      call = alice:call("sip:room" .. alice.net:token(4) .. "@" .. alice.net:token(8) .. ".example")
    until call.server == "app3"
    save { line(1), line(2), line(4, ', "weight": 2') }
    for _, home in ipairs(homes()) do assert.not_equal("app3", home) end
    assert.equal(200, alice:bye(call):wait().code)
    assert.equal(1, #servers.app3:got "BYE")
  end)

  it("goes on with the old list when the new one is broken", function()
    local before = homes()
    save { line(1), "oops" }
    assert.same(before, homes())
  end)
end)
