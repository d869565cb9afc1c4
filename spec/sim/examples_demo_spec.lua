-- examples/demo: what `make demo` runs, each on its own.
local sim = require "tandem.sim"

describe("examples/demo/route.lua", function()
  it("moves calls to the backup and back, in seconds", function()
    local net = sim.new { script = "examples/demo/route.lua", seed = 1 }
    local a, b = net:uas("127.0.0.1:5091", "a"), net:uas("127.0.0.1:5092", "b")
    local alice = net:uac("127.0.0.1:5099", "alice")
    local uri = "sip:bob@127.0.0.1:5090"
    net:run(2)
    assert.equal("a", alice:call(uri).server)
    a:crash()
    assert.same({ "a", "b" }, alice:call(uri).tried)
    net:run(2)
    assert.equal("down", net.pools.pbx.a.status)
    assert.same({ "b" }, alice:call(uri).tried)
    a:resume()
    net:run(2)
    assert.equal("held", net.pools.pbx.a.status)
    assert.same({ "b" }, alice:call(uri).tried)
    net:run(4)
    assert.same({ "a" }, alice:call(uri).tried)
    assert.equal(0, a.unacked + b.unacked)
    net:finish()
  end)
end)

describe("examples/demo/caller.lua", function()
  it("places one call, hangs up and tells", function()
    local net = sim.new { script = "examples/demo/caller.lua", seed = 1 }
    local proxy = net:uas("127.0.0.1:5090", "proxy")
    net:run(3)
    local told
    for _, event in ipairs(net.events) do
      told = event.message == "call ended" and event or told
    end
    assert.equal("200", ("%d"):format(told.code))
    assert.equal(1, #proxy:got "INVITE")
    assert.equal(1, #proxy:got "ACK")
    assert.equal(1, #proxy:got "BYE")
    net:finish()
  end)
end)
