-- The shipped files for keepalived, with keepalived: two machines on a wire, a virtual
-- address, and calls that follow it.
local http = require "support.http"
local netns = require "support.netns"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local here = os.getenv "PWD"
local vip = "10.9.0.100"
local own = { a = "10.9.0.11", b = "10.9.0.12" }
local other = { a = "b", b = "a" }

local source = [[
local sip = require "tandem"
sip.listen { "udp:10.9.0.100:5060", "udp:10.9.0.200:5060", "udp:%{own}:5060" }
sip.settings { key_file = "key" }
local pool = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:10.9.0.8:5080" } } })
sip.route(function(req) return req:relay(pool) end)
]]

describe("the shipped keepalived configuration", function()
  local lan, node, keepalived

  local function open()
    local why
    lan, why = netns.lan { hub = "10.9.0.7/24", a = own.a .. "/24", b = own.b .. "/24" }
    if lan and not sh.run "command -v keepalived" then
      lan, why = nil, "skipped: needs keepalived"
    end
    if not lan then
      return pending(why)
    end
    process.write("key", ("0123456789abcdef"):rep(2))
    sh.run("chmod 600 " .. process.path "key")
    lan.hub:ip "addr add 10.9.0.8/24 dev br0"
    sipp.server("answer", { port = 5080, host = "10.9.0.8", inside = lan.hub,
      values = { ring = 0, name = "pbx" } })
    node, keepalived = {}, {}
    return true
  end

  after_each(process.clean)

  local function values(name)
    return { own = own[name], key = here .. "/" .. process.path "key" }
  end

  local function start_proxy(name)
    node[name] = proxy.start { source = source:gsub('"key"', '"%%{key}"'), name = name,
      values = values(name), inside = lan[name], args = { "--ctl", process.path(name .. ".sock") } }
  end

  -- As it is shipped, but for addresses, paths and the user of the scripts.
  local function configuration(name, which)
    local text = process.read("dist/keepalived/" .. which .. ".conf")
    text = text:gsub("192%.0%.2%.", "10.9.0."):gsub("script_user tandem", "script_user root")
      :gsub("enable_script_security\n", "\n"):gsub("/usr/share/tandem/", here .. "/dist/")
      :gsub("rise 10", "rise 1") -- nobody waits here
    if name == "b" then
      text = text:gsub("priority (1%d0) ", { ["150"] = "priority 100 ", ["100"] = "priority 150 " })
      text = text:gsub("10%.9%.0%.11", "<own>"):gsub("10%.9%.0%.12", own.a):gsub("<own>", own.b)
    end
    return process.write(name .. ".conf", text)
  end

  local function start_keepalived(name, which)
    sh.run("mkdir -p " .. process.path(name .. ".state"))
    keepalived[name] = process.start {
      name = "keepalived-" .. name, inside = lan[name],
      env = ("TANDEM=%s/build/tandem TANDEM_VRRP_DIR=%s/%s"):format(here, here,
        process.path(name .. ".state")),
      argv = { "keepalived", "-n", "-l", "-G", "-P", "-f",
        configuration(name, which or "active-standby"),
        "-p", here .. "/" .. process.path(name .. ".ka"),
        "-r", here .. "/" .. process.path(name .. ".vrrp") },
    }
  end

  local function holds(name, address)
    return lan[name]:ip "-br addr show dev eth0":find(address .. "/", 1, true) ~= nil
  end

  -- Waits until this machine alone has the address.
  local function await(name, address)
    address = address or vip
    assert(process.eventually(20, function()
      return holds(name, address) and not holds(other[name], address)
    end), name .. " does not get the address")
  end

  -- A call to the virtual address is carried by this machine.
  local function call_by(name, label)
    local client = sipp.call("call", { name = label, host = "10.9.0.7", port = 5070,
      inside = lan.hub, proxy = vip .. ":5060", values = { hold = 0 } })
    local id = client:message "INVITE":header "Call%-ID"
    assert.matches("pbx/a:200", node[name]:wait_logged("request", { call_id = id }).tried)
  end

  it("moves the address away from a proxy that is stopped, or drains, and not back", function()
    if not open() then
      return
    end
    start_proxy "a"
    start_proxy "b"
    start_keepalived "a"
    await "a"
    start_keepalived "b"
    call_by("a", "first")
    node.a:signal "STOP"
    local stopped = process.now()
    await "b"
    io.write(("\nthe address left a stopped proxy after %.1f s\n"):format(process.now() - stopped))
    call_by("b", "second")
    node.a:signal "CONT"
    assert.truthy(process.eventually(20, function()
      return keepalived.a:output():find "Entering BACKUP STATE.*Entering BACKUP STATE"
    end))
    call_by("b", "third") -- it stays where it is
    assert.equal(200, (http.ask(process.path "b.sock", "/v1/drain", { method = "POST" })))
    await "a"
    call_by("a", "fourth")
    assert.equal("MASTER 100\n", process.read(process.path "a.state/vrrp.sip"))
  end)

  it("serves two addresses on two machines, and on one when the other drains", function()
    if not open() then
      return
    end
    for _, name in ipairs { "a", "b" } do
      start_proxy(name)
      start_keepalived(name, "two-vips")
    end
    await("a", "10.9.0.100")
    await("b", "10.9.0.200")
    assert.equal(200, (http.ask(process.path "a.sock", "/v1/drain", { method = "POST" })))
    await("b", "10.9.0.100")
    await("b", "10.9.0.200")
    call_by("b", "drained")
    assert.equal(200, (http.ask(process.path "a.sock", "/v1/drain", { method = "DELETE" })))
    await("a", "10.9.0.100")
  end)

  it("gives it to no proxy whose script did not load, nor to one that died", function()
    if not open() then
      return
    end
    local broken = proxy.launch { source = "sip.listen {\n", name = "a", inside = lan.a }
    broken.expected = 2
    assert.equal(2, broken:wait())
    start_keepalived "a"
    start_proxy "b"
    start_keepalived "b"
    await "b"
    call_by("b", "first")
    start_proxy "a"
    assert.truthy(process.eventually(20, function()
      return keepalived.a:output():find("Entering BACKUP STATE", 1, true)
    end))
    node.b.expected = 137
    sh.run("kill -s KILL " .. node.b:pid())
    await "a"
    call_by("a", "second")
  end)
end)

