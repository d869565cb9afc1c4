-- The shipped policy: who is tried, for how long, and what the caller hears.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

describe("req:relay", function()
  local world, pool, req

  local function setup(names, options)
    options = options or {}
    options.check = options.check or false
    world, pool = pbx.new(names, options)
    req = world:request()
  end

  before_each(function()
    setup({ a = 1, b = 2, c = 3 })
  end)

  after_each(function()
    assert.same({}, world.errors)
    for _, server in ipairs(pool.servers) do
      assert.equal(0, server.inflight)
    end
  end)

  local function act(acts)
    for name, what in pairs(acts) do
      world:server("pbx/" .. name, "*", what)
    end
  end

  -- The result, and the seconds it took.
  local function relay(opts, target)
    local began = world.node.now
    local ok, why = world:call(function()
      return req:relay(target or pool, opts)
    end)
    return ok, why, world.node.now - began
  end

  local function timeouts()
    local list = {}
    for i, attempt in ipairs(req.attempts) do
      list[i] = attempt.opts.timeout or "-"
    end
    return list
  end

  it("passes the answer of the first server on", function()
    for _, code in ipairs { 200, 302, 401, 404, 486, 500, 504, 603 } do
      req = world:request()
      act { a = code }
      assert.is_true((relay()))
      assert.same({ "pbx/a" }, req.tried)
      assert.same({ "forward", code }, { req.verb, req.code })
    end
  end)

  it("tries the next one after silence, within the same request", function()
    act { a = "silent" }
    local ok, _, took = relay()
    assert.is_true(ok)
    assert.same({ "pbx/a", "pbx/b" }, req.tried)
    assert.equal(200, req.code)
    assert.near(4.01, took, 0.001)
  end)

  it("tries the next one after a refusal and after a 503", function()
    act { a = "refuse" }
    local _, _, took = relay()
    assert.equal(200, req.code)
    assert(took < 0.1)
    req = world:request()
    act { a = 503 }
    relay()
    assert.same({ "pbx/a", "pbx/b" }, req.tried)
    assert.equal(200, req.code)
  end)

  it("gives the last candidate its time: the second attempt by default", function()
    act { a = "silent", b = "silent" }
    local _, _, took = relay()
    assert.same({ "pbx/a", "pbx/b" }, req.tried)
    assert.same({ 4, 32 }, timeouts())
    assert.near(36, took, 0.001)
    assert.same({ "reply", 500 }, { req.verb, req.code })
  end)

  it("knows the last candidate when servers run out before attempts do", function()
    act { a = "silent", b = "silent", c = "silent" }
    relay { attempts = 5, timeout = 2, last_timeout = 7 }
    assert.same({ 2, 2, 7 }, timeouts())
  end)

  it("gives the only server the last timeout", function()
    setup { "a" }
    act { a = "silent" }
    relay { timeout = 2 }
    assert.same({ 32 }, timeouts())
  end)

  it("derives the last timeout from T1", function()
    world, pool = pbx.new({ "a" }, { check = false }, {
      before = function(sip)
        sip.settings { timers = { t1 = 0.25 } }
      end,
    })
    req = world:request()
    relay()
    assert.same({ 16 }, timeouts())
  end)

  it("counts retransmissions of all but the last", function()
    act { a = "silent", b = "silent" }
    relay { retransmits = 2, last_timeout = 10 }
    assert.equal(2, req.attempts[1].opts.retransmits)
    assert.is_nil(req.attempts[2].opts.retransmits)
    assert.same({ "-", 10 }, timeouts())
    assert.near(3.5, req.attempts[2].at - req.attempts[1].at, 0.001)
  end)

  it("stops after `attempts`", function()
    act { a = "silent", b = "silent", c = 200 }
    relay { attempts = 2 }
    assert.equal(500, req.code)
    req = world:request()
    relay { attempts = 3 }
    assert.same({ "pbx/a", "pbx/b", "pbx/c" }, req.tried)
    assert.equal(200, req.code)
  end)

  it("cuts everything to the budget", function()
    act { a = "silent", b = "silent", c = "silent" }
    local _, _, took = relay { attempts = 3, timeout = 4, budget = 6 }
    assert.same({ 4, 2 }, timeouts())
    assert.near(6, took, 0.001)
    assert.equal(2, req.attempts[2].opts.progress_timeout)
    assert.equal(500, req.code)
  end)

  it("cuts retransmissions to the budget too", function()
    act { a = "silent", b = "silent" }
    local _, _, took = relay { retransmits = 4, budget = 10 } -- that would be 15.5 s
    assert.near(10, took, 0.001)
    assert.same({ 10 }, timeouts())
    req = world:request { method = "OPTIONS" }
    relay { retransmits = 4, budget = 11 } -- 0.5 + 1 + 2 + 4 + 4
    assert.is_nil(req.attempts[1].opts.retransmits)
    req = world:request { method = "OPTIONS" }
    relay { retransmits = 4, budget = 12 }
    assert.equal(4, req.attempts[1].opts.retransmits)
  end)

  it("has a budget of 60 s for INVITE and of 20 s for others, from receipt", function()
    act { a = "silent", b = "silent" }
    req = world:request { older = 50 }
    relay()
    assert.same({ 4, 6 }, timeouts())
    req = world:request { method = "REGISTER", older = 3 }
    relay()
    assert.same({ 4, 13 }, timeouts())
    assert.equal(13, req.attempts[2].opts.ring_timeout)
  end)

  it("does not cut the ringing of an INVITE", function()
    act { a = "ring" }
    local _, _, took = relay()
    assert.near(185, took, 0.001)
    assert.same({ "pbx/a" }, req.tried)
    assert.same({ "forward", 408 }, { req.verb, req.code })
  end)

  it("answers 500 when the budget was spent before", function()
    req = world:request { older = 61 }
    assert.is_true((relay()))
    assert.same({ "reply", 500, {} }, { req.verb, req.code, req.tried })
  end)

  it("passes the best response on when all have failed", function()
    act { a = 503, b = "silent", c = "silent" }
    relay { attempts = 3 }
    assert.same({ "forward", 500 }, { req.verb, req.code }) -- the 503, as 500
    assert.equal(503, req.forwarded.code)
    req = world:request()
    act { a = 503, b = 486, c = 200 }
    relay { attempts = 2, retry_on = { "local", 503, 486 } }
    assert.equal(486, req.code)
  end)

  it("passes on the answer that ended the search, not a better one from before", function()
    act { a = 404, b = 486 }
    relay { retry_on = { 404 } }
    assert.same({ "pbx/a", "pbx/b" }, req.tried)
    assert.equal(486, req.code)
  end)

  it("tries again on the codes of retry_on only", function()
    act { a = 500 }
    relay { retry_on = { "local", 500, 503 } }
    assert.same({ "pbx/a", "pbx/b" }, req.tried)
    req = world:request()
    act { a = 503 }
    relay { retry_on = { "local" } }
    assert.same({ "pbx/a" }, req.tried)
    assert.equal(500, req.code)
    req = world:request()
    act { a = "silent" }
    relay { retry_on = { 503 } }
    assert.same({ "pbx/a" }, req.tried)
    assert.same({ "reply", 500 }, { req.verb, req.code })
  end)

  it("never tries again after ringing, even with 408 in retry_on", function()
    act { a = "ring" }
    relay { retry_on = { 408 } }
    assert.same({ "pbx/a" }, req.tried)
    assert.equal(408, req.code)
  end)

  it("lets the pool say all that, and the call overrule it", function()
    setup({ "a", "b", "c" }, {
      attempt = { timeout = 1, last_timeout = 5, attempts = 3, budget = 100 },
      retry_on = { "local", 404 },
    })
    act { a = 404, b = "silent", c = "silent" }
    relay()
    assert.same({ 1, 1, 5 }, timeouts())
    req = world:request()
    relay { timeout = 2, attempts = 2, retry_on = { "local" } }
    assert.same({ "pbx/a" }, req.tried)
    assert.same({ 2 }, timeouts())
  end)

  it("moves the call after a 503, and the server only for its Retry-After", function()
    act { a = 503 }
    relay()
    assert.equal("up", pool:server("a").status)
    act { a = { code = 503, retry_after = 30 } }
    req = world:request()
    relay()
    assert.equal("held", pool:server("a").status)
    assert.equal("retry_after", world:logged("server.hold")[1].reason)
    world:run(29.9)
    assert.equal("held", pool:server("a").status)
    world:run(0.2)
    assert.equal("up", pool:server("a").status)
  end)

  it("caps Retry-After at a minute", function()
    act { a = { code = 503, retry_after = 86400 } }
    relay()
    assert.equal(60, world:logged("server.hold")[1].hold)
  end)

  it("obeys Retry-After of a 503 that is passed on, and of nothing else", function()
    act { a = { code = 503, retry_after = 5 }, b = { code = 486, retry_after = 5 } }
    relay { attempts = 1 }
    assert.equal("held", pool:server("a").status)
    req = world:request()
    relay()
    assert.equal("up", pool:server("b").status)
  end)

  it("ends when the caller hangs up", function()
    act { a = "silent" }
    req = world:request { cancel_at = 1 }
    local ok, _, took = relay()
    assert.is_true(ok)
    assert.near(1, took, 0.001)
    assert.same({ "pbx/a" }, req.tried)
    assert.is_nil(req.verb)
  end)

  it("says \"down\" or \"empty\" before anything was sent, and answers nothing", function()
    for _, server in ipairs(pool.servers) do
      server:drain()
    end
    assert.same({ nil, "down", 0 }, { relay() })
    assert.is_nil(req.verb)
    setup {}
    assert.same({ nil, "empty", 0 }, { relay() })
    assert.is_nil(req.verb)
  end)

  it("makes one last attempt when all are down, and a short one", function()
    for _, server in ipairs(pool.servers) do
      server:mark_down()
    end
    act { a = "silent", b = "silent", c = "silent" }
    local _, _, took = relay()
    assert.same({ "pbx/a" }, req.tried)
    assert.same({ 4 }, timeouts())
    assert.near(4, took, 0.001)
    assert.equal(500, req.code)
  end)

  it("makes no last attempt with all_down = \"fail\"", function()
    setup({ "a" }, { all_down = "fail" })
    pool:server("a"):mark_down()
    assert.same({ nil, "down", 0 }, { relay() })
  end)

  it("takes a server, a URI, or a list of both", function()
    act { b = 404 }
    relay(nil, pool:server "b")
    assert.same({ "pbx/b" }, req.tried)
    assert.equal(404, req.code)
    req = world:request()
    relay(nil, "sip:192.0.2.1")
    assert.same({ "sip:192.0.2.1" }, req.tried)
    req = world:request()
    act { b = "refuse" }
    relay(nil, { pool:server "b", "sip:192.0.2.1" })
    assert.same({ "pbx/b", "sip:192.0.2.1" }, req.tried)
    assert.same({ 4, 32 }, timeouts())
    assert.equal(200, req.code)
    req = world:request()
    act { b = 503 }
    relay(nil, { pool:server "b", "sip:192.0.2.1" })
    assert.same({ "pbx/b", "sip:192.0.2.1" }, req.tried)
    req = world:request()
    assert.equal("empty", select(2, relay(nil, {})))
  end)

  it("uses the key for the choice and for what it remembers", function()
    act { a = 407 }
    pool:server("a"):hold(1)
    act { b = 407 }
    relay { key = "alice" }
    assert.same({ "pbx/b" }, req.tried)
    world:run(2)
    req = world:request()
    relay { key = "alice" }
    assert.same({ "pbx/b" }, req.tried)
    req = world:request()
    relay()
    assert.same({ "pbx/a" }, req.tried)
  end)

  it("refuses what it does not know", function()
    assert.equal("route.lua:14: req:relay: unknown option 'attemps'; did you mean 'attempts'?",
      fake.message(relay, { attemps = 2 }))
    assert.equal("route.lua:14: req:relay: timeout and retransmits exclude each other",
      fake.message(relay, { timeout = 2, retransmits = 1 }))
    assert.matches("a server or a SIP URI expected, got number", fake.message(relay, nil, { 5 }))
    assert.matches("a pool, a server, a SIP URI or a list of these expected, got nil",
      fake.message(function()
        world:call(function()
          req:relay()
        end)
      end))
  end)
end)
