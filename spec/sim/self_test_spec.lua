-- sip.self_test: what a script says about itself before it runs.
local policy = require "support.policy"
local sim = require "support.sim"

local function script(body)
  return ([[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { check = false, servers = { { name = "a", uri = "sip:10.0.0.1" } } })
sip.route(function(req) return req:relay(pbx) end)
%s]]):format(body)
end

local function problem(body)
  return policy.load_error(script(body))
end

describe("sip.self_test", function()
  it("refuses with the line of an assertion", function()
    assert.equal("script.lua:6: self-test: no backup", problem
[[sip.self_test(function()
  assert(#pbx.servers == 2, "no backup")
end)]])
  end)

  it("refuses with the line of an error, and of a mistake", function()
    assert.equal("script.lua:5: self-test: so not",
      problem 'sip.self_test(function() error "so not" end)')
    assert.matches("^script.lua:5: self%-test: attempt to index a nil value",
      problem "sip.self_test(function() return pbx:server('b').name end)")
  end)

  it("runs all of them, in their order", function()
    assert.equal("script.lua:7: self-test: 1", problem
[[local n = 0
sip.self_test(function() n = n + 1 end)
sip.self_test(function() error(tostring(n)) end)]])
  end)

  it("sees the pools, whatever is declared after it", function()
    assert.is_nil(problem [[
local late
sip.self_test(function()
  local a = pbx:server "a"
  assert(pbx.name == "pbx" and a.uri == "sip:10.0.0.1" and a.tier == 1 and a.weight == 1)
  assert(late:server("x").tier == 2)
end)
late = sip.pool("late", { check = false, servers = {
  { name = "x", uri = "sip:10.0.0.9", tier = 2 } } })
]])
  end)

  it("names the line that an error is blamed on", function()
    assert.equal("script.lua:7: self-test: wrong number", problem
[[local function check(n) if n > 1 then error("wrong number", 2) end end
sip.self_test(function()
  check(2)
end)]])
  end)

  it("declares nothing", function()
    assert.equal("script.lua:5: self-test: sip.pool declares, and a self-test looks at what is "
      .. "declared already", problem
"sip.self_test(function() sip.pool('x', { servers = {} }) end)")
  end)

  it("cannot wait, ask or change anything", function()
    for _, verb in ipairs {
      "sip.sleep(1)", "sip.request { method = 'OPTIONS', uri = 'sip:10.0.0.1' }",
      "sip.spawn(function() end)", "pbx:server('a'):drain()",
    } do
      local why = problem(("sip.self_test(function() %s end)"):format(verb))
      assert.matches("^script.lua:5: self%-test: ", why, 1)
    end
  end)

  it("is asked for functions, while loading", function()
    assert.equal("script.lua:5: sip.self_test: a function expected, got nil",
      problem "sip.self_test()")
  end)
end)

sim.for_workers("a self-test", function(workers)
  after_each(sim.finish)

  it("refuses a reload in all workers", function()
    local w = policy.world { workers = workers, source = script "" }
    local node = w.net.nodes[1]
    local ok, why = node:reload { source = script 'sip.self_test(function() error "no" end)' }
    assert.is_nil(ok)
    assert.equal("script.lua:5: self-test: no", why)
    assert.equal(1, node.generation)
    assert.equal(200, w.alice:call("sip:bob@example.com").code)
    assert.is_true(node:reload { source = script "sip.self_test(function() end)" })
    assert.equal(2, node.generation)
  end)
end)
