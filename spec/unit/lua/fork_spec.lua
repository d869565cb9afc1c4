local fake = require "support.fake_core"
local pbx = require "support.pbx"

describe("req:fork", function()
  local world, pool, req

  before_each(function()
    world, pool = pbx.new({ "a", "b" }, { check = false, passive = { fall = 2 } })
    req = world:request()
  end)

  after_each(function()
    assert.same({}, world.errors)
    for _, server in ipairs(pool.servers) do
      assert.equal(0, server.inflight)
    end
  end)

  local function fork(targets, opts)
    return world:call(function()
      return req:fork(targets, opts)
    end)
  end

  it("asks all at once, with the limits of an attempt", function()
    local res = fork({ pool:server "a", pool:server "b", "sip:192.0.2.1" }, { timeout = 2 })
    assert.equal(200, res.code)
    assert.equal(1, #req.attempts)
    assert.same({ "pbx/a", "pbx/b", "sip:192.0.2.1" }, req.tried)
    assert.equal(2, req.attempts[1].opts.timeout)
    assert.equal(185, req.attempts[1].opts.ring_timeout)
  end)

  it("counts all of them in and out", function()
    world:server("pbx/a", "*", { code = 200, after = 3 })
    world:server("pbx/b", "*", { code = 200, after = 3 })
    world:task(function()
      req:fork { pool:server "a", pool:server "b" }
    end)
    world:run(1)
    assert.same({ 1, 1 }, { pool:server("a").inflight, pool:server("b").inflight })
    world:run(5)
  end)

  it("holds a common failure against all", function()
    world:server("pbx/a", "*", "silent")
    world:server("pbx/b", "*", "silent")
    fork { pool:server "a", pool:server "b" }
    local res, err = fork { pool:server "a", pool:server "b" }
    assert.is_nil(res)
    assert.equal("timeout", err)
    assert.equal("held", pool:server("a").status)
    assert.equal("up", pool:server("b").status) -- keep = 1
  end)

  it("goes by the attempt options of the pool", function()
    world, pool = pbx.new({ "a" }, { check = false, attempt = { timeout = 3 } })
    req = world:request()
    fork { pool:server "a" }
    assert.equal(3, req.attempts[1].opts.timeout)
  end)

  it("remembers who challenged, and tells of failure", function()
    local heard = {}
    world, pool = pbx.new({ "a", "b" }, { check = false }, { before = function(sip)
      sip.on("branch.failed", function(event)
        heard[#heard + 1] = event.cause
      end)
    end })
    req = world:request()
    world:server("pbx/b", "*", 401)
    fork { pool:server "b" }
    assert.same({ "b", "a" }, pbx.order(pool, req))
    world:server("pbx/b", "*", "refuse")
    fork { pool:server "b" }
    world:run(0)
    assert.same({ "refused" }, heard)
  end)

  it("counts an answer for who gave it only", function()
    world:server("pbx/a", "*", "refuse")
    for _ = 1, 2 do
      fork { pool:server "a", pool:server "b" }
    end
    assert.same({ "held", "up" }, { pool:server("a").status, pool:server("b").status })
  end)

  it("takes from one to eight targets", function()
    local many = {}
    for i = 1, 9 do
      many[i] = "sip:192.0.2." .. i
    end
    assert.equal("route.lua:14: req:fork: at most 8 targets, got 9", fake.message(fork, many))
    many[9] = nil
    assert.equal(200, fork(many).code)
    assert.same({ nil, "empty" }, { fork {} })
    assert.equal("route.lua:14: req:fork: a list of servers or SIP URIs expected, got string",
      fake.message(fork, "sip:192.0.2.1"))
    assert.equal("route.lua:14: req:fork: a server or a SIP URI expected, got number",
      fake.message(fork, { 5 }))
  end)

  it("follows redirections of redirections three times", function()
    local contacts = { { uri = "sip:bob@192.0.2.9" } }
    for _ = 1, 3 do
      assert.equal(200, fork(contacts).code)
    end
    assert.same({ nil, "depth" }, { fork(contacts) })
    assert.equal(200, fork({ "sip:192.0.2.1" }).code)
    req = world:request()
    assert.equal(200, fork(contacts).code)
  end)

  it("leaves out contacts that the caller may not reach", function()
    local contacts = { { uri = "sip:bob@forbidden" }, { uri = "sip:bob@192.0.2.9" } }
    assert.equal(200, fork(contacts).code)
    assert.same({ "sip:bob@192.0.2.9" }, req.tried)
    contacts[2] = nil
    assert.same({ nil, "forbidden" }, { fork(contacts) })
  end)
end)
