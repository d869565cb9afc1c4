local schema = require "tandem.config.schema"

local function fails(item, value)
  local result, message = schema.validate("it", item, value)
  assert.is_nil(result)
  return message
end

local function gives(item, value)
  local result, message = schema.validate("it", item, value)
  assert.is_nil(message)
  return result
end

describe("schema", function()
  it("numbers: type and range", function()
    local item = schema.number { min = 1, max = 5 }
    assert.equal(2.5, gives(item, 2.5))
    assert.equal("it: a number expected, got string", fails(item, "2"))
    assert.equal("it: at least 1 expected, got 0", fails(item, 0))
    assert.equal("it: at most 5 expected, got 6", fails(item, 6))
    assert.equal("it: more than 0 expected, got 0", fails(schema.number { above = 0 }, 0))
  end)

  it("numbers: neither NaN nor infinity", function()
    assert.matches("^it: a number expected, got %-?nan", fails(schema.number(), 0 / 0))
    assert.equal("it: a number expected, got inf", fails(schema.number(), math.huge))
  end)

  it("durations: say so, and are not negative", function()
    assert.equal("it: a number of seconds expected, got string", fails(schema.seconds(), "1s"))
    assert.equal("it: at least 0 expected, got -1", fails(schema.seconds(), -1))
    assert.equal(0, gives(schema.seconds(), 0))
    assert.equal("it: at least 0 expected, got -1", fails(schema.seconds { max = 5 }, -1))
    assert.equal("it: more than 0 expected, got 0", fails(schema.seconds { above = 0 }, 0))
  end)

  it("durations: are no longer than the core can count", function()
    assert.equal(1e9, gives(schema.seconds(), 1e9))
    for _, item in ipairs { schema.seconds(), schema.seconds { above = 0 } } do
      assert.equal("it: at most 1000000000 expected, got 1e+300", fails(item, 1e300))
    end
  end)

  it("whole numbers: 2.0 becomes 2, 2.5 is wrong", function()
    assert.equal("integer", math.type(gives(schema.integer(), 2.0)))
    assert.equal("it: a whole number expected, got 2.5", fails(schema.integer(), 2.5))
  end)

  it("words: with a suggestion", function()
    local item = schema.word { "try", "fail", "wait" }
    assert.equal("fail", gives(item, "fail"))
    assert.equal("it: 'try', 'fail' or 'wait' expected, got 'fial'; did you mean 'fail'?",
      fails(item, "fial"))
    assert.equal("it: 'try', 'fail' or 'wait' expected, got 1", fails(item, 1))
  end)

  it("strings that match", function()
    local item = schema.matching("%a+", "letters")
    assert.equal("abc", gives(item, "abc"))
    assert.equal("it: letters expected, got 'a b'", fails(item, "a b"))
    assert.equal("it: letters expected, got boolean", fails(item, true))
  end)

  it("lists: every item, no other keys, number of items", function()
    local item = schema.list(schema.integer(), { min = 1, max = 2 })
    assert.same({ 1, 2 }, gives(item, { 1, 2 }))
    assert.equal("it: [2]: a whole number expected, got string", fails(item, { 1, "x" }))
    assert.equal("it: a list expected, got a table with 'x'", fails(item, { 1, x = 2 }))
    assert.equal("it: a list expected, got number", fails(item, 1))
    assert.equal("it: 1 to 2 items expected, got 3", fails(item, { 1, 2, 3 }))
    assert.equal("it: 1 to 2 items expected, got 0", fails(item, {}))
  end)

  it("false, or something", function()
    local item = schema.off_or(schema.integer())
    assert.is_false(gives(item, false))
    assert.equal(1, gives(item, 1))
    assert.equal("it: a whole number expected, got boolean", fails(item, true))
  end)

  describe("records", function()
    local item = schema.record {
      check = schema.default(schema.record {
        interval = schema.default(schema.seconds(), 2),
        timeout = schema.default(schema.seconds(), 1),
      }, {}),
      servers = schema.required(schema.list(schema.record { tier = schema.integer() })),
    }

    it("fill in defaults, also nested ones, in a copy", function()
      local given = { servers = { { tier = 3 } } }
      local out = gives(item, given)
      assert.same({ interval = 2, timeout = 1 }, out.check)
      assert.equal(3, out.servers[1].tier)
      assert.is_nil(given.check)
      assert.not_equal(given.servers, out.servers)
    end)

    it("want what is required", function()
      assert.equal("it: 'servers' is missing", fails(item, {}))
    end)

    it("know no other option, and say which was meant", function()
      assert.equal("it: unknown option 'servres'; did you mean 'servers'?",
        fails(item, { servres = {} }))
      assert.equal("it: unknown option 'check.intervall'; did you mean 'check.interval'?",
        fails(item, { servers = {}, check = { intervall = 1 } }))
      assert.equal("it: unknown option 'servers[2].teir'; did you mean 'servers[2].tier'?",
        fails(item, { servers = { {}, { teir = 1 } } }))
      assert.equal("it: unknown option 'xyzzy'", fails(item, { servers = {}, xyzzy = 1 }))
      assert.equal("it: unknown option '[1]'", fails(item, { "a" }))
    end)

    it("say where a wrong value is", function()
      assert.equal("it: check.interval: a number of seconds expected, got string",
        fails(item, { servers = {}, check = { interval = "2" } }))
      assert.equal("it: servers[1].tier: a whole number expected, got string",
        fails(item, { servers = { { tier = "x" } } }))
      assert.equal("it: servers[1]: a table of options expected, got string",
        fails(item, { servers = { "sip:10.0.0.1" } }))
    end)

    it("can be looked at as a whole", function()
      local pair = schema.record({ a = schema.integer(), b = schema.integer() }, function(out)
        return out.a > out.b and "a is more than b" or nil
      end)
      assert.same({ a = 1, b = 2 }, gives(pair, { a = 1, b = 2 }))
      assert.equal("it: in: a is more than b",
        fails(schema.record { ["in"] = pair }, { ["in"] = { a = 2, b = 1 } }))
    end)
  end)
end)
