-- Who is full: max_calls, max_cps and resources, under every policy.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

-- A pool of servers with options by name: { a = { max_calls = 1 }, ... }, all of tier 1
-- unless they say otherwise.
local function open(servers, options)
  local world = fake.new()
  local sip = world:require "tandem"
  local conf, list = { check = false }, {}
  for i, name in ipairs { "a", "b", "c" } do
    if servers[name] then
      local item = { name = name, uri = "sip:10.0.0." .. i }
      for key, value in pairs(servers[name]) do
        item[key] = value
      end
      list[#list + 1] = item
    end
  end
  conf.servers = list
  for key, value in pairs(options or {}) do
    conf[key] = value
  end
  local pool = sip.pool("gw", conf)
  world:start()
  return world, pool
end

local function facts(world, name)
  return world.node.facts["gw/" .. name]
end

local function why(pool, req, opts)
  local server, reason = pool:pick(req, opts)
  return server and server.name or reason
end

describe("max_calls", function()
  for policy in ("ordered round_robin weighted least_calls latency hash"):gmatch "%S+" do
    it("keeps calls from a server that has so many, under " .. policy, function()
      local world, pool = open({ a = { max_calls = 3 }, b = { max_calls = 3 } },
        { policy = policy })
      facts(world, "a"):set("calls", 2)
      facts(world, "a"):set("setup", 1)
      for i = 1, 30 do
        assert.same({ "b" }, pbx.order(pool, world:request { call_id = "c" .. i }))
      end
      facts(world, "b"):set("calls", 3)
      assert.equal("full", why(pool, world:request()))
      facts(world, "a"):set("setup", 0)
      assert.equal("a", why(pool, world:request()))
    end)
  end

  it("goes for new calls only", function()
    local world, pool = open { a = { max_calls = 0 } }
    assert.equal("full", why(pool, world:request()))
    assert.equal("a", why(pool, world:request { method = "REGISTER" }))
    assert.equal("a", why(pool, world:request { kind = "in_dialog" }))
    assert.equal("a", why(pool))
  end)

  it("lets calls over into the next tier", function()
    local world, pool = open { a = { max_calls = 1 }, b = { tier = 2 } }
    facts(world, "a"):set("calls", 1)
    assert.same({ "b" }, pbx.order(pool, world:request()))
  end)

  it("is looked at in every step", function()
    local world, pool = open { a = {}, b = { max_calls = 1 }, c = {} }
    local seen = {}
    for server in pool:each(world:request()) do
      seen[#seen + 1] = server.name
      facts(world, "b"):set("calls", 1)
    end
    assert.same({ "a", "c" }, seen)
  end)

  it("is looked at again when a server's turn comes after all", function()
    local world, pool = open { a = { max_calls = 1 }, b = { max_calls = 1 } }
    local req, sent = world:request(), nil
    world:server("gw/a", "INVITE", function()
      facts(world, "b"):set("calls", 1) -- after relay has seen that there is another
      return 503
    end)
    world:call(function()
      sent = req:relay(pool)
    end)
    assert.same({ "gw/a" }, req.tried)
    assert.is_true(sent)
  end)

  it("is no reason for a last resort: full is full", function()
    local world, pool = open { a = { max_calls = 1 }, b = {} }
    pool:server("b"):mark_down()
    facts(world, "a"):set("calls", 1)
    assert.equal("full", why(pool, world:request()))
    facts(world, "a"):set("calls", 0)
    pool:server("a"):mark_down()
    assert.equal("a", why(pool, world:request()))
    facts(world, "a"):set("calls", 1) -- down and full: the other one
    assert.equal("b", why(pool, world:request()))
  end)

  it("is down, not full, when it is the down servers that have no room", function()
    local world, pool = open { a = { max_calls = 1 } }
    facts(world, "a"):set("calls", 1)
    pool:server("a"):mark_down()
    assert.equal("down", why(pool, world:request()))
  end)

  it("holds for a server that is to be met again", function()
    local world, pool = open { a = {}, b = { max_calls = 1 } }
    world.core.sticky_set("gw", "call-1", "b", 60)
    assert.equal("b", why(pool, world:request()))
    facts(world, "b"):set("calls", 1)
    assert.equal("a", why(pool, world:request()))
  end)

  it("is what relay says when nothing was sent", function()
    local world, pool = open { a = { max_calls = 0 } }
    local req = world:request()
    assert.same({ nil, "full" }, { world:call(function()
      return req:relay(pool)
    end) })
    assert.same({}, req.tried)
    assert.is_nil(req.code)
  end)
end)

describe("max_cps", function()
  it("keeps calls from a server on which so many began within a second", function()
    local world, pool = open { a = { max_cps = 2 }, b = { max_cps = 0.5 } }
    facts(world, "a").cps = 1.9
    assert.equal("a", why(pool, world:request()))
    facts(world, "a").cps = 2
    assert.equal("b", why(pool, world:request()))
    facts(world, "b").cps = 0.5
    assert.equal("full", why(pool, world:request()))
    assert.equal("a", why(pool, world:request { method = "OPTIONS" }))
  end)
end)

describe("resources", function()
  local function gateways(options)
    return open({
      a = { resources = { pstn = 2, conf = 1 } }, b = { resources = { pstn = 4 } }, c = {},
    }, options)
  end

  it("leave out who lacks one that the call takes", function()
    local world, pool = gateways()
    assert.same({ "a", "b", "c" }, pbx.order(pool, world:request()))
    assert.same({ "a", "b" }, pbx.order(pool, world:request(), { resources = { "pstn" } }))
    assert.same({ "a" }, pbx.order(pool, world:request(), { resources = { "pstn", "conf" } }))
    assert.same({ "b" }, pbx.order(pool, world:request(), { resources = { pstn = 3 } }))
  end)

  it("are full when the call does not fit any more", function()
    local world, pool = gateways()
    facts(world, "a").resources.pstn = 1
    facts(world, "b").resources.pstn = 3
    assert.equal("a", why(pool, world:request(), { resources = { "pstn" } }))
    assert.equal("full", why(pool, world:request(), { resources = { pstn = 2 } }))
    assert.equal("full", why(pool, world:request(), { resources = { "pstn", "pstn" } }))
  end)

  it("are down when who has it is", function()
    local world, pool = gateways()
    pool:server("a"):maint()
    assert.equal("down", why(pool, world:request(), { resources = { "conf" } }))
  end)

  it("are taken by new calls only", function()
    local world, pool = gateways()
    local opts = { resources = { "conf" } }
    facts(world, "a").resources.conf = 1
    assert.equal("full", why(pool, world:request(), opts))
    assert.equal("a", why(pool, world:request { method = "REGISTER" }, opts))
  end)

  for verb, act in pairs {
    relay = function(req, pool, opts) return req:relay(pool, opts) end,
    try = function(req, pool, opts) return req:try(pool:server "a", opts) end,
    fork = function(req, pool, opts) return req:fork({ pool:server "a" }, opts) end,
  } do
    it("are what " .. verb .. " tells the core", function()
      local world, pool = gateways()
      local req = world:request()
      world:call(function()
        return act(req, pool, { resources = { "pstn", conf = 1 } })
      end)
      assert.same({ pstn = 1, conf = 1 }, req.attempts[1].opts.resources)
    end)
  end

  it("that nobody has are a mistake", function()
    local world, pool = gateways()
    local req = world:request()
    assert.equal("route.lua:14: no server of pool 'gw' has a resource 'pstm'; "
      .. "did you mean 'pstn'?", fake.message(function()
        pool:pick(req, { resources = { "pstm" } })
      end))
  end)

  it("can be seen", function()
    local world, pool = gateways()
    facts(world, "a").resources.pstn = 1
    assert.same({ pstn = { used = 1, capacity = 2 }, conf = { used = 0, capacity = 1 } },
      pool:server("a").resources)
    assert.same({}, pool:server("c").resources)
  end)

  for text, value in pairs {
    ["a list of names or { name = units } expected, got string"] = "pstn",
    ["a whole number expected, got string"] = { pstn = "two" },
    ["pstn: at least 1 expected, got 0"] = { pstn = 0 },
    ["pstn: at most 255 expected, got 256"] = { pstn = 256 },
    ["a name of letters, digits, '_', '.' and '-' expected, got 'p s'"] = { "p s" },
    ["longer than 31 characters"] = { ("p"):rep(32) },
  } do
    it("are checked: " .. text, function()
      local world, pool = gateways()
      assert.matches(text, fake.message(function()
        pool:pick(world:request(), { resources = value })
      end), 1, true)
    end)
  end
end)

describe("the limits of a pool", function()
  local function refused(server, options)
    return fake.message(open, { a = server }, options)
  end

  it("need the path of the call", function()
    local off = { record_route = false }
    assert.equal("route.lua:14: pool 'gw': servers[1]: max_calls needs record_route = true: "
      .. "the end of a call is not seen otherwise", refused({ max_calls = 1 }, off))
    assert.matches("resources needs record_route", refused({ resources = { pstn = 1 } }, off))
    open({ a = { max_cps = 10 } }, off) -- begins are seen in any case
  end)

  it("are checked", function()
    assert.matches("servers%[1%].max_calls: at least 0", refused { max_calls = -1 })
    assert.matches("servers%[1%].max_cps: more than 0", refused { max_cps = 0 })
    assert.matches("servers%[1%].resources: pstn: a whole number", refused {
      resources = { pstn = "many" },
    })
    assert.matches("servers%[1%].resources: { name = how many } expected", refused {
      resources = "pstn",
    })
    local many = {}
    for i = 1, 9 do
      many["r" .. i] = 1
    end
    assert.matches("at most 8 resources, got 9", refused { resources = many })
  end)

  it("bound goes with hash", function()
    assert.matches('bound is an option of policy = "hash"', refused({}, { bound = 1.25 }))
    assert.matches("bound: at least 1", refused({}, { policy = "hash", bound = 0.9 }))
    open({ a = {} }, { policy = "hash", bound = 1.25 })
  end)
end)
