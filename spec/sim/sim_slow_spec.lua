-- The simulator's slow machine: work takes time, what comes meanwhile waits.
local policy = require "support.policy"
local sim = require "support.sim"

local uri = "sip:bob@example.com"

sim.for_workers("a slow node", function(workers)
  after_each(sim.finish)

  local w, net, node

  before_each(function()
    w = policy.world {
      workers = workers, servers = 1, before = "sip.settings { overload = false }",
    }
    net, node = w.net, w.net.nodes[1]
    net:run(1)
  end)

  local function fates(fate)
    local n = 0
    for _, packet in ipairs(net:packets()) do
      n = n + (packet.fate == fate and 1 or 0)
    end
    return n
  end

  it("takes one thing at a time, in its order", function()
    node:slow { receive = 0.1 }
    local calls = {}
    for i = 1, 5 do
      calls[i] = w.alice:request("MESSAGE", uri, { call_id = "one" .. i })
    end
    net:run(5)
    if workers == 1 then -- the first is at once; the others are before their answers
      for i, call in ipairs(calls) do
        assert.near(0.402 + i / 10, call.elapsed, 1e-6)
      end
    end
    local at = sim.seconds(w.a:got "MESSAGE")
    for i = 2, 5 do
      assert.is_true(at[i] > at[i - 1])
    end
  end)

  it("is busy with what it sends, and with what a script is given", function()
    local function took(cost)
      node:slow(cost)
      w.alice:ask("MESSAGE", uri) -- and this one waits for that
      local second = w.alice:ask("MESSAGE", uri)
      node:slow()
      net:run(1)
      return second.elapsed
    end
    local quick = took()
    assert.is_true(took { send = 0.02 } > quick + 0.015)
    assert.is_true(took { request = 0.02 } > quick + 0.015)
  end)

  it("loses what its socket does not take", function()
    node:slow { receive = 0.01, buffer = 1000 }
    local calls = {}
    for i = 1, 20 do
      calls[i] = w.alice:request("MESSAGE", uri)
    end
    net:run(0.3)
    local lost = fates "full"
    assert.is_true(lost > 10)
    node:slow()
    net:run(40)
    for _, call in ipairs(calls) do
      assert.equal(200, call.code) -- it was sent again
    end
  end)

  it("does nothing more when it is killed", function()
    node:slow { receive = 0.5 }
    for _ = 1, 5 do
      w.alice:request("MESSAGE", uri)
    end
    net:run(0.2)
    local n = #w.a:got "MESSAGE"
    node:crash()
    net:run(5)
    assert.equal(n, #w.a:got "MESSAGE")
    assert.is_true(fates "dead" >= 3)
  end)

  it("goes on after it was stopped", function()
    node:slow { receive = 0.1 }
    local calls = {}
    for i = 1, 4 do
      calls[i] = w.alice:request("MESSAGE", uri)
    end
    net:run(0.15)
    node:pause()
    net:run(0.5)
    node:resume()
    net:run(5)
    for _, call in ipairs(calls) do
      assert.equal(200, call.code)
    end
  end)

  it("is the same again with the same seed", function()
    local function run()
      local world = policy.world { workers = workers, servers = 1, seed = 5 }
      world.net.nodes[1]:slow { receive = 0.003, send = 0.002, request = 0.01 }
      for i = 1, 10 do
        world.net:after(i / 100, function()
          world.alice:request("MESSAGE", uri)
        end)
      end
      world.net:run(5)
      return world.net:trace_hash()
    end
    assert.equal(run(), run())
  end)
end)
