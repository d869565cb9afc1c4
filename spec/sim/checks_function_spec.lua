-- Checks by a function of the script, and what a server says otherwise than its pool.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local function say(...)
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  sip.log.info(table.concat(words, " "))
end
local _ = say
%s
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", %s }, { name = "b", uri = "sip:10.0.0.2" } },
  check = %s })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("a check", function(workers)
  after_each(sim.finish)

  local w

  local function open(check, before, of_a)
    w = policy.world {
      workers = workers, source = frame:format(before or "", of_a or "", check),
    }
  end

  local function health(name)
    return w.net.pools.pbx[name].health
  end

  local function reasons(name)
    local list = {}
    for _, e in ipairs(w.net.events) do
      if e.event == "server.health" and e.server == name and e.from ~= "none" then
        list[#list + 1] = e.from .. ">" .. e.to .. " " .. e.reason
      end
    end
    return list
  end

  local ask = "{ method = ask, jitter = 0, fall = 2, rise = 1 }"

  describe("by a function", function()
    it("gets the server and says good or bad, and why", function()
      open(ask, [[
        local load = { a = 10, b = 95 }
        local function ask(server)
          return load[server.name] < 90, "load " .. load[server.name]
        end
      ]])
      w.net:run(5)
      assert.same({ "unknown>up load 10" }, reasons "a")
      assert.same({ "unknown>down load 95" }, reasons "b")
      assert.equal(0, #w.a.received)
    end)

    it("says why in a word when it does not", function()
      open(ask, "local function ask(server) return server.name == 'a' end")
      w.net:run(5)
      assert.same({ "unknown>up true" }, reasons "a")
      assert.same({ "unknown>down false" }, reasons "b")
    end)

    it("may wait: for a request of its own, for anything", function()
      open(ask, [[
        local function ask(server)
          local res = sip.request { method = "OPTIONS", uri = server.uri, timeout = 0.5 }
          return res ~= nil and res.code == 200, res and "answered" or "silent"
        end
      ]])
      w.net:run(1)
      assert.same({ "unknown>up answered" }, reasons "a")
      w.a:silence()
      w.net:run(5)
      assert.same({ "unknown>up answered", "up>falling silent", "falling>down silent" },
        reasons "a")
    end)

    it("has its timeout, and then it is ended: never two at once", function()
      open(ask, [[
        local running = 0
        local function ask(server)
          running = running + 1
          local _ <close> = setmetatable({}, { __close = function() running = running - 1 end })
          if server.name == "a" then sip.sleep(1000) end
          return true
        end
        sip.every(0.5, function() say(running) end)
      ]])
      w.net:run(20)
      assert.same({ "unknown>down timeout" }, reasons "a")
      assert.equal("up", health "b")
      for _, n in ipairs(w.said()) do
        assert.is_true(n == "0" or n == "1", n)
      end
    end)

    it("that raises is an error of the script and says nothing about the server", function()
      open(ask, [[
        local fails = false
        sip.after(4.5, function() fails = true end)
        local function ask(server)
          if fails and server.name == "a" then error "oops" end
          return true
        end
      ]])
      w.net:run(20)
      assert.same({ "unknown>up true" }, reasons "a")
      assert.equal("up", w.net.pools.pbx.a.status)
      assert.is_true(w.net:count("lua.error") > 0)
      w.net:finish { errors = 8 } -- of which the log tells the first few
    end)

    it("that returns nil has learned nothing; anything but booleans is a mistake", function()
      open(ask, [[
        local function ask(server)
          if server.name == "a" then return nil, "no idea" end
          return "yes"
        end
      ]])
      w.net:run(5)
      assert.same({}, reasons "a")
      assert.equal("unknown", health "b")
      local failure = policy.failure(w.net)
      assert.matches("the check of 'pbx/b' returned string: true, false or nil expected",
        failure.message or failure.error)
      w.net:finish { errors = w.net:count "lua.error" }
    end)

    it("drops what comes after the server was ordered about", function()
      open("{ method = ask, jitter = 0, rise = 2, fall = 1, interval = 10, timeout = 5 }", [[
        local pool
        local function ask(server) pool = server sip.sleep(2) return true end
        sip.after(11, function() pool:mark_down "by hand" end) -- a check is under way
      ]])
      w.net:run(13) -- its answer came
      local down = (health "a" == "down") and "a" or "b"
      assert.equal("down", health(down))
      w.net:run(10) -- the next one counts
      assert.equal("rising", health(down))
    end)
  end)

  describe("of one server", function()
    it("is the pool's where it does not say otherwise", function()
      open("{ interval = 5, timeout = 1, jitter = 0, fall = 1 }", nil, "check = { interval = 2 }")
      w.net:run(10.5)
      assert.same({ 0.001, 2.001, 4.001, 6.001, 8.001, 10.001 }, wire.times(w.a:got "OPTIONS"))
      assert.same({ 0.001, 5.001, 10.001 }, wire.times(w.b:got "OPTIONS"))
      w.a:refuse()
      w.net:run(2)
      assert.equal("down", health "a")
    end)

    it("may be another one, or none", function()
      open("{ jitter = 0 }", nil, "check = { method = 'REGISTER', interval = 40 }")
      w.net:run(1)
      assert.equal("REGISTER", wire.names(w.a.received))
      assert.equal("OPTIONS", wire.names(w.b.received))
      open("{ jitter = 0 }", nil, "check = false")
      w.net:run(5)
      assert.equal("", wire.names(w.a.received))
      assert.same({ "unknown", "up" }, { health "a", health "b" })
      -- and a server without checks does not rank after the others
      assert.equal("a", w.alice:call("sip:bob@example.com").server)
    end)

    it("may be the only one", function()
      open("false", nil, "check = {}")
      w.net:run(5)
      assert.equal("up", health "a")
      assert.equal("unknown", health "b")
      assert.equal(0, #w.b.received)
    end)

    it("without checks has the hold and the trial instead", function()
      open("{ jitter = 0 }, passive = { fall = 1, hold = 10 }, attempt = { timeout = 1 }", nil,
        "check = false")
      w.net:run(1)
      w.a:silence()
      w.alice:call "sip:bob@example.com"
      assert.same({ "held", "unknown" }, { w.net.pools.pbx.a.status, health "a" })
      w.a:resume()
      w.net:run(11)
      assert.equal("a", w.alice:call("sip:bob@example.com").server)
      assert.equal("up", w.net.pools.pbx.a.status)
    end)
  end)
end)
