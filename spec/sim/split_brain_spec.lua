-- Split brain: two nodes have the address at once, and both are sent what is sent to it.
-- They make the same of it, so that a server sees one transaction, which somebody repeats
-- (semantics 19, 20; node-death.md).
local sim = require "support.sim"
local takeover = require "support.takeover"
local error, ipairs, pairs, table = error, ipairs, pairs, table

-- What is called, and so what becomes of it.
local users = { "bob", "busy", "bob", "slow", "bob", "bob", "far", "bob", "bob", "bob" }

local function answering(server)
  server:on("INVITE", function(request, reply)
    local user = request.uri:match "^sip:(%w+)@"
    if request.to_tag then
      return reply(200)
    end
    reply(180)
    server:after(user == "slow" and 30 or 0.7, function()
      reply(user == "busy" and 486 or 200)
    end)
  end)
end

local function call_of(i, w)
  local user = users[i % #users + 1]
  local caller = i % 2 == 0 and w.alice or w.carol
  local call = caller:invite("sip:" .. user .. "@example.com")
  if user == "slow" then -- and the caller thinks better of it
    w:sleep(1)
    caller:cancel(call)
  end
  w:await(call)
  if call.state == "up" then
    w:sleep(2)
    local who = user == "far" and (call.server == "a" and w.a or w.b) or caller
    if who ~= caller then
      who.proxy = nil
    end
    call.bye = who:bye(call)
    w:await(call.bye)
  end
  call.user = user
  return call
end

local expected = { bob = 200, far = 200, busy = 486, slow = 487 }

-- `seconds` of calls, so many a second, all of which end as they would without it.
local function calls(w, seconds, rate)
  local stories = {}
  for i = 1, seconds * rate do
    stories[i] = { at = 1 + i / rate, tell = function() return call_of(i, w) end }
  end
  assert.is_true(w:tell(stories))
  w.net:run(70)
  return stories
end

-- Every caller had the call that he would have had; answers that came second he has
-- acknowledged and hung up, and nobody is left who thinks to be in a call.
local function assert_none_lost(w, stories)
  for _, story in ipairs(stories) do
    local call = story.result
    local bye = call.code ~= 200 or call.bye and call.bye.code == 200
    if call.code ~= expected[call.user] or not bye then
      error(call:ladder())
    end
  end
  for _, ua in ipairs { w.a, w.b, w.alice, w.carol } do
    assert.equal(0, ua.unacked)
    for _, dialog in pairs(ua.dialogs) do
      assert.not_equal("confirmed", dialog.state)
    end
  end
  return #stories
end

-- And it was one transaction at one server.
local function assert_one_each(w, stories)
  for _, story in ipairs(stories) do
    if story.result.extra > 0 then
      error(story.result:ladder())
    end
  end
  assert.equal(#stories, w:transactions "INVITE")
  return assert_none_lost(w, stories)
end

describe("split brain:", function()
  after_each(sim.finish)

  local function open(opts)
    opts.servers = opts.servers or answering
    return takeover.open(opts)
  end

  it("all is sent to both for 30 s, 50 calls a second, 5 % are lost", function()
    local w = open { policy = "relay", link = { loss = 0.05, jitter = 0.005 }, seed = 3 }
    w.net:split(w.vip, { w.one, w.two })
    assert.equal(1500, assert_one_each(w, calls(w, 30, 50)))
  end)

  local worlds = {
    ["failover.lua"] = {}, relay = { policy = "relay" }, weighted = { policy = "weighted" },
    hash = { policy = "hash" }, ["two workers"] = { workers = 2 }, ["IPv6"] = { v6 = true },
    ["servers of TCP"] = { to = "tcp", policy = "relay" },
    ["nodes that know of each other"] = { nodes = true },
    ["nodes that know of each other, relay"] = { nodes = true, policy = "relay", workers = 2 },
  }
  local names = {}
  for name in pairs(worlds) do
    names[#names + 1] = name
  end
  table.sort(names)

  for _, name in ipairs(names) do
    describe(name .. ",", function()
      -- Who hears nothing moves on to the next server, unless he is told.
      local judge = worlds[name].nodes and assert_one_each or assert_none_lost

      it("all is sent to both", function()
        local w = open(worlds[name])
        w.net:split(w.vip, { w.one, w.two })
        local both = worlds[name].to == "tcp" and assert_none_lost or assert_one_each
        both(w, calls(w, 2, 10))
      end)

      it("requests to both, responses to one", function()
        local w = open(worlds[name])
        for _, caller in ipairs { w.alice, w.carol } do
          w.net:split(w.vip, { w.one, w.two }, { from = caller })
        end
        assert_none_lost(w, calls(w, 2, 10))
      end)

      it("to one of both, by chance", function()
        local w = open(worlds[name])
        w.net:split(w.vip, { w.one, w.two }, { random = true })
        judge(w, calls(w, 2, 10))
      end)

      it("to each for half a second", function()
        local w = open(worlds[name])
        w.net:split(w.vip, { w.one, w.two }, { switch = 0.5 })
        assert_one_each(w, calls(w, 4, 10))
      end)
    end)
  end

  it("the other requests are one transaction each, too", function()
    for _, method in ipairs { "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE" } do
      local w = open { policy = "relay" }
      w.net:split(w.vip, { w.one, w.two })
      w.a:answer(method, 200, 1)
      local asked = w.alice:ask(method, "sip:bob@example.com")
      assert.equal(200, asked.code, method)
      w.net:run(1)
      assert.equal(1, w:transactions(method))
      w.net:finish()
    end
  end)

  it("a caller who is challenged meets the server that did it, by either node", function()
    local w = open { policy = "weighted", servers = function(server)
      server:on("INVITE", function(request, reply)
        if request:header "Proxy-Authorization" then
          return reply(200)
        end
        reply(407, { headers = { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' } })
      end)
    end }
    w.net:split(w.vip, { w.one, w.two }, { random = true })
    for _ = 1, 20 do
      local first = w.alice:call "sip:bob@example.com"
      local call = w.alice:call("sip:bob@example.com", { again = first,
        headers = { ["Proxy-Authorization"] = "Digest whatever" } })
      assert.equal(407, first.code)
      assert.equal(200, call.code)
      assert.equal(first.server, call.server)
      assert.equal(2, w:transactions("INVITE", call))
      w.net:run(0.1)
      w.alice:bye(call):wait()
    end
  end)

  describe("of nodes that think otherwise of a server", function()
    -- For the second node a is down.
    local function disagree(opts)
      local w = open(opts)
      assert(w.two:override [[{"set": [{"pool": "pbx", "server": "a",
        "what": "weight", "value": 0, "is_new": true}]}]])
      w.net:run(1)
      return w
    end

    it("two servers may be called, and the caller has one call in the end", function()
      local w = disagree { policy = "weighted" }
      w.net:split(w.vip, { w.one, w.two })
      local stories = calls(w, 2, 10)
      assert_none_lost(w, stories)
      assert(w:transactions "INVITE" > #stories)
    end)

    it("a call that is up stays where it is, by either node", function()
      local w = disagree { policy = "weighted" }
      local call = w.alice:call "sip:bob@example.com"
      w.net:run(0.1)
      w.net:split(w.vip, { w.one, w.two }, { random = true })
      for _ = 1, 10 do
        assert.equal(200, w.alice:in_dialog(call, "INFO"):wait().code)
        w.net:run(0.05)
      end
      w.alice:bye(call):wait()
      local other = call.server == "a" and w.b or w.a
      assert.same({}, other.received)
    end)
  end)
end)
