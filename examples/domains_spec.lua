-- Who gets to which servers, and what those are told about it.
local sim = require "tandem.sim"

describe("examples/domains.lua", function()
  local net, a1, a2, alice

  before_each(function()
    net = sim.new { script = "examples/domains.lua" }
    a1, a2 = net:uas("10.0.1.1", "a1"), net:uas("10.0.1.2", "a2")
    net:uas("10.0.2.1", "b1")
    alice = net:uac "192.0.2.7"
    net:run(5)
  end)

  after_each(function() net:finish() end)

  -- What a server was told about the caller, in as many headers as there were.
  local function told(server)
    local invites = server:got "INVITE"
    return invites[#invites]:list "X-Caller-Address"
  end

  it("gives every domain its own servers", function()
    assert.equal("a1", alice:call("sip:bob@alpha.example").server)
    assert.equal("b1", alice:call("sip:bob@beta.example").server)
    assert.equal("b1", alice:call("sip:bob@BETA.example").server)
    assert.equal(200, alice:ask("REGISTER", "sip:alpha.example").code)
    assert.equal(1, #a1:got "REGISTER")
  end)

  it("does not take a call for one domain to the servers of another", function()
    a1:refuse()
    a2:refuse()
    local call = alice:call "sip:bob@alpha.example"
    assert.equal(500, call.code)
    assert.same({ "a1", "a2" }, call.tried)
  end)

  for _, uri in ipairs {
    "sip:bob@gamma.example", "sip:bob@alpha.example.gamma.example", "sip:bob@192.0.2.99",
    "sip:bob@10.0.1.1",
  } do
    it("refuses " .. uri, function()
      local call = alice:call(uri)
      assert.equal(403, call.code)
      assert.same({}, call.tried)
    end)
  end

  it("tells the servers where the caller is", function()
    alice:call "sip:bob@alpha.example"
    assert.same({ "192.0.2.7" }, told(a1))
  end)

  it("believes no stranger who brings that header", function()
    alice:call("sip:bob@alpha.example", { headers = {
      { "X-Caller-Address", "10.0.0.1" }, { "x-caller-ADDRESS", "10.0.0.2, 10.0.0.3" },
    } })
    assert.same({ "192.0.2.7" }, told(a1))
  end)

  it("says the same to the backup", function()
    a1:refuse()
    alice:call("sip:bob@alpha.example", { headers = { ["X-Caller-Address"] = "10.0.0.1" } })
    assert.same({ "192.0.2.7" }, told(a2))
  end)

  it("believes an edge proxy, which says nothing of itself when it says nothing", function()
    local edge = net:uac "10.20.0.5"
    edge:call("sip:bob@alpha.example", { headers = { ["X-Caller-Address"] = "198.51.100.3" } })
    assert.same({ "198.51.100.3" }, told(a1))
    edge:call "sip:bob@alpha.example"
    assert.same({ "10.20.0.5" }, told(a1))
  end)

  it("lets servers call phones", function()
    assert.equal("192.0.2.7", a1:call("sip:alice@192.0.2.7").server)
  end)
end)
