local fake = require "support.fake_core"
local pbx = require "support.pbx"

describe("req:reply", function()
  local world, req

  before_each(function()
    world = pbx.new({ "a" }, { check = false })
    req = world:request()
  end)

  local function message(...)
    return fake.message(req.reply, req, ...)
  end

  it("hands code, reason, headers and body to the core", function()
    req:reply(200, "Fine", {
      headers = {
        ["X-B"] = { "1", "2" }, ["Content-Type"] = "text/plain",
        ["X-D"] = "4", ["X-C"] = "3", ["X-A"] = "0",
      },
      body = "hello",
    })
    assert.same({ 200, "Fine", "hello" }, { req.code, req.reason, req.body })
    assert.same({
      { "Content-Type", "text/plain" }, { "X-A", "0" }, { "X-B", "1" }, { "X-B", "2" },
      { "X-C", "3" }, { "X-D", "4" },
    }, req.headers)
  end)

  it("needs no more than a code", function()
    req:reply(699)
    req = world:request()
    req:reply(486)
    assert.same({ 486, {} }, { req.code, req.headers })
    assert.is_nil(req.reason)
  end)

  it("takes response codes only", function()
    for _, code in ipairs { 99, 700, 200.5, "200" } do
      assert.matches("a response code from 100 to 699 expected, got " .. code, message(code))
    end
    assert.matches("got nil", message())
  end)

  it("gives no 408 to anything but INVITE", function()
    req:reply(408)
    req = world:request { method = "REGISTER" }
    assert.equal("route.lua:14: req:reply: 408 is no answer to REGISTER; "
      .. "end without a reply: req:drop(why)", message(408))
  end)

  it("lets nothing be smuggled in", function()
    assert.matches("the reason cannot contain control characters", message(200, "OK\r\nX: y"))
    for _, value in ipairs { "a\r\nX: y", "a\nX: y", "a\0b" } do
      assert.matches("headers: X%-A: a value cannot contain CR, LF or NUL",
        message(200, nil, { headers = { ["X-A"] = value } }))
    end
    assert.matches("headers: 'X A' is no header name",
      message(200, nil, { headers = { ["X A"] = "1" } }))
    assert.matches("headers: 'X:\r\nY' is no header name",
      message(200, nil, { headers = { ["X:\r\nY"] = "1" } }))
    assert.matches("headers: X%-A: a string expected, got number",
      message(200, nil, { headers = { ["X-A"] = 5 } }))
    assert.matches("headers: X%-A: a string expected, got boolean",
      message(200, nil, { headers = { ["X-A"] = { true } } }))
  end)

  it("leaves to the core what is the core's", function()
    for _, name in ipairs {
      "Via", "v", "From", "f", "To", "t", "CALL-ID", "i", "CSeq", "Content-Length", "l",
      "Max-Forwards",
    } do
      assert.matches("headers: the core writes " .. name:gsub("%-", "%%-") .. " itself",
        message(200, nil, { headers = { [name] = "1" } }))
    end
  end)

  it("wants to know what a body is", function()
    assert.equal("route.lua:14: req:reply: a body needs a Content-Type header",
      message(200, nil, { body = "v=0" }))
    req:reply(200, nil, { body = "v=0", headers = { ["content-type"] = "application/sdp" } })
    assert.equal("v=0", req.body)
  end)

  it("knows its options", function()
    assert.equal("route.lua:14: req:reply: unknown option 'header'; did you mean 'headers'?",
      message(200, nil, { header = {} }))
    assert.matches("reason: a string expected, got table", message(200, { headers = {} }))
  end)
end)

describe("res:forward", function()
  local world, pool, req

  local function answer(code)
    world, pool = pbx.new({ "a" }, { check = false })
    world:server("pbx/a", "*", code)
    req = world:request()
    return world:call(function()
      return req:try(pool:server "a")
    end)
  end

  it("passes a response on, a 503 as 500", function()
    answer(404):forward()
    assert.equal(404, req.code)
    answer(503):forward()
    assert.equal(500, req.code)
    answer(503):forward { keep_503 = true }
    assert.equal(503, req.code)
  end)

  it("knows its options", function()
    local res = answer(503)
    assert.equal("route.lua:14: res:forward: unknown option 'keep503'; did you mean 'keep_503'?",
      fake.message(res.forward, res, { keep503 = true }))
  end)
end)
