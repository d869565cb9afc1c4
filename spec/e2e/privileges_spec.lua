-- The program needs nothing of the system that a user has not, and passes nothing on.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
sip.settings { state_dir = "%{state}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" },
  { name = "b", uri = "sip:pbx.example.invalid" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

-- Descriptors that a program which it starts would get, besides the standard ones.
local function inherited(pid)
  local list = {}
  for _, fd in ipairs(sh.lines("ls /proc/" .. pid .. "/fd")) do
    local info = process.read(("/proc/%d/fdinfo/%s"):format(pid, fd))
    local flags = info and tonumber(info:match "flags:%s*(%d+)", 8)
    if tonumber(fd) > 2 and flags and flags & 0x80000 == 0 then -- O_CLOEXEC
      local _, target = sh.run(("readlink /proc/%d/fd/%s"):format(pid, fd))
      list[#list + 1] = fd .. " " .. target
    end
  end
  return list
end

describe("the program", function()
  local port, a, web, ctl, root

  before_each(function()
    port, a, web = process.ports(3)
    ctl = process.path "ctl.sock"
    root = nil
  end)
  after_each(function()
    process.clean()
    if root then
      sh.run("rm -rf " .. root)
    end
  end)

  it("passes no descriptor on, and lets no stranger read its files", function()
    local tandem = proxy.start {
      source = source, values = { port = port, a = a, state = process.path "state" },
      args = { "--ctl", ctl, "--http", "127.0.0.1:" .. web },
    }
    sipp.server("answer", { port = a, values = { ring = 0 } })
    for _, transport in ipairs { "u1", "t1" } do
      sipp.call("call", { name = transport, proxy = "127.0.0.1:" .. port, values = { hold = 0 },
        args = { "-t", transport } })
    end
    assert.equal(200, (http.ask(ctl, "/v1/status")))
    local other = process.start { name = "other", argv = { "sleep", "30" } }
    process.eventually(5, function() return process.read(process.path "other.pid") end)
    assert.same(inherited(other:pid()), inherited(tandem:pid())) -- what we got from here
    local status = process.read(("/proc/%d/status"):format(tandem:pid()))
    assert.equal("0027", status:match "Umask:%s*(%d+)")
    assert.same({}, sh.lines("find " .. process.path "state" .. " -perm /007"))
  end)

  it("needs no root and no capability", function()
    -- where a user that is nobody may read, whatever the folder of the sources allows
    root = sh.lines "mktemp -d /tmp/tandem-spec-XXXXXX"[1]
    sh.run(("cp -r build/tandem lua %s && chmod -R a+rX %s && mkdir -m 777 %s/state"):format(
      root, root, root))
    local script = io.open(root .. "/route.lua", "w")
    script:write((process.fill(source, { port = port, a = a, state = root .. "/state/mine" })))
    script:close()
    local argv = { "setpriv", "--no-new-privs" }
    if sh.lines "id -u"[1] == "0" then
      for _, word in ipairs { "--reuid=65534", "--regid=65534", "--clear-groups",
        "--bounding-set=-all", "--inh-caps=-all" } do
        argv[#argv + 1] = word
      end
    end
    for _, word in ipairs { root .. "/tandem", "run", "-c", root .. "/route.lua", "--lua-dir",
      root .. "/lua", "--ctl", root .. "/state/ctl.sock" } do
      argv[#argv + 1] = word
    end
    local tandem = process.start { name = "proxy", argv = argv }
    tandem:wait_bound(port)
    sipp.server("answer", { port = a, values = { ring = 0 } })
    sipp.call("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 } })
    assert.equal(200, (http.ask(root .. "/state/ctl.sock", "/v1/status")))
    local status = process.read(("/proc/%d/status"):format(tandem:pid()))
    assert.equal("0", status:match "CapEff:%s*0*(%x)\n")
    tandem:signal "TERM"
    assert.equal(0, tandem:wait())
  end)
end)
