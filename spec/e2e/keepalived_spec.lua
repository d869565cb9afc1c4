-- The shipped files for keepalived, with keepalived: two machines on a wire, virtual
-- addresses, and calls that follow them. What that costs under load: spec/ha.
local account = require "ha.account"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local report = require "ha.report"
local sh = require "support.sh"
local world = require "ha.world"

local here = os.getenv "PWD"

describe("a pair of machines with the shipped files", function()
  local w

  after_each(process.clean)

  -- Calls begin, a few of each kind per second.
  local function open(layout)
    local why
    w, why = world.open { layout = layout, replace = { ["rise 10"] = "rise 1" } }
    if not w then
      return pending(why)
    end
    w:start_servers(1)
    w:start_machines()
    w:start_observers()
    w:start_load { rate = 20, hold = 3 }
    process.sleep(3)
    return true
  end

  -- All calls have come to the end that they should, and callers, servers and the wire
  -- say the same; but for so many in set-up.
  local function account_for(setup)
    w:stop_load()
    local calls = w:read()
    local lost = {}
    for _, call in ipairs(calls) do
      if account.loss(call) then
        assert.equal("set-up", account.loss(call), report.story(call, calls[1].invited))
        lost[#lost + 1] = report.story(call, calls[1].invited)
      end
      assert(call.transactions == 1 or account.loss(call), report.story(call, calls[1].invited))
      assert.is_nil(call.contradicted)
    end
    assert(#lost <= setup, table.concat(lost, "\n"))
    local well, failed = world.told(w.callers)
    assert.same({ #calls - #lost, #lost }, { well, failed })
    assert(#calls > 50, #calls)
  end

  it("loses no call to kill -9, to a planned drain, and to keepalived's end", function()
    if not open "active-standby" then
      return
    end
    w:kill "sip1"
    w:await "sip2"
    process.sleep(2)
    w:start_proxy "sip1"
    process.sleep(3) -- two checks
    assert.equal("sip2", w:holder()) -- it stays where it is
    world.drain("sip2", "POST")
    w:await "sip1"
    assert.truthy(process.eventually(5, function()
      return process.read(process.path "sip1/vrrp.sip") == "MASTER 100\n"
    end))
    world.drain("sip2", "DELETE")
    process.sleep(3)
    w:stop_keepalived "sip1"
    w:await "sip2"
    w:start_keepalived "sip1"
    process.sleep(3)
    local from = world.now()
    for _ = 1, 4 do -- which of them hears the other first is chance
      w:split(1) -- sip1 was the last to claim the address, and is the one to give way
      process.sleep(1.5)
    end
    assert.equal("sip2", w:holder())
    local gap = account.gap(w.probes[1], from, world.now())
    assert(gap < 1, gap)
    account_for(1)
  end)

  it("loses no call when a proxy is stopped and goes on, and to a split brain", function()
    if not open "two-vips" then
      return
    end
    w.proxies.sip1:signal "STOP"
    w:await("sip2", 1)
    assert.equal("sip2", w:holder(2))
    w.proxies.sip1:signal "CONT"
    w:await("sip1", 1) -- its home
    process.sleep(2)
    w:split(4)
    account_for(1)
  end)

  it("gives the address to no proxy whose script did not load", function()
    local why
    w, why = world.open {}
    if not w then
      return pending(why)
    end
    w:start_servers(0)
    local broken = proxy.launch { source = "sip.listen {\n", name = "broken", inside = w.lan.sip1 }
    broken.expected = 2
    assert.equal(2, broken:wait())
    w:start_keepalived "sip1"
    w:start_proxy "sip2"
    w:start_keepalived "sip2"
    w:await "sip2"
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
