-- What operators change through the control API of the running program.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { %{settings} }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}", weight = %{weight} },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 } } })
sip.route(function(req) return req:relay(pbx) end)
]]

describe("operators", function()
  local tandem, ctl

  local function start(settings, values)
    values = values or {}
    if not values.port then
      values.port, values.a, values.b = process.ports(3)
    end
    values.weight, values.settings = values.weight or 10, settings or ""
    ctl = process.path "ctl.sock"
    tandem = proxy.start {
      name = values.name, source = source, values = values, args = { "--ctl", ctl },
    }
    return values
  end

  local function ask(method, path, body)
    return http.ask(ctl, path, { method = method, body = body })
  end

  local function server(name)
    local status, value = ask("GET", "/v1/pools/pbx/servers/" .. name)
    assert.equal(200, status)
    return value
  end

  local function patch(name, body)
    return ask("PATCH", "/v1/pools/pbx/servers/" .. name, body)
  end

  after_each(process.clean)

  it("order servers about", function()
    start()
    local status, value = patch("a", { admin = "drain", reason = "kernel", ["for"] = 7200 })
    assert.equal(200, status)
    assert.equal("drain", value.admin)
    assert.equal("kernel", value.admin_why)
    assert.matches("^ctl ", value.admin_who)
    assert.is_true(value.admin_left > 7000 and value.admin_left <= 7200)
    assert.is_false(value.kept)
    assert.equal("there is no state_dir: it lasts until the process ends", value.not_kept)
    assert.equal("ready", select(2, patch("a", { admin = "ready" })).admin)
    assert.equal("down", select(2, patch("a", { health = "down" })).health)
    assert.equal("unknown", select(2, patch("a", { health = "auto" })).health)
    assert.equal("up", select(2, patch("a", { health = "up" })).health)
    assert.equal(200, (ask("POST", "/v1/pools/pbx/failback")))
    assert.equal(200, (ask("POST", "/v1/pools/pbx/servers/a/failback")))
  end)

  it("change what a server has, and go back to what the script says", function()
    start()
    assert.equal(5, select(2, patch("a", { weight = 5, max_calls = 2, reason = "slow" })).weight)
    local _, value = ask("GET", "/v1/overrides")
    assert.equal(2, #value.overrides)
    assert.same({ "max_calls", 2 }, { value.overrides[1].what, value.overrides[1].value })
    assert.same({ "weight", 5, 10, "slow" }, { value.overrides[2].what, value.overrides[2].value,
      value.overrides[2].configured, value.overrides[2].reason })
    assert.same({ "pbx/a.max_calls", "pbx/a.weight" },
      select(2, ask("GET", "/v1/status")).reload.changes.changed)
    assert.equal(2, select(2, ask("DELETE", "/v1/overrides/pbx/a")).cleared)
    assert.equal(10, server("a").weight)
    assert.equal(404, (ask("DELETE", "/v1/overrides/pbx/a")))
  end)

  it("add a server and take one out", function()
    local values = start()
    local status, value = ask("POST", "/v1/pools/pbx/servers",
      { name = "c", uri = "sip:127.0.0.1:" .. values.b, tier = 3 })
    assert.equal(200, status)
    assert.equal(3, value.tier)
    assert.equal(409, (ask("POST", "/v1/pools/pbx/servers", { name = "c", uri = "sip:x" })))
    status, value = ask("DELETE", "/v1/pools/pbx/servers/b")
    assert.equal(200, status)
    assert.is_true(value.removed)
    assert.equal(404, (ask("GET", "/v1/pools/pbx/servers/b")))
    status, value = ask("POST", "/v1/pools/pbx/servers", { name = "b", uri = "sip:127.0.0.1" })
    assert.same({ 409, "the script has a server 'b' in pool 'pbx', which an operator has removed; "
      .. "DELETE /v1/overrides/pbx/b (tandem ctl overrides clear pbx/b) brings it back" },
      { status, value.error })
    assert.equal(200, (ask("DELETE", "/v1/pools/pbx/servers/c")))
    assert.equal(404, (ask("GET", "/v1/pools/pbx/servers/c")))
    assert.equal(1, select(2, ask("DELETE", "/v1/overrides")).cleared)
    assert.equal("b", server("b").name)
  end)

  it("clear what was ordered of a server before it was taken out, too", function()
    start()
    assert.equal(200, (patch("b", { admin = "drain" })))
    assert.equal(200, (ask("DELETE", "/v1/pools/pbx/servers/b")))
    assert.equal(2, select(2, ask("DELETE", "/v1/overrides")).cleared)
    assert.equal("ready", server "b".admin)
  end)

  it("see no password of a URI", function()
    start()
    local status, value = ask("POST", "/v1/pools/pbx/servers",
      { name = "c", uri = "sip:user:secret@127.0.0.1:9", reason = "sip:10.0.0.1:5060 a@b" })
    assert.same({ 200, "sip:user:*@127.0.0.1:9" }, { status, value.uri })
    for _, path in ipairs { "/v1/servers", "/v1/pools", "/v1/page", "/v1/overrides" } do
      local file = process.path "said"
      sh.run(("curl -sf --unix-socket %s http://x%s >%s"):format(sh.quote(ctl), path,
        sh.quote(file)))
      local text = process.read(file)
      assert.truthy(text:find("sip:user:*@127.0.0.1:9", 1, true), path)
      assert.is_nil(text:find("secret", 1, true), path)
    end
    assert.equal("sip:10.0.0.1:5060 a@b", select(2, ask("GET", "/v1/overrides"))
      .overrides[1].reason)
  end)

  it("are told what is wrong, and nothing has changed", function()
    start()
    local pbx = "/v1/pools/pbx/servers"
    for _, case in ipairs {
      { "PATCH", pbx .. "/a", { wieght = 1 }, 400,
        "unknown option 'wieght'; did you mean 'weight'?" },
      { "PATCH", pbx .. "/a", { weight = -1 }, 400, "weight: at least 0 expected, got -1" },
      { "PATCH", pbx .. "/a", {}, 400, "nothing to change: admin, health, weight, max_calls or "
        .. "max_cps expected" },
      { "PATCH", pbx .. "/a", { admin = "ready", ["for"] = 5 }, 400,
        "'for' says how long admin = \"drain\" or \"maint\" lasts" },
      { "PATCH", pbx .. "/aa", { weight = 1 }, 404, "pool 'pbx' has no server 'aa'; did you mean "
        .. "'pbx/a'?" },
      { "PATCH", "/v1/pools/pbz/servers/a", { weight = 1 }, 404,
        "there is no pool 'pbz'; did you mean 'pbx'?" },
      { "POST", pbx, { name = "c" }, 400, "'uri' is missing" },
      { "POST", pbx, { name = "c", uri = "nope" }, 422,
        "overrides: pool 'pbx': servers[3].uri: 'nope' is no SIP URI: not a valid URI" },
      { "PATCH", pbx .. "/a", { weight = "5" }, 400,
        "weight: a whole number expected, got string" },
      { "PATCH", pbx .. "/a", { admin = { "drain" } }, 400,
        "admin: 'ready', 'drain' or 'maint' expected, got a table" },
    } do
      local status, value = ask(case[1], case[2], case[3])
      assert.same({ case[4], case[5] }, { status, value.error })
    end
    local status, value = http.ask(ctl, pbx .. "/a", { method = "PATCH", raw = '{"weight":null}' })
    assert.equal(400, status)
    assert.matches("a value expected, got null", value.error, 1, true)
    assert.equal(10, server("a").weight)
    assert.is_true(select(2, ask("GET", "/v1/status")).reload.ok)
  end)

  it("give a reason that is one short line, of digits too", function()
    start()
    local wrong = "reason: a text of 1 to 200 characters expected, in UTF-8, without line ends"
    for _, reason in ipairs { "", "two\nlines", ("x"):rep(201), "\xFF", 4711 } do
      local status, value = patch("a", { admin = "drain", reason = reason })
      assert.same({ 400, wrong }, { status, value.error })
    end
    assert.equal("ready", server("a").admin)
    for _, reason in ipairs { "4711", ("ö"):rep(200), "\"<b>%s&'\\" } do
      local status, value = patch("a", { admin = "drain", reason = reason })
      assert.same({ 200, reason }, { status, value.admin_why })
    end
    assert.equal(200, (ask("POST", "/v1/pools/pbx/servers", { name = "7", uri = "sip:127.0.0.1" })))
  end)

  it("reload, and are told what has changed, or where the script is wrong", function()
    local values = start()
    local status, value = ask("POST", "/v1/reload")
    assert.equal(200, status)
    assert.same({ generation = 2, added = {}, removed = {}, changed = {} }, value)
    values.weight = 20
    process.write("proxy.lua", process.fill(source, values))
    status, value = ask("POST", "/v1/check")
    assert.equal(200, status)
    assert.same({ "pbx/a.weight" }, value.changed)
    assert.equal(2, select(2, ask("GET", "/v1/status")).generation)
    status, value = ask("POST", "/v1/reload")
    assert.same({ 200, "pbx/a.weight" }, { status, value.changed[1] })
    process.write("proxy.lua", process.fill(source .. "\nerror 'broken'", values))
    for _, path in ipairs { "/v1/check", "/v1/reload" } do
      status, value = ask("POST", path)
      assert.same({ 422, 3, 9 }, { status, value.generation, value.line })
      assert.matches("broken", value.error)
      assert.matches("proxy.lua$", value.file)
    end
    local reload = select(2, ask("GET", "/v1/status")).reload
    assert.is_false(reload.ok)
    assert.same({ 3, 4 }, { reload.generation, reload.rejected.generation })
    assert.matches(":9: broken", reload.rejected.reason)
  end)

  it("reload at the same time, and each is answered", function()
    start()
    local runs = {}
    for i = 1, 8 do
      local argv = { "curl", "-sS", "-m", "20", "--unix-socket", ctl }
      local reload = { "-X", "POST", "http://x/v1/reload" }
      local change = { "-X", "PATCH", "http://x/v1/pools/pbx/servers/b", "-d",
        ('{"weight":%d}'):format(i + 1) }
      for _, word in ipairs(i % 2 == 0 and reload or change) do
        argv[#argv + 1] = word
      end
      runs[i] = process.start { name = "client" .. i, argv = argv }
    end
    for i, run in ipairs(runs) do
      assert.equal(0, run:wait())
      assert.matches(i % 2 == 0 and '"generation":' or '"weight":', run:output(), 1, true)
    end
    assert.is_true(server("b").weight > 1)
    assert.equal(1, #select(2, ask("GET", "/v1/overrides")).overrides)
    assert.equal(0, #tandem:logged "config.rejected")
  end)

  it("ask whether it is ready", function()
    start()
    local status, text = ask("GET", "/readyz")
    assert.equal(200, status)
    assert.equal("ready\nthe key is temporary: calls do not survive a restart\n", text)
    patch("a", { admin = "maint" })
    assert.equal(200, (ask("GET", "/readyz?pool=pbx")))
    patch("b", { admin = "maint" })
    status, text = ask("GET", "/readyz?pool=pbx")
    assert.same({ 503, "pool 'pbx' is down\n" }, { status, text })
    assert.equal(404, (ask("GET", "/readyz?pool=nope")))
  end)

  it("are obeyed by the next process too", function()
    local dir = process.path "state"
    local settings = ('state_dir = "%s"'):format(dir)
    local values = start(settings)
    local _, value = patch("a", { admin = "drain", reason = "kernel", ["for"] = 7200 })
    assert.is_true(value.kept)
    assert.is_nil(value.not_kept)
    assert.is_true(select(2, patch("b", { weight = 7 })).kept)
    tandem:signal "KILL"
    tandem.expected = 137
    tandem:wait()
    values.name = "again"
    start(settings, values)
    assert.same({ "drain", "kernel" }, { server("a").admin, server("a").admin_why })
    assert.is_true(server("a").admin_left > 7000)
    assert.equal(7, server("b").weight)
    assert.equal(2, select(2, ask("DELETE", "/v1/overrides")).cleared)
    assert.is_nil(process.read(dir .. "/overrides.json"))
    tandem:stop()
  end)

  it("are obeyed when the script gives up its state_dir, which takes a restart", function()
    local dir = process.path "state"
    local values = start(('state_dir = "%s"'):format(dir))
    values.settings = ""
    process.write("proxy.lua", process.fill(source, values))
    assert.equal(200, (ask("POST", "/v1/reload")))
    assert.equal(dir, select(2, ask("GET", "/v1/status")).state_dir)
    assert.is_true(select(2, patch("a", { weight = 3, admin = "drain" })).kept)
    local text = process.read(dir .. "/overrides.json")
    assert.matches('"weight"', text, 1, true)
    assert.matches('"drain"', text, 1, true)
  end)

  it("are obeyed when the disk fails, and told so", function()
    local dir = process.path "state"
    start(('state_dir = "%s"'):format(dir))
    sh.run(("mv %s %s.away && touch %s"):format(dir, dir, dir))
    local _, value = patch("a", { admin = "drain" })
    assert.same({ "drain", false, "Not a directory" }, { value.admin, value.kept, value.not_kept })
    assert.truthy(tandem:wait_logged("state.unwritable", { file = "overrides.json" }))
    sh.run(("rm %s && mv %s.away %s"):format(dir, dir, dir))
    assert.truthy(process.eventually(5, function()
      return select(2, ask("GET", "/v1/overrides")).kept
    end))
  end)

  it("find a damaged file set aside", function()
    local dir = process.path "state"
    sh.run(("mkdir %s && echo '{\"values\":[7]}' > %s/overrides.json"):format(dir, dir))
    start(('state_dir = "%s"'):format(dir))
    local told = tandem:wait_logged("state.damaged", { file = "overrides.json" })
    assert.equal("overrides: values[1]: a table of options expected, got number", told.why)
    assert.truthy(process.read(dir .. "/overrides.json.damaged"))
    assert.equal(10, server("a").weight)
  end)

  it("find the servers as they were before a restart", function()
    local settings = ('state_dir = "%s"'):format(process.path "state")
    local values = start(settings)
    patch("a", { health = "down", reason = "seen" })
    tandem:signal "TERM"
    assert.equal(0, tandem:wait())
    values.name = "again"
    start(settings, values)
    assert.equal("down", server("a").health)
    assert.equal("seen", server("a").health_why)
    assert.equal("as before the restart",
      tandem:wait_logged("server.health", { server = "a" }).reason)
  end)

  it("drain a server under load: it is free when its last call has ended", function()
    local values = start()
    for _, name in ipairs { "a", "b" } do
      sipp.server("answer", { name = name, port = values[name], quiet = true, limit = 40,
        values = { ring = 100 } })
    end
    local load = sipp.start("call", {
      proxy = "127.0.0.1:" .. values.port, calls = 300, rate = 100, quiet = true, limit = 30,
      values = { hold = 2000 }, args = { "-l", "400" },
    })
    assert.truthy(process.eventually(5, function() return server("a").calls > 50 end))
    local _, value = patch("a", { admin = "drain", reason = "kernel" })
    assert.is_true(value.calls + value.setup > 50)
    assert.truthy(process.eventually(15, function()
      local a = server("a")
      return a.calls == 0 and a.setup == 0 and a.inflight == 0
    end))
    local last = #tandem:logged("request", { method = "BYE" })
    assert.is_true(last > 50) -- its calls have ended, nobody has cut them off
    load:succeed()
    local s = load:statistics()
    assert.equal(300, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))
    local told = tandem:wait_logged("server.admin", { server = "a" })
    assert.same({ "drain", "kernel" }, { told.to, told.reason })
  end)
end)
