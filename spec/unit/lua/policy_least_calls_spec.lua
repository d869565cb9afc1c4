local choice = require "support.choice"

describe("policy least_calls", function()
  local policy, world

  before_each(function()
    policy, world = choice.policy "least_calls"
  end)

  local function load(servers, calls)
    for _, server in ipairs(servers) do
      local both = calls[server.name]
      server.facts:set("calls", both[1])
      server.facts:set("setup", both[2])
    end
  end

  it("takes the least loaded: set-up and confirmed calls", function()
    local servers = choice.servers(world, { a = 1, b = 1, c = 1 })
    load(servers, { a = { 3, 1 }, b = { 1, 1 }, c = { 0, 3 } })
    assert.same({ b = 50 }, choice.counts(policy, servers, 50))
  end)

  it("by weight, the new call included", function()
    local servers = choice.servers(world, { a = 10, b = 1 })
    assert.same({ a = 50 }, choice.counts(policy, servers, 50))
    load(servers, { a = { 9, 0 }, b = { 0, 0 } })
    assert.near(25, choice.counts(policy, servers, 50).a, 15) -- 10/10 and 1/1
    load(servers, { a = { 10, 0 }, b = { 0, 0 } })
    assert.same({ b = 50 }, choice.counts(policy, servers, 50))
  end)

  it("decides ties by the key, evenly", function()
    local servers = choice.servers(world, { a = 1, b = 1, c = 1, d = 1 })
    load(servers, { a = { 1, 0 }, b = { 0, 1 }, c = { 1, 0 }, d = { 2, 0 } })
    local counts = choice.counts(policy, servers, 3000)
    for _, name in ipairs { "a", "b", "c" } do
      assert.near(1000, counts[name], 100)
    end
    assert.is_nil(counts.d)
    assert.equal(choice.choose(policy, servers, "k"), choice.choose(policy, servers, "k"))
  end)

  describe("with resources", function()
    local function use(servers, used)
      for _, server in ipairs(servers) do
        for name, units in pairs(used[server.name]) do
          server.facts.resources[name] = units
        end
      end
    end

    local function chosen(servers, ...)
      return choice.choose(policy, servers, "k", { resources = { ... } })
    end

    local pstn, conf = { name = "pstn", units = 1 }, { name = "conf", units = 1 }

    it("takes the largest share that is left, not the largest number", function()
      local servers = choice.servers(world, { a = 1, b = 1 },
        { a = { resources = { pstn = 500 } }, b = { resources = { pstn = 100 } } })
      use(servers, { a = { pstn = 300 }, b = { pstn = 10 } }) -- 200 of 500, 90 of 100
      assert.equal("b", chosen(servers, pstn))
      use(servers, { a = { pstn = 40 }, b = { pstn = 10 } })
      assert.equal("a", chosen(servers, pstn))
    end)

    it("looks at the scarcest of those that the call takes", function()
      local both = { pstn = 100, conf = 10 }
      local servers = choice.servers(world, { a = 1, b = 1 },
        { a = { resources = both }, b = { resources = both } })
      use(servers, { a = { pstn = 10, conf = 8 }, b = { pstn = 60, conf = 2 } })
      assert.equal("a", chosen(servers, pstn))
      assert.equal("b", chosen(servers, conf))
      assert.equal("b", chosen(servers, pstn, conf))
      assert.equal("b", chosen(servers, conf, pstn))
    end)

    it("takes who lacks one last", function()
      local servers = choice.servers(world, { a = 1, b = 1 }, { b = { resources = { pstn = 2 } } })
      use(servers, { a = {}, b = { pstn = 2 } })
      assert.equal("b", chosen(servers, pstn))
    end)
  end)
end)
