local choice = require "support.choice"

describe("policy hash", function()
  local function keys(policy, servers, n, more)
    local view, map = policy:prepare(servers), {}
    for i = 1, n do
      map[i] = choice.from(policy, view, "key-" .. i, more)
    end
    return map
  end

  it("spreads keys evenly, or by weight", function()
    local policy, world = choice.policy "hash"
    local counts = choice.counts(policy, choice.many(world, 10), 10000)
    for _, count in pairs(counts) do
      assert.near(1000, count, 130)
    end
    counts = choice.counts(policy, choice.servers(world, { a = 3, b = 1 }), 10000)
    assert.near(75, counts.a / 100, 2)
  end)

  it("moves nobody but the keys of a server that goes", function()
    local policy, world = choice.policy "hash"
    local servers = choice.many(world, 10)
    local before = keys(policy, servers, 5000)
    local after = keys(policy, choice.without(servers, "s004"), 5000)
    local moved = {}
    for i, name in ipairs(before) do
      if name == "s004" then
        moved[after[i]] = (moved[after[i]] or 0) + 1
      else
        assert.equal(name, after[i])
      end
    end
    assert.is_nil(moved.s004)
    for i = 1, 10 do
      local name = ("s%03d"):format(i)
      assert(i == 4 or moved[name] > 30, name) -- to everybody
    end
  end)

  it("moves a few keys when a weight changes", function()
    local policy, world = choice.policy "hash"
    local servers = choice.servers(world, { a = 10, b = 10 })
    local before = keys(policy, servers, 5000)
    servers[2].weight = 11
    local moved = 0
    for i, name in ipairs(keys(policy, servers, 5000)) do
      moved = moved + (name ~= before[i] and 1 or 0)
      assert(name == before[i] or name == "b")
    end
    assert.near(5000 * (11 / 21 - 10 / 20), moved, 60)
  end)

  it("is the same in another process, whatever the order there", function()
    local policy, world = choice.policy "hash"
    local other, far = choice.policy "hash"
    local servers, reversed = choice.many(world, 10), {}
    for i, server in ipairs(choice.many(far, 10)) do
      reversed[11 - i] = server
    end
    assert.same(keys(policy, servers, 2000), keys(other, reversed, 2000))
  end)

  describe("with bound", function()
    it("gives nobody more than that times the mean load", function()
      local policy, world = choice.policy("hash", { bound = 1.25 })
      local servers, busiest = choice.many(world, 10), 0
      local view = policy:prepare(servers)
      for i = 1, 1000 do -- keys of a few tenants: unbounded, 2 servers would have most
        local name = choice.from(policy, view, "tenant-" .. i % 3)
        local facts = world.node.facts["gw/" .. name]
        facts:add("calls", 1)
        busiest = math.max(busiest, facts:get "calls")
        assert(facts:get "calls" <= math.ceil(1.25 * i / 10), name)
      end
      assert.equal(125, busiest)
    end)

    it("by weight", function()
      local policy, world = choice.policy("hash", { bound = 1.25 })
      local servers = choice.servers(world, { a = 3, b = 1 })
      local view = policy:prepare(servers)
      for i = 1, 400 do
        local facts = world.node.facts["gw/" .. choice.from(policy, view, "one key")]
        facts:add("calls", 1)
        assert(servers[1].facts:get "calls" <= math.ceil(1.25 * i * 3 / 4))
        assert(servers[2].facts:get "calls" <= math.ceil(1.25 * i / 4))
      end
    end)

    it("leaves a key where it is while there is room", function()
      local policy, world = choice.policy("hash", { bound = 2 })
      local plain = choice.policy "hash"
      local servers = choice.many(world, 10)
      for _, server in ipairs(servers) do
        server.facts:set("calls", 10)
      end
      assert.same(keys(plain, servers, 500), keys(policy, servers, 500))
    end)
  end)
end)
