-- What a service manager hears of us: systemd's notification protocol, at a socket that
-- a spec reads.
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:127.0.0.1:%{server}" },
    { name = "b", uri = "sip:127.0.0.1:%{server}" },
  },
  check = false,
})
sip.on("start", function() pbx:server "b":maint() end)
sip.route(function(req) return req:relay(pbx, { timeout = 60 }) end)
]]

describe("a service manager", function()
  after_each(process.clean)

  local port, server, manager, name

  local function listen(kind)
    local _, here = sh.run "pwd"
    port, server = process.ports(2)
    if kind == "abstract" then
      name = ("@tandem-spec-%d"):format(port)
      manager = process.start { name = "manager",
        argv = { "socat", "-u", "ABSTRACT-RECV:" .. name:sub(2), "STDOUT" } }
    else
      name = here:gsub("\n", "") .. "/" .. process.path "notify"
      manager = process.start { name = "manager",
        argv = { "socat", "-u", "UNIX-RECV:" .. name, "STDOUT" } }
    end
    assert.truthy(process.eventually(5, function()
      return process.read("/proc/net/unix"):find(name, 1, true)
    end))
  end

  local function start(env)
    return proxy.start { source = source, values = { port = port, server = server },
      env = ("NOTIFY_SOCKET=%s %s"):format(name, env or "") }
  end

  local function said(line)
    local n = 0
    for text in manager:output():gmatch "[^\n]+" do
      n = n + (text:find(line) and 1 or 0)
    end
    return n
  end

  local function hears(line, n)
    return assert.truthy(process.eventually(10, function()
      return said(line) >= (n or 1)
    end), line)
  end

  for _, kind in ipairs { "path", "abstract" } do
    it("at a socket with a" .. (kind == "path" and " " or "n ") .. kind
      .. " name hears that we are ready, and how it goes", function()
      listen(kind)
      start()
      hears "^READY=1$"
      hears "^STATUS=1 pool, 1/2 servers up, 0 calls$"
      assert.equal(0, said "WATCHDOG")
    end)
  end

  it("hears a sign of life in time, if it wants to", function()
    listen()
    start "WATCHDOG_USEC=1000000"
    hears("^WATCHDOG=1$", 4)
  end)

  it("hears none that is meant for another process", function()
    listen()
    start "WATCHDOG_USEC=400000 WATCHDOG_PID=1"
    hears "^STATUS="
    assert.equal(0, said "WATCHDOG")
  end)

  it("hears none while a worker hangs", function()
    listen()
    local _, here = sh.run "pwd"
    local tandem = proxy.start {
      source = source, values = { port = port, server = server }, binary = "build/tandem",
      env = ("NOTIFY_SOCKET=%s WATCHDOG_USEC=400000 LD_PRELOAD=%s/build/hang.so")
        :format(name, here:gsub("\n", "")),
    }
    hears("^WATCHDOG=1$", 2)
    process.send(port, "X-Hang: 3")
    process.sleep(0.4)
    local before = said "^WATCHDOG=1$"
    tandem:signal "USR1" -- which shows that the control thread runs
    process.sleep(1.5)
    assert.equal(before, said "^WATCHDOG=1$")
    hears("^WATCHDOG=1$", before + 2)
  end)

  it("hears of a reload from its begin to its end, also when it failed", function()
    listen()
    local tandem = start()
    hears "^READY=1$"
    tandem:signal "HUP"
    hears "^RELOADING=1$"
    hears "^MONOTONIC_USEC=%d+$"
    hears("^READY=1$", 2)
    process.write("proxy.lua", "nonsense")
    tandem:signal "HUP"
    hears("^RELOADING=1$", 2)
    hears("^READY=1$", 3)
    tandem:wait_logged "config.rejected"
  end)

  it("hears that we stop, and how long that may take", function()
    listen()
    local tandem = start()
    sipp.server("ring", { port = server })
    local caller = sipp.start("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 } })
    assert.truthy(process.eventually(5, function() return caller:message "180 INVITE" end))
    tandem:signal "TERM"
    hears "^STOPPING=1$"
    hears "^EXTEND_TIMEOUT_USEC=45000000$"
    hears "^STATUS=Draining: 1 open request, 0 calls up, %d+ s left$"
    tandem:signal "TERM"
    assert.equal(0, tandem:wait())
    assert.equal(1, said "^STOPPING=1$")
  end)

  it("that does not read is not waited for", function()
    listen()
    sh.run("kill -s STOP " .. manager:pid())
    local tandem = start "WATCHDOG_USEC=20000"
    process.sleep(2)
    tandem:signal "USR1"
    tandem:wait_logged "stats"
    sh.run("kill -s CONT " .. manager:pid())
  end)
end)
