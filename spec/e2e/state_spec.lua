-- What the binary knows of its calls after a restart: the snapshot in state_dir.
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { state_dir = "%{dir}" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false,
})
sip.route("OPTIONS", function(req)
  return req:reply(200, nil, { headers = { ["X-Calls"] = tostring(pbx:server("a").calls) } })
end)
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

local question = table.concat({
  "OPTIONS sip:x@127.0.0.1:9 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKs%d",
  "From: <sip:a@example.org>;tag=1", "To: <sip:x@example.org>", "Call-ID: s%d",
  "CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", "",
}, "\r\n")

describe("a restart", function()
  local port, server_port, dir, asked
  local calls_file

  before_each(function()
    port, server_port = process.ports(2)
    dir, asked = process.path "state", 0
    calls_file = dir .. "/calls"
  end)
  after_each(process.clean)

  local function start(name)
    return proxy.start { source = source, name = name, values = {
      port = port, server = server_port, dir = dir,
    } }
  end

  local function counted()
    asked = asked + 1
    local answer = process.ask(port, question:format(asked, asked), 0.5)
    return tonumber(answer:match "X%-Calls: (%d+)")
  end

  local function calls_become(n)
    return process.eventually(5, function()
      return counted() == n
    end)
  end

  -- Three calls that are up for so many milliseconds.
  local function three_calls(hold)
    local server = sipp.server("answer", {
      port = server_port, calls = 3, values = { ring = 20, hold = 20 },
    })
    local client = sipp.call("call", {
      proxy = "127.0.0.1:" .. port, calls = 3, rate = 100, values = { hold = hold },
      limit = 20,
    })
    return client, server
  end

  -- While the proxy is down nobody talks: the callers wait with their BYE.
  local function restarted(stop)
    local first = start "proxy1"
    local server = sipp.server("answer", {
      port = server_port, calls = 3, values = { ring = 20, hold = 20 },
    })
    local client = sipp.start("call", {
      proxy = "127.0.0.1:" .. port, calls = 3, rate = 100, values = { hold = 6000 },
    })
    assert.truthy(calls_become(3))
    stop(first)
    local second = start "proxy2"
    assert.equal(3, counted())
    client:succeed()
    server:succeed()
    assert.truthy(calls_become(0))
    assert.same({}, second:logged "state.damaged")
  end

  it("knows the calls that are up, after TERM", function()
    restarted(function(p)
      p:signal "TERM"
      assert.equal(0, p:wait())
    end)
  end)

  it("knows those of a second ago, after KILL", function()
    restarted(function(p)
      local function size()
        return tonumber((select(2, sh.run("stat -c %s " .. calls_file)))) or 0
      end
      -- a record has 46 bytes, and there are three
      assert.truthy(process.eventually(5, function() return size() > 3 * 46 end))
      process.sleep(1.2)
      p.expected = 137
      p:signal "KILL"
      p:wait()
    end)
  end)

  it("begins with none when the file is damaged, and says so", function()
    start "proxy1":stop()
    sh.run("echo rubbish > " .. calls_file)
    local p = start "proxy2"
    assert.equal(1, #p:logged("state.damaged", { file = "calls" }))
    assert.equal(0, counted())
  end)

  it("does not stop for a directory that cannot be written", function()
    local p = start "proxy1"
    sh.run(("mv %s %s.away && touch %s"):format(dir, dir, dir))
    local client, server = three_calls(2500)
    client:succeed()
    server:succeed()
    assert.truthy(p:wait_logged "state.unwritable")
    assert.equal(1, #p:logged("state.unwritable", { file = "calls" }))
    sh.run(("rm %s && mv %s.away %s"):format(dir, dir, dir))
    assert.truthy(p:wait_logged("state.writable", nil, 5))
  end)
end)
