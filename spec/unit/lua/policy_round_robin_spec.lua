local choice = require "support.choice"

describe("policy round_robin", function()
  local policy, world, servers

  before_each(function()
    policy, world = choice.policy "round_robin"
    servers = choice.servers(world, { a = 1, b = 5, c = 1 })
  end)

  local function names(n)
    local list = {}
    for i = 1, n do
      list[i] = choice.choose(policy, servers, "same key")
    end
    return table.concat(list)
  end

  it("takes one after the other, whatever the key and the weights", function()
    assert.equal("abcabca", names(7))
  end)

  it("has one turn for all workers", function()
    local other = world:require("tandem.policy.round_robin").new { name = "gw" }
    assert.equal("ab", names(2))
    assert.equal("c", choice.choose(other, servers, "x"))
    assert.equal("a", names(1))
  end)

  it("has a turn per pool", function()
    local other = world:require("tandem.policy.round_robin").new { name = "other" }
    assert.equal("ab", names(2))
    assert.equal("a", choice.choose(other, servers, "x"))
  end)

  it("gives a request one turn, and spreads what the first cannot take", function()
    local next_of = {}
    for _ = 1, 6 do
      local call = { key = "x", now = 0, step = 0 }
      local first = policy:choose(servers, call).name
      call.step = 1
      local second = policy:choose(choice.without(servers, first), call).name
      if first == "a" then
        next_of[#next_of + 1] = second
      end
      assert.not_equal(first, second)
    end
    assert.equal("abc", names(3))
    assert.same({ "b", "c" }, next_of)
  end)
end)
