-- A worker that hangs in a call of C: it is seen, told of, and not for ever.
local ctl_of = require "support.ctl"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { watchdog = %{watchdog} }
sip.route(function(req) return req:reply(480) end)
]]

local options = table.concat({
  "OPTIONS sip:127.0.0.1:%d SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK%s",
  "Max-Forwards: 70", "From: <sip:x@example.net>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: %s",
  "CSeq: 1 OPTIONS", "X-Hang: %d", "Content-Length: 0", "", "",
}, "\r\n")

local aborted = 128 + 6

describe("a worker that hangs", function()
  after_each(process.clean)

  local port

  local function start(watchdog, env, args)
    local _, here = sh.run "pwd"
    port = process.ports(1)
    return proxy.start { workers = 1, -- the one that hangs
      source = source, values = { port = port, watchdog = watchdog }, binary = "build/tandem",
      args = args, env = ("LD_PRELOAD=%s/build/hang.so %s"):format(here:gsub("\n", ""), env or ""),
    }
  end

  local function hang(seconds)
    process.send(port, options:format(port, "hang", "hang", seconds))
  end

  it("is logged, and the process aborts, for somebody to start it again", function()
    local tandem = start(3)
    hang(1000)
    tandem.expected = aborted
    assert.equal(aborted, tandem:wait())
    local stuck, dog = tandem:logged("worker.stuck")[1], tandem:logged("watchdog")[1]
    assert.equal(0, stuck.worker)
    assert(stuck.seconds >= 1 and stuck.seconds < 3, stuck.seconds)
    assert.equal(0, dog.worker)
    assert(dog.seconds >= 3, dog.seconds)
  end)

  it("goes on where it comes back in time", function()
    local tandem = start(6)
    hang(3)
    assert(tandem:wait_logged("worker.unstuck", nil, 10).seconds >= 2)
    assert.truthy(process.ask(port, options:format(port, "after", "after", 0), 0.5)
      :find("^SIP/2.0 200 "))
    assert.equal(1, #tandem:logged "worker.stuck")
  end)

  it("does not keep the process from its end", function()
    local tandem = start("false")
    hang(1000)
    process.sleep(0.1)
    tandem:signal "INT"
    tandem.expected = aborted
    assert.equal(aborted, tandem:wait())
    assert.equal(0, tandem:logged("watchdog")[1].worker)
  end)

  it("is what tandem ctl says, and keeps nobody from asking", function()
    local sock = process.path "ctl.sock"
    local ctl = ctl_of.new(sock)
    local tandem = start("false", nil, { "--ctl", sock })
    hang(1000)
    process.sleep(0.1)
    local metrics = process.start {
      name = "metrics", argv = { "sh", "-c", ctl:line "metrics" }, limit = 20,
    }
    local code, output, errors = ctl "status"
    assert.same({ 1, "", "tandem ctl: worker 0 does not answer\n" }, { code, output, errors })
    assert.equal(0, metrics:wait())
    assert.matches('\ntandem_worker_answers{worker="0"} 0\n', metrics:output(), 1, true)
    assert.equal(0, (ctl "events"))
    tandem:signal "KILL"
    tandem.expected = 128 + 9
    tandem:wait()
  end)

  it("keeps no reload and no signal waiting for ever", function()
    local tandem = start("false")
    hang(1000)
    process.sleep(0.1)
    tandem:signal "HUP"
    assert.equal("worker 0 does not answer",
      tandem:wait_logged("config.rejected", nil, 10).reason)
    tandem:signal "INT"
    tandem:wait_logged("stop", { by = "INT" })
    tandem:signal "TERM" -- which waits for nobody now
    tandem.expected = 128 + 15
    assert.equal(128 + 15, tandem:wait())
  end)
end)
