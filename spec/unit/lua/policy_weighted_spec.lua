local choice = require "support.choice"

describe("policy weighted", function()
  local policy, world

  before_each(function()
    policy, world = choice.policy "weighted"
  end)

  it("gives each what its weight says, within 2 percentage points of 10 000", function()
    local servers = choice.servers(world, { a = 50, b = 30, c = 15, d = 5 })
    local counts = choice.counts(policy, servers, 10000)
    for name, percent in pairs { a = 50, b = 30, c = 15, d = 5 } do
      assert.near(percent, counts[name] / 100, 2)
    end
  end)

  it("always chooses the same for a key", function()
    local servers = choice.many(world, 20)
    for i = 1, 100 do
      local key = "k" .. i
      assert.equal(choice.choose(policy, servers, key), choice.choose(policy, servers, key))
    end
  end)

  it("draws the next by the weights of the others", function()
    local servers = choice.servers(world, { a = 60, b = 30, c = 10 })
    local view, seconds, n = policy:prepare(servers), {}, 0
    local rest = policy:prepare(choice.without(servers, "a"))
    for i = 1, 10000 do
      if choice.from(policy, view, "call-" .. i) == "a" then
        local name = choice.from(policy, rest, "call-" .. i, { step = 1 })
        seconds[name] = (seconds[name] or 0) + 1
        n = n + 1
      end
    end
    assert.near(75, 100 * seconds.b / n, 2.5)
    assert.near(25, 100 * seconds.c / n, 2.5)
  end)

  it("takes weight 0 for 1 when that is all there is", function()
    local counts = choice.counts(policy, choice.servers(world, { a = 0, b = 0 }), 1000)
    assert.near(500, counts.a, 50)
  end)

  it("does not repeat in a second pool what the first one drew", function()
    local other = world:require("tandem.policy.weighted").new { name = "behind" }
    local servers, same = choice.servers(world, { a = 1, b = 1 }), 0
    for i = 1, 1000 do
      local key = "call-" .. i
      same = same + (choice.choose(policy, servers, key) == choice.choose(other, servers, key)
        and 1 or 0)
    end
    assert.near(500, same, 60)
  end)
end)
