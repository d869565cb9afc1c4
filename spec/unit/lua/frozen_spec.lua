local frozen = require "tandem.config.frozen"

describe("a frozen table", function()
  local source, view
  before_each(function()
    source = { "x", "y", name = "n", deep = { 1, 2 } }
    view = frozen(source)
  end)

  it("reads as what it was made of", function()
    assert.equal(2, #view)
    assert.equal("n", view.name)
    assert.equal(2, view.deep[2])
    assert.equal(2, #view.deep)
    assert.is_nil(view.other)
  end)

  it("works with ipairs and pairs", function()
    local list, seen = {}, {}
    for i, item in ipairs(view) do
      list[i] = item
    end
    for key, item in pairs(view) do
      seen[key] = item
    end
    assert.same({ "x", "y" }, list)
    assert.equal("n", seen.name)
    assert.equal("x", seen[1])
    assert.equal(view.deep, seen.deep)
  end)

  it("cannot be changed, neither at the top nor deep down", function()
    assert.error_matches(function() view.name = 1 end,
      "'name' cannot be set: this table is read%-only")
    assert.error_matches(function() view.new = 1 end, "'new' cannot be set")
    assert.error_matches(function() view.deep[1] = 9 end, "'1' cannot be set")
    assert.error(function() setmetatable(view, {}) end)
  end)

  it("does not follow changes of the source", function()
    source.name = "other"
    source.deep[1] = 9
    assert.equal("n", view.name)
    assert.equal(1, view.deep[1])
  end)

  it("keeps objects as they are", function()
    local object = setmetatable({}, {})
    assert.equal(object, frozen { object }[1])
    assert.equal(view, frozen(view))
    assert.equal(5, frozen(5))
  end)
end)
