-- Split brain: two nodes have the address at once, and both are sent what is sent to it.
-- They make the same of it, so that a server sees one transaction, which somebody repeats
-- (semantics 19, 20; node-death.md).
local sim = require "support.sim"
local takeover = require "support.takeover"
local load = require "support.takeover_load"
local ipairs, pairs, table = ipairs, pairs, table

-- What is lost is a seed's matter and so the number of workers': a CANCEL may come before
-- any INVITE has got through. Those with loss say how many workers they are for.
describe("split brain:", function()
  after_each(sim.finish)

  local function open(opts)
    opts.servers = opts.servers or load.answering
    return takeover.open(opts)
  end

  it("all is sent to both for 30 s, 50 calls a second, 5 % are lost", function()
    local w = open { policy = "relay", link = { loss = 0.05, jitter = 0.005 }, seed = 3,
      workers = 1 }
    w.net:split(w.vip, { w.one, w.two })
    assert.equal(1500, load.one_each(w, load.calls(w, 30, 50)))
  end)

  it("only the callers err, every half a second another way, 5 % are lost", function()
    local w = open {
      policy = "relay", nodes = true, link = { loss = 0.05, jitter = 0.005 }, seed = 5,
      workers = 1,
    }
    for _, caller in ipairs { w.alice, w.carol } do
      w.net:split(w.vip, { w.one, w.two }, { switch = 0.5, from = caller })
    end
    assert.equal(250, load.one_each(w, load.calls(w, 5, 50)))
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
      local judge = worlds[name].nodes and load.one_each or load.none_lost

      it("all is sent to both", function()
        local w = open(worlds[name])
        w.net:split(w.vip, { w.one, w.two })
        local both = worlds[name].to == "tcp" and load.none_lost or load.one_each
        both(w, load.calls(w, 2, 10))
      end)

      it("requests to both, responses to one", function()
        local w = open(worlds[name])
        for _, caller in ipairs { w.alice, w.carol } do
          w.net:split(w.vip, { w.one, w.two }, { from = caller })
        end
        judge(w, load.calls(w, 2, 10))
      end)

      it("to one of both, by chance", function()
        local w = open(worlds[name])
        w.net:split(w.vip, { w.one, w.two }, { random = true })
        judge(w, load.calls(w, 2, 10))
      end)

      it("to each for half a second", function()
        local w = open(worlds[name])
        w.net:split(w.vip, { w.one, w.two }, { switch = 0.5 })
        load.one_each(w, load.calls(w, 4, 10))
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
      local stories = load.calls(w, 2, 10)
      load.none_lost(w, stories)
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
