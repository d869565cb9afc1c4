-- One line for a request that failed.
local failure = require "tandem.control.failure"

describe("a failure", function()
  local function why(...)
    return failure({ call_id = "x", steps = { ... } }).why
  end

  it("names every attempt, and what came of it", function()
    assert.equal("pbx/a: no answer (silent); pbx/b: 503",
      why({ what = "received" }, { what = "choice", pool = "pbx", server = "a" },
        { what = "attempt", number = 1, server = "pbx/a" },
        { what = "failed", number = 1, cause = "silent" },
        { what = "attempt", number = 2, server = "pbx/b" },
        { what = "answer", number = 2, code = 503 },
        { what = "choice", pool = "pbx", none = "down" }))
  end)

  it("tells of attempts that a full trace has lost", function()
    assert.equal("?: 500", why { what = "answer", number = 3, code = 500 })
  end)

  it("says why there was none", function()
    assert.equal("pool pbx: no server, it has no servers",
      why { what = "choice", pool = "pbx", none = "empty" })
    assert.equal("the script failed: route.lua:3: boom",
      why { what = "error", message = "route.lua:3: boom" })
    assert.equal("refused with 483: Max-Forwards is used up", why { what = "refused", code = 483 })
  end)
end)
