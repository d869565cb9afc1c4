-- The specs beside the examples say nothing of workers, so that a user can copy them.
-- Here they run once more, on nodes of two.
local tree = require "support.tree"

local sim = require "tandem.sim"
local two = setmetatable({
  new = function(opts)
    opts.workers = 2
    return sim.new(opts)
  end,
}, { __index = sim })

local env = setmetatable({
  require = function(name)
    return name == "tandem.sim" and two or require(name)
  end,
}, { __index = _ENV })

describe("two workers:", function()
  it("are what the network has", function()
    local net = two.new { script = "examples/relay.lua" }
    assert.equal(2, net.nodes[1].workers)
    net:finish()
  end)

  for _, name in ipairs(tree.files("examples", "lua")) do
    if name:find "_spec%.lua$" then
      assert(loadfile(name, "t", env))()
    end
  end
end)
