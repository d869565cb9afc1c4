-- From what DNS gave to tiers and weights.
local ranking = require "tandem.dns.ranking"

local function place(target, n, rank, weight)
  return {
    target = target, addr = ("10.0.0.%d:5060;transport=udp"):format(n), rank = rank,
    weight = weight or 0,
  }
end

-- "10.0.0.1 tier/weight" of each.
local function ranked(answers, most)
  local list, dropped = ranking.of(answers, most or 16)
  local words = {}
  for i, item in ipairs(list) do
    words[i] = ("%s %d/%d"):format(item.addr:match "^10%.0%.0%.(%d+)", item.tier, item.weight)
  end
  return words, dropped
end

local function one(list, most)
  return ranked({ { uri = "sip:trunk", list = list } }, most)
end

describe("ranks of DNS", function()
  it("become tiers without gaps, first things first", function()
    assert.same({ "2 1/5", "3 2/1", "1 3/7" }, one {
      place("c", 1, 9, 7), place("a", 2, 0, 5), place("b", 3, 4, 1),
    })
  end)

  it("of the next name come after them", function()
    assert.same({ "1 1/1", "2 2/1", "3 3/1" }, ranked {
      { uri = "sip:one", list = { place("a", 1, 0), place("b", 2, 1) } },
      { uri = "sip:none", list = {} },
      { uri = "sip:two", list = { place("c", 3, 0) } },
    })
  end)

  it("keep the order of the addresses, whatever that of the answer", function()
    assert.same(one { place("a", 1, 0, 2), place("b", 2, 0, 3) },
      one { place("b", 2, 0, 3), place("a", 1, 0, 2) })
  end)

  it("name an address once, where it comes first", function()
    assert.same({ "1 1/1", "2 1/1" }, ranked {
      { uri = "sip:one", list = { place("a", 1, 0), place("b", 2, 0) } },
      { uri = "sip:two", list = { place("a", 1, 0) } },
    })
  end)

  it("are cut off where there are too many", function()
    local words, dropped = one({ place("a", 1, 0), place("b", 2, 1), place("c", 3, 2) }, 2)
    assert.same({ "1 1/1", "2 2/1" }, words)
    assert.equal(1, dropped)
  end)
end)

describe("weights of DNS", function()
  it("of 0 are a very small chance, or all the same", function()
    assert.same({ "1 1/60", "2 1/40", "3 1/1" }, one {
      place("a", 1, 0, 60), place("b", 2, 0, 40), place("c", 3, 0, 0),
    })
    assert.same({ "1 1/1", "2 1/1" }, one { place("a", 1, 0, 0), place("b", 2, 0, 0) })
  end)

  -- a has 60 of 100 whether it has one address or two or three.
  it("are a target's, however many addresses it has", function()
    assert.same({ "1 1/60", "2 1/60", "3 1/80" }, one {
      place("a", 1, 0, 60), place("a", 2, 0, 60), place("b", 3, 0, 40),
    })
    assert.same({ "1 1/120", "2 1/120", "3 1/120", "4 1/120", "5 1/120" }, one {
      place("a", 1, 0, 60), place("a", 2, 0, 60), place("a", 3, 0, 60),
      place("b", 4, 0, 40), place("b", 5, 0, 40),
    })
    assert.same({ "1 1/1", "2 1/1", "3 1/2" }, one {
      place("a", 1, 0, 1), place("a", 2, 0, 1), place("b", 3, 0, 1),
    })
  end)
end)
