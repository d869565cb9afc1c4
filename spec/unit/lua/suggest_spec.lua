local suggest = require "tandem.config.suggest"

describe("suggest.distance", function()
  it("counts insertions, deletions, replacements and swaps", function()
    assert.equal(0, suggest.distance("servers", "servers"))
    assert.equal(1, suggest.distance("servres", "servers"))
    assert.equal(1, suggest.distance("server", "servers"))
    assert.equal(1, suggest.distance("sservers", "servers"))
    assert.equal(1, suggest.distance("servars", "servers"))
    assert.equal(3, suggest.distance("kitten", "sitting"))
    assert.equal(4, suggest.distance("", "tier"))
  end)
end)

describe("suggest.hint", function()
  local words = { "check", "keep", "servers" }

  it("names the nearest word", function()
    assert.equal("; did you mean 'servers'?", suggest.hint("servres", words))
    assert.equal("; did you mean 'check'?", suggest.hint("CHECK", words))
  end)

  it("puts the prefix before it", function()
    assert.equal("; did you mean 'pool.keep'?", suggest.hint("kepe", words, "pool."))
  end)

  it("is silent when nothing is near, or when it was no word", function()
    assert.equal("", suggest.hint("policy", words))
    assert.equal("", suggest.hint(7, words))
    assert.equal("", suggest.hint(("x"):rep(1000), words))
  end)
end)
