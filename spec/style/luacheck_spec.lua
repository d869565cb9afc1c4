local sh = require "support.sh"

describe("luacheck", function()
  it("has nothing to say", function()
    local ok, output = sh.run "luacheck --no-color -q ."
    assert(ok, output)
  end)
end)
