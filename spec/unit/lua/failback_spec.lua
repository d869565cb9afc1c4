local failback = require "tandem.health.failback"

describe("failback.duration", function()
  it("is the hold after one fall, and doubles with each further one", function()
    assert.equal(30, failback.duration(1, 30, 600))
    assert.equal(60, failback.duration(2, 30, 600))
    assert.equal(120, failback.duration(3, 30, 600))
    assert.equal(480, failback.duration(5, 30, 600))
  end)

  it("ends at hold_max", function()
    assert.equal(600, failback.duration(6, 30, 600))
    assert.equal(600, failback.duration(1000, 30, 600))
  end)

  it("is the plain hold when the fall is so long ago that it does not count", function()
    assert.equal(30, failback.duration(0, 30, 600))
  end)

  it("is nothing without a hold", function()
    assert.equal(0, failback.duration(4, 0, 600))
  end)
end)

describe("failback.recent", function()
  it("forgets falls older than the window", function()
    assert.same({ 500, 900 }, failback.recent({ 100, 400, 500, 900 }, 600, 1000))
    assert.same({}, failback.recent({ 100 }, 600, 700))
  end)

  it("is what takes the calls from a later tier, or from further down an ordered list",
    function()
      local ordered, balanced = { is_ordered = true }, { is_ordered = false }
      local function server(pool, index, tier)
        return { pool = pool, index = index, tier = tier }
      end
      assert.is_true(failback.takes_from(server(balanced, 2, 1), server(balanced, 1, 2)))
      assert.is_false(failback.takes_from(server(ordered, 1, 2), server(ordered, 2, 1)))
      assert.is_true(failback.takes_from(server(ordered, 1, 1), server(ordered, 2, 1)))
      assert.is_false(failback.takes_from(server(ordered, 2, 1), server(ordered, 1, 1)))
      assert.is_false(failback.takes_from(server(balanced, 1, 1), server(balanced, 2, 1)))
    end)

  it("remembers a bounded number", function()
    local falls = {}
    for i = 1, 100 do
      falls[i] = i
    end
    local recent = failback.recent(falls, 1000, 100)
    assert.equal(32, #recent)
    assert.equal(100, recent[32])
  end)
end)
