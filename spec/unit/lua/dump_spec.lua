local dump = require "tandem.config.dump"
local cjson = require "cjson"
local frozen = require "tandem.config.frozen"

describe("the canonical dump", function()
  it("sorts keys", function()
    assert.equal('{"a":1,"b":{"x":true,"y":false},"c":[1,2]}',
      dump { c = { 1, 2 }, b = { y = false, x = true }, a = 1 })
  end)

  it("writes a number one way only", function()
    assert.equal("[2,2,0.1,-3,1e+100]", dump { 2, 2.0, 0.1, -3, 1e100 })
  end)

  it("escapes what JSON escapes", function()
    local text = 'a"b\\c\n\t\r\1'
    assert.equal('"a\\"b\\\\c\\n\\t\\r\\u0001"', dump(text))
    assert.equal(text, cjson.decode(dump { text })[1])
  end)

  it("shows functions as such, and reads views", function()
    assert.equal('{"policy":"function"}', dump(frozen { policy = function() end }))
    assert.equal("{}", dump {})
  end)
end)