describe("check-tandem", function()
  after_each(process.clean)

  it("tells who is alive from who is ready", function()
    local port = process.ports(1)
    local p = proxy.start { name = "p", values = { port = port },
      source = 'local sip = require "tandem" sip.listen { "udp:127.0.0.1:%{port}" } '
        .. "sip.route(function(req) return req:reply(404) end)",
      args = { "--ctl", process.path "ctl.sock" } }
    local function check(what, at)
      local _, _, status = sh.run(("TANDEM=%s/build/tandem dist/keepalived/check-tandem %s "
        .. "sip:127.0.0.1:%d"):format(here, what, at or port))
      return status or 0
    end
    assert.same({ 0, 0, 2 }, { check "alive", check "ready", check "well" })
    assert.equal(200, (http.ask(process.path "ctl.sock", "/v1/drain", { method = "POST" })))
    assert.same({ 0, 1 }, { check "alive", check "ready" })
    p:signal "STOP"
    assert.same({ 1, 1 }, { check "alive", check "ready" })
    p:signal "CONT"
    assert.same({ 1, 1 }, { check("alive", process.ports(1)), check("ready", process.ports(1)) })
  end)

  it("and notify-tandem are shell that any sh reads, and the configurations name them", function()
    assert(sh.run "sh -n dist/keepalived/check-tandem && sh -n dist/keepalived/notify-tandem")
    for _, name in ipairs { "active-standby", "two-vips" } do
      local text = process.read("dist/keepalived/" .. name .. ".conf")
      for path in text:gmatch "/usr/share/tandem/(keepalived/[%w-]+)" do
        assert.truthy(process.read("dist/" .. path), path)
      end
    end
  end)
end)
