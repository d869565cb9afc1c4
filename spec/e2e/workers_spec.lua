-- Several workers in the program that users run: the calls of one are those of all.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"
local sockets = require "support.sockets"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
sip.settings { state_dir = "%{dir}", stop_timeout = 0 }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false,
})
sip.route("OPTIONS", function(req)
  return req:reply(200, "%{version}",
    { headers = { ["X-Calls"] = tostring(pbx:server("a").calls) } })
end)
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

local request = table.concat({
  "%s sip:x@example.org SIP/2.0", "Via: SIP/2.0/%s 127.0.0.1:9;rport;branch=z9hG4bKs%d",
  "From: <sip:a@example.org>;tag=1", "To: <sip:x@example.org>", "Call-ID: s%d",
  "CSeq: 1 %s", "Max-Forwards: 70", "Contact: <sip:a@127.0.0.1:9>", "Content-Length: 0", "", "",
}, "\r\n")

local function text(method, transport, n)
  return request:format(method, transport, n, n, method)
end

describe("several workers", function()
  local port, server_port, ctl, values, asked

  before_each(function()
    port, server_port = process.ports(2)
    ctl, asked = process.path "ctl.sock", 0
    values = { port = port, server = server_port, dir = process.path "state", version = "One" }
  end)
  after_each(function()
    sockets.close()
    process.clean()
  end)

  local function start(workers, name)
    return proxy.start { source = source, workers = workers, name = name, level = "info",
      values = values, args = { "--ctl", ctl } }
  end

  local function serve(scenario)
    return sipp.server(scenario or "answer", { name = "a", port = server_port, quiet = true,
      values = { ring = 0, hold = 20 } })
  end

  local function metric(name)
    local _, page = http.ask(ctl, "/metrics")
    return tonumber(page:match("\n" .. name .. " (%d+)"))
  end

  -- An answer to an OPTIONS that this process has not seen, by the worker that has it.
  local function ask()
    asked = asked + 1
    local own = sockets.udp()
    own:send(port, text("OPTIONS", "UDP", asked))
    return (assert(own:receive()))
  end

  it("share the calls of one peer, and wake each other once for a batch", function()
    start(4)
    serve()
    local load = sipp.start("call", { proxy = "127.0.0.1:" .. port, calls = 600, rate = 300,
      quiet = true, limit = 30, values = { hold = 20 } })
    load:succeed()
    local s = load:statistics()
    assert.equal("600", s["SuccessfulCall(C)"])
    -- The calls hash to all four: three in four of the caller's three requests came to
    -- another's socket, and none of the server's three responses.
    local handed, woken = metric "tandem_handovers_total", metric "tandem_worker_wakes_total"
    assert(handed > 0.6 * 3 * 600 and handed < 0.9 * 3 * 600, handed)
    assert(woken > 0 and woken <= handed + 100, woken)
    assert.equal(0, metric "tandem_worker_messages_lost_total")
    assert.equal(4, metric "tandem_workers")
  end)

  it("answer over the connection of any of them, also with the last word", function()
    local tandem = start(4)
    serve "ring"
    local caller = sockets.tcp(port)
    for n = 1, 12 do
      caller:send(text("INVITE", "TCP", n))
    end
    local function count(pattern, n)
      return function(got)
        return select(2, got:gsub("SIP/2.0 " .. pattern, "")) >= n
      end
    end
    caller:read(count("180 ", 12))
    assert.is_true(count("180 ", 12)(caller.text))
    tandem:signal "INT"
    caller:read(count("503 ", 12))
    assert.is_true(count("503 ", 12)(caller.text), caller.text)
    assert.equal(0, tandem:wait())
  end)

  it("take over another script all at once", function()
    local tandem = start(4)
    for _ = 1, 12 do
      assert.matches("200 One", ask())
    end
    values.version = "Two"
    process.write("proxy.lua", process.fill(source, values))
    tandem:signal "HUP"
    tandem:wait_logged("reload", { generation = 2 })
    for _ = 1, 12 do
      assert.matches("200 Two", ask())
    end
    assert.equal(1, #tandem:logged "reload")
  end)

  -- A crash takes all workers along; the next process finds what was up, whoever has it now.
  for _, number in ipairs { 4, 2, 1 } do
    it(("leave the calls of a crash to %d of the next process"):format(number), function()
      local first = start(4, "first")
      local server = serve()
      local load = sipp.start("call", { proxy = "127.0.0.1:" .. port, calls = 20, rate = 100,
        quiet = true, limit = 30, values = { hold = 6000 } })
      local function calls()
        return tonumber(ask():match "X%-Calls: (%d+)")
      end
      assert.truthy(process.eventually(5, function() return calls() == 20 end))
      process.sleep(2.2) -- saved every second
      first.expected = 128 + 6
      first:signal "ABRT"
      first:wait()
      local second = start(number, "second")
      assert.equal(20, calls())
      load:succeed()
      assert.equal("20", load:statistics()["SuccessfulCall(C)"])
      assert.truthy(process.eventually(5, function() return calls() == 0 end))
      assert.same({}, second:logged "state.damaged")
      server:kill()
    end)
  end

  it("do not take the address of a process that is there", function()
    start(4)
    local second = proxy.launch { source = source, workers = 4, name = "second",
      values = values }
    second.expected = 1
    assert.equal(1, second:wait())
    assert.matches("taken, by another process", second:output())
  end)
end)
