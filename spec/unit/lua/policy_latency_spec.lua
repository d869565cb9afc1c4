local choice = require "support.choice"

describe("policy latency", function()
  local policy, world, servers, view

  before_each(function()
    policy, world = choice.policy "latency"
    servers = choice.servers(world, { a = 1, b = 1, c = 1 })
    view = policy:prepare(servers)
  end)

  -- Milliseconds: a, b, c.
  local function measure(...)
    for i, ms in ipairs { ... } do
      servers[i].facts:set("latency", ms * 1000)
    end
  end

  -- Who is chosen at a time, over many keys.
  local function chosen(now)
    local seen = {}
    for i = 1, 60 do
      seen[choice.from(policy, view, "call-" .. i, { now = now })] = true
    end
    return (seen.a and "a" or "") .. (seen.b and "b" or "") .. (seen.c and "c" or "")
  end

  it("takes the fastest", function()
    measure(50, 20, 90)
    assert.equal("b", chosen(0))
  end)

  it("tries first who has not answered yet", function()
    measure(50, 0, 90)
    assert.equal("b", chosen(0))
    measure(50, 70, 90)
    assert.equal("a", chosen(1))
  end)

  it("takes servers that differ little for equals; the key decides", function()
    measure(50, 59, 90)
    assert.equal("ab", chosen(0))
    local first = choice.from(policy, view, "k", { now = 0 })
    for _ = 1, 10 do
      assert.equal(first, choice.from(policy, view, "k", { now = 0 }))
    end
  end)

  it("takes servers in one rack for equals", function()
    measure(1, 2, 4)
    assert.equal("ab", chosen(0))
  end)

  it("does not change its mind for noise", function()
    measure(50, 59, 90)
    assert.equal("ab", chosen(0))
    measure(50, 68, 90) -- joined within 20 %: stays within 40 %
    assert.equal("ab", chosen(1))
    measure(50, 75, 90)
    assert.equal("a", chosen(2))
    measure(50, 68, 90) -- and is not back before it is within 20 %
    assert.equal("a", chosen(3))
    measure(50, 60, 90)
    assert.equal("ab", chosen(4))
  end)

  it("remembers that when the usable servers change", function()
    measure(50, 59, 90)
    assert.equal("ab", chosen(0))
    measure(50, 68, 90)
    view = policy:prepare(choice.without(servers, "c"))
    assert.equal("ab", chosen(0))
  end)

  it("looks once a second", function()
    measure(50, 20, 90)
    assert.equal("b", chosen(0))
    measure(10, 20, 90)
    assert.equal("b", chosen(0.9))
    assert.equal("a", chosen(1))
  end)
end)
