-- The line "request" that each request leaves in the log (operations).
local sim = require "support.sim"
local wire = require "support.wire"

sim.for_workers("the log line of a request", function(workers)
  after_each(sim.finish)

  local function line(net)
    local found
    for _, event in ipairs(net.events) do
      if event.event == "request" and event.method == "INVITE" then
        assert.is_nil(found, "two lines for one request")
        found = event
      end
    end
    return found
  end

  it("says the final answer and how long it took", function()
    local net, a, _, alice = wire.world { workers = workers, handler = wire.single }
    a:ring(3)
    alice:call("sip:bob@example.com")
    net:run(1)
    assert.equal(200, line(net).code)
    assert.near(3, line(net).total, 0.1)
  end)

  -- Such a request is kept for its repetitions, long after the answer.
  it("says the same of a 2xx that an on_response function has edited", function()
    local net, a, _, alice = wire.world { workers = workers, handler = [[
      local res = req:try(a, { on_response = function(res) res:set_header("X-Way", "a") end })
      return res:forward()
    ]] }
    a:ring(3)
    alice:call("sip:bob@example.com")
    net:run(60)
    assert.equal(200, line(net).code)
    assert.near(3, line(net).total, 0.1)
  end)

  it("does not count what the handler did afterwards", function()
    local net, a, _, alice = wire.world { workers = workers, before = "", handler = [[
      local res = req:try(a)
      res:forward()
      sip.sleep(20)
    ]] }
    a:answer("INVITE", 486)
    alice:call("sip:bob@example.com")
    net:run(60)
    assert.equal(486, line(net).code)
    assert.near(0, line(net).total, 0.1)
  end)
end)
