-- What `tandem check` warns of: right, and yet probably not meant.
local fake = require "support.fake_core"

describe("the review of a script", function()
  local sip, declare

  before_each(function()
    local world = fake.new { files = {
      ["secret.json"] = '{"line":"s3cret"}',
      ["servers.json"] = '[{"name":"a","uri":"sip:10.0.0.1"}]',
    } }
    sip, declare = world:require "tandem", world:require "tandem.config.declare"
  end)

  local function server(extra)
    local item = { name = "a", uri = "sip:10.0.0.1" }
    for key, value in pairs(extra or {}) do
      item[key] = value
    end
    return item
  end

  local function route()
    sip.route(function() end)
  end

  local function findings()
    return declare.plan().findings
  end

  it("has nothing to say of a script without calls", function()
    route()
    assert.equal("", findings())
    assert.equal("", declare.plan().secrets)
  end)

  it("misses a place for what a restart would forget", function()
    route()
    sip.pool("pbx", { servers = { server() } })
    assert.equal("no state_dir and no key_file: calls that are up do not survive a restart\n",
      findings())
  end)

  it("knows what a key alone does not keep", function()
    route()
    sip.pool("pbx", { servers = { server() } })
    sip.settings { key_file = "/etc/tandem/key" }
    assert.equal("no state_dir: calls are not counted any more after a restart\n", findings())
  end)

  it("misses a route, and checks", function()
    sip.settings { state_dir = "/var/lib/tandem" }
    sip.pool("blind", { check = false, servers = { server() } })
    sip.pool("seeing", { check = false, servers = { server { check = { interval = 5 } } } })
    sip.pool("found", { discover = { "sip:pbx.example.com" } })
    assert.equal("pool 'blind' has no checks: a dead server is found by the calls that fail on it\n"
      .. "no sip.route: every call is answered with 405\n", findings())
  end)

  it("finds a tier in which nobody takes anything", function()
    route()
    sip.settings { state_dir = "/var/lib/tandem" }
    sip.pool("gw", { policy = "weighted", servers = {
      server { weight = 0 }, server { name = "b", weight = 0 },
      server { name = "c", weight = 1, tier = 2 }, server { name = "d", weight = 0, tier = 2 },
    } })
    sip.pool("pbx", { servers = { server { weight = 0 } } }) -- where weight is not looked at
    assert.equal("pool 'gw': every server of tier 1 has weight 0: none of them takes a call\n",
      findings())
  end)

  it("names the files that hold passwords, and the script when it holds one", function()
    local check = { method = "REGISTER", user = "1000", timeout = 1 }
    check.password = sip.data("secret.json").line
    sip.pool("one", { check = check, servers = sip.data "servers.json" })
    assert.equal("secret.json\n", declare.plan().secrets)
    sip.pool("two", { servers = { server { check = { method = "REGISTER", user = "1", timeout = 1,
      password = "in the script" } } } })
    assert.equal("\nsecret.json\n", declare.plan().secrets)
  end)
end)
