-- The live page in a real browser: what it shows of a proxy, how soon, and what it does
-- with text of strangers and with a proxy that is gone. Pictures: build/e2e-page.
local browser = require "support.browser"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local check = { interval = 0.3, timeout = 0.2, fall = 2, rise = 1, fast_interval = 0.3 }
local pbx = sip.pool("pbx", { check = check, failback = { hold = 0 }, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}", max_calls = 480 },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 } } })
local carrier = sip.pool("carrier", { check = false, servers = {
  { name = "gw1", uri = "sip:127.0.0.1:%{b}", weight = 100 },
  { name = "gw2", uri = "sip:127.0.0.1:%{b}", weight = 50 } } })
sip.route(function(req)
  if req.ruri.user == "nobody" then return req:reply(500, "<b>no</b>") end
  return req:relay(pbx)
end)
sip.after(0, function()
  carrier:server("gw2"):drain("<img src=x onerror=window.hacked=1>", 3600)
end)
]]
local answering = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{at}" }
sip.route(function(req) return req:reply(200) end)
]]

-- The text of what the selector names.
local function text(selector)
  return ("const n = document.querySelector(%q); return n && n.innerText"):format(selector)
end

local function has(selector, part)
  return ("const n = document.querySelector(%q); return !!n && n.innerText.includes(%q)")
    :format(selector, part)
end

local pictures = "build/e2e-page"

local function write(name, line)
  local file = assert(io.open(pictures .. "/" .. name, "w"))
  file:write(line)
  file:close()
end

