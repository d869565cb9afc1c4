-- The examples, loaded over the fake core: what they decide. spec/sim runs them on
-- the real one.
local fake = require "support.fake_core"

local function load(name)
  local world = fake.new()
  local sip = world:require "tandem"
  local chunk = assert(loadfile(("examples/%s.lua"):format(name), "t", setmetatable({
    require = function(module)
      assert.equal("tandem", module)
      return sip
    end,
  }, { __index = _G })))
  chunk()
  world:start()
  return world
end

-- Runs the handler for a request; gives what it returned.
local function decide(world, req, kind)
  for _, handler in ipairs(world.handlers) do
    if handler.kind == (kind or "initial")
      and (handler.method == req.method or handler.method == nil) then
      return world:call(function()
        return handler.fn(req)
      end)
    end
  end
  error("nobody takes " .. req.method)
end

for _, name in ipairs { "failover", "relay" } do
  describe("examples/" .. name .. ".lua", function()
    local world, req

    before_each(function()
      world = load(name)
      world:run(5)
      req = world:request()
    end)

    after_each(function()
      assert.same({}, world.errors)
    end)

    it("sends calls to the primary", function()
      decide(world, req)
      assert.same({ "pbx/a" }, req.tried)
      assert.same({ "forward", 200 }, { req.verb, req.code })
    end)

    it("tries the backup within the same call", function()
      world:server("pbx/a", "INVITE", "silent")
      decide(world, req)
      assert.same({ "pbx/a", "pbx/b" }, req.tried)
      assert.equal(200, req.code)
    end)

    it("does not bother the backup when the callee is busy", function()
      world:server("pbx/a", "INVITE", 486)
      decide(world, req)
      assert.same({ "pbx/a" }, req.tried)
      assert.equal(486, req.code)
    end)

    it("keeps away from a server for the length of its Retry-After", function()
      world:server("pbx/a", "INVITE", { code = 503, retry_after = 30 })
      decide(world, req)
      assert.equal(200, req.code)
      world:server("pbx/a", "INVITE", 200)
      req = world:request()
      decide(world, req)
      assert.same({ "pbx/b" }, req.tried)
      world:run(31)
      req = world:request()
      decide(world, req)
      assert.same({ "pbx/a" }, req.tried)
    end)

    it("fails back only after the hold", function()
      world:server("pbx/a", "*", "silent")
      world:run(10)
      world:server("pbx/a", "*", 200)
      world:run(30)
      decide(world, req)
      assert.same({ "pbx/b" }, req.tried)
      world:run(60)
      req = world:request()
      decide(world, req)
      assert.same({ "pbx/a" }, req.tried)
    end)

    it("answers 500 when nobody does", function()
      world:server("pbx/a", "*", "silent")
      world:server("pbx/b", "*", "silent")
      decide(world, req)
      assert.same({ "reply", 500 }, { req.verb, req.code })
    end)

    it("makes one last attempt when all are down", function()
      world:server("pbx/a", "*", "silent")
      world:server("pbx/b", "*", "silent")
      world:run(10)
      decide(world, req)
      assert.same({ "pbx/a" }, req.tried)
      assert.equal(500, req.code)
    end)

    it("stops when the caller hangs up", function()
      world:server("pbx/a", "INVITE", "silent")
      req.cancel_at = world.node.now + 1
      decide(world, req)
      assert.same({ "pbx/a" }, req.tried)
      assert.is_nil(req.verb)
    end)
  end)
end

describe("examples/failover.lua", function()
  it("gives both silent servers 2 seconds each", function()
    local world = load "failover"
    world:run(5)
    world:server("pbx/a", "INVITE", "silent")
    world:server("pbx/b", "INVITE", "silent")
    local req, began = world:request(), world.node.now
    decide(world, req)
    assert.near(4, world.node.now - began, 0.01)
    assert.equal("No PBX available", req.reason)
  end)
end)

describe("examples/answer.lua", function()
  local world

  before_each(function()
    world = load "answer"
  end)

  local function request(fields)
    fields.listener = fields.listener or { ip = "127.0.0.1", port = 5080, transport = "udp" }
    fields.header = fields.header or function() end
    fields.headers = fields.headers or function()
      return {}
    end
    return world:request(fields)
  end

  local function header(req, name)
    for _, pair in ipairs(req.headers) do
      if pair[1] == name then
        return pair[2]
      end
    end
  end

  it("answers a call, saying where it is", function()
    local req = request { method = "INVITE" }
    decide(world, req)
    assert.equal(200, req.code)
    assert.equal("<sip:answer@127.0.0.1:5080;transport=udp>", header(req, "Contact"))
    assert.equal("application/sdp", header(req, "Content-Type"))
    assert.matches("^v=0\r\no=%- 1 1 IN IP4 127.0.0.1\r\n.*m=audio .*\r\n$", req.body)
  end)

  it("knows IPv6", function()
    local req = request {
      method = "INVITE", listener = { ip = "::1", port = 5080, transport = "udp" },
    }
    decide(world, req)
    assert.equal("<sip:answer@[::1]:5080;transport=udp>", header(req, "Contact"))
    assert.matches("c=IN IP6 ::1\r\n", req.body)
  end)

  it("answers checks and registrations", function()
    local req = request { method = "OPTIONS" }
    decide(world, req)
    assert.equal(200, req.code)
    req = request {
      method = "REGISTER",
      headers = function()
        return { "<sip:1000@192.0.2.7>" }
      end,
    }
    decide(world, req)
    assert.same({ 200, "<sip:1000@192.0.2.7>", "3600" },
      { req.code, header(req, "Contact"), header(req, "Expires") })
  end)

  it("answers what comes within a call", function()
    for _, method in ipairs { "BYE", "INFO" } do
      local req = request { method = method, body = "" }
      decide(world, req, "in_dialog")
      assert.equal(200, req.code)
    end
    local req = request { method = "INVITE", body = "v=0" }
    decide(world, req, "in_dialog")
    assert.matches("m=audio", req.body)
  end)
end)
