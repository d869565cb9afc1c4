-- What an operator looks at for a while, over the control API: another log level, the
-- messages of one call, what has changed lately.
local hep = require "support.hep"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } },
  check = { interval = 1, timeout = 0.5, fall = 1, rise = 1 }, failback = { hold = 0 },
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

describe("the running program", function()
  local port, server, collector, tandem, ctl

  local function start(level)
    port, server, collector = process.ports(3)
    ctl = process.path "ctl.sock"
    -- it may not say that it has started
    tandem = proxy.launch {
      source = source, values = { port = port, server = server }, level = level or "info",
      args = { "--ctl", ctl },
    }
    assert.truthy(process.eventually(10, function()
      return tandem:ended() or select(2, pcall(http.ask, ctl, "/healthz")) == 200
    end))
  end

  after_each(process.clean)

  local function answering()
    sipp.server("answer", { name = "a", port = server, values = { ring = 0 } })
    process.eventually(5, function()
      local _, one = http.ask(ctl, "/v1/pools/pbx/servers/a")
      return one.status == "up"
    end)
  end

  -- A call; returns its Call-ID.
  local function call(name, user)
    local caller = sipp.call("call", { name = name, proxy = "127.0.0.1:" .. port,
      values = { hold = 0 }, replace = { ["sip:alice@example.net"] = user } })
    return caller:message("INVITE").text:match "Call%-ID: (%S+)"
  end

  local function change(method, path, body)
    local status, answer = http.ask(ctl, path, { method = method, body = body })
    return status, answer.error
  end

  local function messages(call_id)
    return #tandem:logged("sip.message", { call_id = call_id })
  end

  it("has another log level for a while", function()
    start()
    answering()
    assert.equal(200, change("PUT", "/v1/log-level", { level = "debug", ["for"] = 60 }))
    local seen = call "first"
    assert.truthy(process.eventually(3, function() return messages(seen) >= 11 end))
    local changed = tandem:logged("log.level", { level = "debug" })[1]
    assert.equal(60, changed["for"])
    assert.equal("root", changed.who)
    assert.equal(200, change("PUT", "/v1/log-level", { level = "debug", ["for"] = 0.2 }))
    assert.equal("timer", tandem:wait_logged("log.level", { state = "end", level = "info" }, 5).who)
    assert.equal(0, messages(call "second"))
  end)

  it("goes back to its log level when told to, and a reload keeps what was set", function()
    start "warn"
    assert.equal(200, change("PUT", "/v1/log-level", { level = "info" }))
    tandem:signal "HUP"
    tandem:wait_logged "reload"
    tandem:signal "HUP"
    assert.truthy(process.eventually(3, function() return #tandem:logged "reload" == 2 end))
    assert.equal(200, change("DELETE", "/v1/log-level"))
    tandem:wait_logged("log.level", { state = "end", level = "warn", who = "root" })
    tandem:signal "HUP"
    process.eventually(3, function()
      return select(2, http.ask(ctl, "/v1/status")).generation == 4
    end)
    assert.equal(2, #tandem:logged "reload")
  end)

  it("refuses what is no level, nobody's call and no time", function()
    start()
    for _, case in ipairs {
      { "/v1/log-level", { level = "loud" }, "level: one of error, warn, info and debug expected" },
      { "/v1/log-level", { level = "debug", ["for"] = -1 }, "for: seconds up to 86400 expected" },
      { "/v1/log-level", { level = "debug", ["for"] = "5m" }, "for: seconds up to 86400 expected" },
      { "/v1/trace", {}, "call_id or from: whose messages?" },
      { "/v1/trace", { call_id = 7 }, "call_id, from and hep are strings" },
      { "/v1/trace", { call_id = "x", ["for"] = 1e6 }, "for: seconds up to 86400 expected" },
      { "/v1/trace", { call_id = "x", hep = "tcp:127.0.0.1:9060" }, "a collector is udp:IP:PORT" },
      { "/v1/trace", { call_id = ("x"):rep(256) }, "a Call-ID or user of 255 bytes at most" },
    } do
      local status, why = change("PUT", case[1], case[2])
      assert.equal(400, status)
      assert.equal(case[3], why)
    end
    assert.same({}, tandem:logged "trace")
    assert.same({}, tandem:logged "log.level")
  end)

  it("shows the calls of one user in the log, and no others", function()
    start "warn"
    answering()
    assert.equal(200, change("PUT", "/v1/trace", { from = "carol", ["for"] = 60 }))
    local carol = call("carol", "sip:carol@example.net")
    local alice = call("alice", "sip:alice@example.net")
    assert.truthy(process.eventually(3, function() return messages(carol) >= 11 end))
    assert.equal(0, messages(alice))
    -- the decisions too, whatever the log level is
    assert.equal(200, tandem:wait_logged("request", { call_id = carol, method = "INVITE" }).code)
    assert.equal(0, #tandem:logged("request", { call_id = alice }))
    assert.equal(200, change("DELETE", "/v1/trace"))
    assert.equal(0, messages(call("again", "sip:carol@example.net")))
    local begun, ended = table.unpack(tandem:logged "trace")
    assert.same({ "begin", "carol", "log", 60, "root" },
      { begun.state, begun.from, begun.collector, begun["for"], begun.who })
    assert.same({ "end", "root" }, { ended.state, ended.who })
  end)

  it("shows one call to a collector, until the time is over", function()
    start()
    answering()
    local file = process.path "packets"
    process.start { name = "collector", argv = { "socat", "-u", "-b", "65536",
      ("UDP-RECV:%d,bind=127.0.0.1"):format(collector), "CREATE:" .. file } }
      :wait_bound(collector)
    assert.equal(200, change("PUT", "/v1/trace",
      { from = "carol", hep = "udp:127.0.0.1:" .. collector, ["for"] = 60 }))
    call("alice", "sip:alice@example.net")
    local carol = call("carol", "sip:carol@example.net")
    assert.truthy(process.eventually(3, function()
      return select(2, (process.read(file) or ""):gsub("request%.why", "")) == 2
    end))
    assert.equal(200, change("PUT", "/v1/trace",
      { from = "carol", hep = "udp:127.0.0.1:" .. collector, ["for"] = 0.2 }))
    tandem:wait_logged("trace", { state = "end", who = "timer" }, 5)
    call("late", "sip:carol@example.net")
    local bytes, at, decided = process.read(file), 1, 0
    while at < #bytes do
      local n = string.unpack(">I2", bytes, at + 4)
      local packet = hep.read(bytes:sub(at, at + n - 1))
      assert.equal(carol, packet.correlation)
      decided = decided + (packet.type == 100 and 1 or 0)
      at = at + n
    end
    assert.equal(4, decided) -- of INVITE and BYE what became of them, and why
    assert.equal(0, messages(carol)) -- not into the log as well
  end)

  it("knows what has changed lately, whatever the log level is", function()
    start "error"
    local function events(since)
      local status, value = http.ask(ctl, "/v1/events?since=" .. since)
      assert.equal(200, status)
      return value
    end
    assert.truthy(process.eventually(5, function()
      for _, event in ipairs(events(0).events) do
        if event.event == "pool.tier" and event.to == "0" then
          return true
        end
      end
    end))
    local before = events(0)
    assert.equal(before.last, #before.events)
    for i, event in ipairs(before.events) do
      assert.equal(i, event.seq)
      assert.matches("^20%d%d%-%d%d%-%d%dT%d%d:", event.ts)
    end
    answering()
    local list = {}
    assert.truthy(process.eventually(5, function()
      list = events(before.last).events
      return #list >= 3
    end))
    assert.equal(before.last + 1, list[1].seq)
    assert.same({ "server.health", "a", "down", "up" },
      { list[1].event, list[1].server, list[1].from, list[1].to })
    assert.equal(400, (http.ask(ctl, "/v1/events?since=x")))
    assert.same({}, tandem:logged "server.health")
  end)
end)