describe("the live page", function()
  local page, tandem, a, ports, web

  local function start_proxy()
    tandem = proxy.start {
      level = "info", source = source, values = { port = ports[1], a = ports[2], b = ports[3] },
      args = { "--ctl", process.path "ctl.sock", "--http", web },
    }
  end

  local function start_server(name, port)
    return proxy.start {
      name = name, level = "info", source = answering, values = { at = port },
      args = { "--ctl", "none" },
    }
  end

  setup(function()
    sh.run("mkdir -p " .. pictures)
    ports = { process.ports(4) }
    web = "127.0.0.1:" .. ports[4]
    a = start_server("a", ports[2])
    start_server("b", ports[3])
    start_proxy()
    page = browser.start()
    page:show_on(1280, 900, {})
    page:open("http://" .. web .. "/")
    page:wait(has("#pool-pbx-a .state", "up"))
  end)
  teardown(function()
    page:stop()
    process.clean()
  end)

  it("shows what the API says", function()
    local _, status = http.ask(web, "/v1/status")
    assert.matches(status.version, page:run(text "#about"), 1, true)
    assert.matches(("pid %d"):format(status.pid), page:run(text "#about"), 1, true)
    assert.matches("Servers up\n3 of 4\n", page:run(text "#figures"), 1, true)
    assert.matches("sip:127.0.0.1:" .. ports[2], page:run(text "#pool-pbx-a"), 1, true)
    assert.matches("0 / 480", page:run(text "#pool-pbx-a"), 1, true)
  end)

  it("shows text of strangers as text", function()
    local row = page:run(text "#pool-carrier-gw2")
    assert.matches("<img src=x onerror=window.hacked=1>", row, 1, true)
    assert.equal(0, page:run "return document.images.length")
    assert.is_false(page:run "return 'hacked' in window")
  end)

  it("shows requests that failed, and their whole story when it is asked for", function()
    local call_id = "<script>hacked(1)</script>" -- a legal one
    process.send(ports[1], table.concat({
      "INVITE sip:nobody@127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK1",
      "From: <sip:alice@127.0.0.1>;tag=1", "To: <sip:nobody@127.0.0.1>", "Call-ID: " .. call_id,
      "CSeq: 1 INVITE", "Max-Forwards: 70", "Content-Length: 0", "", "" }, "\r\n"))
    page:wait(has("#failed", call_id))
    assert.matches("INVITE 500 after", page:run(text "#failed"), 1, true)
    assert.matches("decided at proxy.lua:", page:run(text "#failed"), 1, true)
    assert.equal(0, page:run "return document.querySelectorAll('#failed script, b b').length")
    page:run "document.querySelector('#failed summary').click()"
    page:wait(has("#failed pre", "Call-ID " .. call_id))
    assert.matches("<-------500--------", page:run(text "#failed pre"), 1, true)
  end)

  it("shows a server that goes down, and that the backup has the calls", function()
    page:run [[
      const badge = document.querySelector("#pool-pbx-a .state");
      new MutationObserver(() => {
        if (badge.innerText === "down") window.shown_down = window.shown_down || Date.now();
      }).observe(badge, { attributes: true, childList: true, characterData: true, subtree: true });
    ]]
    a:stop()
    page:wait(has("#pool-pbx-a .state", "down"))
    assert.matches("1 pool on backup", page:run(text "#headline"), 1, true)
    assert.matches("pbx tier 2 has the calls: a down", page:run(text "#problems"), 1, true)
    assert.matches("Tier 2 takes new calls", page:run(text "#pool-pbx tr.active"), 1, true)
    local feed = page:run(text "#events")
    assert.matches("pbx/a falling → down", feed, 1, true)
    assert.matches("pool pbx up → backup", feed, 1, true)
    assert.not_matches("none →", feed, 1, true)
    assert.matches("pbx/a is down", page:run "return document.getElementById('said').textContent",
      1, true)
    local logged = tandem:wait_logged("server.health", { server = "a", to = "down" })
    local seconds = page:run(([[return (window.shown_down - Date.parse(%q)) / 1000]])
      :format(logged.ts))
    write("seconds", ("%.3f s from the line in the log to the page\n"):format(seconds))
  end)

  it("says which reload was rejected, and where the script is wrong", function()
    local name = process.path "proxy.lua"
    local script = process.read(name)
    process.write("proxy.lua", script .. "x = = 1\n")
    tandem:signal "HUP"
    page:wait(has("#problems", "Generation 2"))
    assert.matches("proxy.lua:17: unexpected symbol near '='", page:run(text "#problems"), 1, true)
    assert.matches("the last reload was rejected", page:run(text "#headline"), 1, true)
    process.write("proxy.lua", script)
    tandem:signal "HUP"
    page:wait "return document.querySelector('#figures > :last-child dd').innerText === '2'"
    assert.not_matches("rejected", page:run(text "#problems"), 1, true)
  end)

  it("fits screens of all sizes, in light and dark", function()
    for _, screen in ipairs { { 1280, 900, "light" }, { 1280, 900, "dark" }, { 360, 740, "light" },
      { 360, 740, "dark" } } do
      local width, height, scheme = table.unpack(screen)
      page:show_on(width, height, { scheme = scheme })
      page:screenshot(("%s/%d-%s.png"):format(pictures, width, scheme))
      assert.same({ width, scheme == "dark" }, {
        page:run "return document.documentElement.scrollWidth",
        page:run "return /^.gb.(\\d\\d),/.test(getComputedStyle(document.body).backgroundColor)",
      })
    end
    page:show_on(1280, 900, {})
  end)

  it("keeps what moves still for those who want that", function()
    local moves = [[
      const row = document.querySelector("#pool-pbx-b");
      row.classList.add("changed");
      const name = getComputedStyle(row.cells[0]).animationName;
      row.classList.remove("changed");
      return name;
    ]]
    assert.equal("flash", page:run(moves))
    page:show_on(1280, 900, { motion = "reduce" })
    assert.equal("none", page:run(moves))
    page:show_on(1280, 900, {})
  end)

  it("finds a server, and leaves out what is well", function()
    local shown = [[
      return [...document.querySelectorAll("tr.server")].filter(r => r.offsetParent)
        .map(r => r.id).sort().join(" ")]]
    local function set(id, property, value)
      page:run(([[const n = document.getElementById(%q); n[%q] = %s;
        n.dispatchEvent(new Event("input"))]]):format(id, property, value))
    end
    set("only", "checked", "true")
    assert.equal("pool-carrier-gw2 pool-pbx-a", page:run(shown))
    set("only", "checked", "false")
    set("find", "value", "'gw'")
    assert.equal("pool-carrier-gw1 pool-carrier-gw2", page:run(shown))
    set("find", "value", "''")
    page:run "document.querySelector('#pool-pbx button').click()"
    assert.equal("pool-carrier-gw1 pool-carrier-gw2", page:run(shown))
    assert.equal("false", page:run
      "return document.querySelector('#pool-pbx button').getAttribute('aria-expanded')")
    page:run "document.querySelector('#pool-pbx button').click()"
  end)

  it("asks nobody but the proxy, and has no complaints", function()
    assert.same({}, page:complaints())
    local n = 0
    for _, url in ipairs(page:requested()) do
      if not url:find "^data:" then
        n = n + 1
        assert.matches("^http://" .. web:gsub("%p", "%%%0") .. "/", url)
      end
    end
    assert(n > 2)
  end)

  it("asks nothing while nobody looks", function()
    page:hide()
    page:wait(has("#live", "paused"))
    page:requested()
    process.sleep(1.5) -- would be one question at least
    assert.same({}, page:requested())
    page:unhide()
    page:wait(has("#live", "live"))
  end)

  it("says since when there is no answer, and goes on when there is one", function()
    tandem:stop()
    page:wait(has("#live", "no answer since"))
    assert.matches("does not answer", page:run(text "#headline"), 1, true)
    assert.matches("sip:127.0.0.1:" .. ports[2], page:run(text "#pool-pbx-a"), 1, true)
    page:screenshot(pictures .. "/no-answer.png")
    start_proxy()
    page:wait(has("#live", "live"))
    page:wait(has("#about", ("pid %d"):format(tandem:pid())))
  end)

  it("names the command that shows the same, where there is no JavaScript", function()
    page:devtools("Emulation.setScriptExecutionDisabled", { value = true })
    page:open("http://" .. web .. "/")
    assert.matches("tandem ctl status", page:text "noscript", 1, true)
    page:devtools("Emulation.setScriptExecutionDisabled", { value = false })
  end)
end)
