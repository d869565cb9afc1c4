-- Everything that is not a call may fail at once: the disk is full, nobody reads the log,
-- the collector is dead, clients of the control API are mute, and whom we page hangs. No
-- call notices, and counters tell.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings {
  state_dir = "%{state}", notify = "%{notify}", log_level = "debug",
  trace = { hep = "udp:127.0.0.1:%{collector}" },
}
local pbx = sip.pool("pbx", { check = { interval = 1, timeout = 0.5, fall = 1 },
  servers = { { name = "dead", uri = "sip:127.0.0.1:%{dead}", tier = 2 },
    { name = "a", uri = "sip:127.0.0.1:%{a}" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

local plain = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false,
  servers = { { name = "a", uri = "sip:127.0.0.1:%{a}" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

-- Words before a command that give it a mount of its own for `dir`, with room for the
-- key and nothing else.
local function full_disk(dir)
  local script = ("mount -t tmpfs -o size=16k none %s && head -c 12288 /dev/zero >%s/filler && "
    .. "exec \"$@\""):format(dir, dir)
  return { prefix = function()
    return { "unshare", "-rm", "sh", "-c", sh.quote(script), "sh" }
  end }
end

describe("calls go on", function()
  after_each(process.clean)

  it("while all that is beside them fails", function()
    if not sh.run "unshare -rm true" then
      return pending "skipped: needs CAP_SYS_ADMIN or user namespaces"
    end
    local port, a, dead, collector = process.ports(4)
    local ctl, state = process.path "ctl.sock", process.path "state"
    local here = sh.lines("pwd")[1] .. "/"
    sh.run("mkdir -p " .. state)
    local hangs = process.write("page", "#!/bin/sh\nexec sleep 60\n")
    sh.run("chmod +x " .. hangs)
    local tandem = proxy.start {
      source = source, inside = full_disk(here .. state), level = "info",
      values = { port = port, a = a, dead = dead, collector = collector,
        state = here .. state, notify = here .. hangs },
      args = { "--ctl", ctl },
    }
    sipp.server("answer", { port = a, quiet = true, limit = 40, values = { ring = 100 } })
    for i = 1, 20 do
      process.start {
        name = "mute" .. i, argv = { "socat", "-u", "UNIX-CONNECT:" .. ctl, "-" }, limit = 30,
      }
    end
    sipp.start("call", {
      name = "load", proxy = "127.0.0.1:" .. port, calls = 300, rate = 100, quiet = true,
      limit = 30, values = { hold = 1000 }, args = { "-l", "300" },
    }):succeed()
    assert.truthy(tandem:wait_logged "state.unwritable")

    local _, metrics = http.ask(ctl, "/metrics")
    local function number(name)
      local sum
      for line in metrics:gmatch "[^\n]+" do
        if line:find("^" .. name .. "[ {]") then
          sum = (sum or 0) + tonumber(line:match "(%S+)$")
        end
      end
      return sum or error("no metric " .. name)
    end
    assert.is_true(number "tandem_state_write_errors_total" > 0)
    assert.is_true(number "tandem_hep_dropped_total" > 0)
    assert.equal(0, number "tandem_log_dropped_total")
    assert.equal(200, (http.ask(ctl, "/healthz")))
  end)

  it("while nobody reads the log", function()
    local port, a = process.ports(2)
    local ctl, fifo = process.path "ctl.sock", process.path "log"
    sh.run("mkfifo " .. fifo)
    -- Open at both ends, and never read.
    process.start { name = "holder", argv = { "sh", "-c", "exec sleep 60 <>" .. fifo } }
    process.write("proxy.lua", process.fill(plain, { port = port, a = a }))
    local command = ("exec build/tandem run -c %s --lua-dir lua -L debug --ctl %s 2>%s")
      :format(process.path "proxy.lua", ctl, fifo)
    local tandem = process.start { name = "proxy", argv = { "sh", "-c", command } }
    tandem:wait_bound(port)
    sipp.server("answer", { port = a, quiet = true, limit = 40, values = { ring = 0 } })
    sipp.start("call", {
      name = "load", proxy = "127.0.0.1:" .. port, calls = 1000, rate = 400, quiet = true,
      limit = 30, values = { hold = 0 },
    }):succeed()
    local dropped = process.eventually(5, function()
      local _, metrics = http.ask(ctl, "/metrics")
      local n = tonumber(metrics:match "\ntandem_log_dropped_total (%S+)")
      return n > 0 and n
    end)
    assert.truthy(dropped)
  end)
end)
