-- sip.settings { notify = }: a program is run for each transition, and no call waits for it.
local cjson = require "cjson"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { notify = %{notify} }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:127.0.0.1:%{a}" }, { name = "b", uri = "sip:127.0.0.1:%{b}" },
  },
  check = { interval = 0.5, timeout = 0.4, fall = 2, rise = 1 }, failback = { hold = 0 },
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
-- as many transitions as wanted
sip.on("server.admin", function() end)
sip.on("start", function()
  local orders = %{orders}
  for i = 1, orders do
    if i % 2 == 1 then pbx:server("b"):drain() else pbx:server("b"):ready() end
  end
end)
]]

-- Keeps what it is given, and says how it was started.
local keep = [[
#!/bin/sh
dir=$(dirname "$0")
{
  cat
  echo "$TANDEM_EVENT|$TANDEM_POOL|$TANDEM_SERVER|$TANDEM_TO"
} >"$dir/new.$$"
ls -l /proc/$$/fd | grep -c -- '->' >"$dir/fds.$$"
ps -o pgid= -p $$ | tr -d ' ' >"$dir/pgid.$$"
mv "$dir/new.$$" "$dir/told.$$"
]]

describe("notify", function()
  local port, a, b, tandem, ctl

  before_each(function()
    port, a, b = process.ports(3)
    ctl = process.path "ctl.sock"
  end)
  after_each(process.clean)

  local function program(text, name)
    local path = process.write(name or "page", text)
    sh.run("chmod +x " .. path)
    return path
  end

  local function settings(notify, orders)
    return { port = port, a = a, b = b, notify = notify, orders = orders or 0 }
  end

  local function start(notify, orders)
    tandem = proxy.start { source = source, level = "info", values = settings(notify, orders),
      args = { "--ctl", ctl } }
  end

  -- What was told: JSON and environment, in the order of the process ids.
  local function told()
    local list = {}
    for _, path in ipairs(sh.lines("ls -tr " .. process.path "told.* 2>/dev/null") or {}) do
      local json, env = (process.read(path) or ""):match "^(.-)\n([^\n]*)\n$"
      list[#list + 1] = json and { json = cjson.decode(json), env = env,
        pid = path:match "%d+$" } or nil
    end
    return list
  end

  local function find(event, to)
    for _, one in ipairs(told()) do
      if one.json.event == event and one.json.to == to then
        return one
      end
    end
  end

  local function wait_for(event, to)
    return assert(process.eventually(8, function() return find(event, to) end),
      "nobody was told of " .. event .. " " .. to)
  end

  local function metric(result)
    local _, text = http.ask(ctl, "/metrics")
    return tonumber(text:match('tandem_notify_total{result="' .. result .. '"} (%d+)'))
  end

  it("tells of a server that dies and of the pool that is down with it", function()
    program(keep)
    local one = sipp.server("answer", { name = "a", port = a, values = { ring = 0 } })
    start '"page"' -- beside the script
    wait_for("server.health", "down") -- b was never there
    one:kill()
    assert.truthy(process.eventually(8, function()
      return find("pool.state", "down") or find("pool.tier", "0")
    end))
    local health, seen = nil, {}
    for _, event in ipairs(told()) do
      local j = event.json
      seen[j.event .. " " .. tostring(j.server) .. " " .. j.to] = true
      health = j.server == "a" and j.to == "down" and event or health
    end
    assert.is_true(seen["server.health a up"])
    assert.is_nil(seen["server.health a falling"])
    assert.is_nil(seen["server.health a unknown"])
    assert.equal("server.health|pbx|a|down", health.env)
    assert.equal("warn", health.json.level)
    assert.equal("2/2", health.json.checks)
    assert.equal("0/2", health.json.left)
    assert.is_nil(health.json.skipped)
    assert.equal("0", (process.read(process.path("pgid." .. health.pid)):gsub("%s", ""):gsub(
      "^" .. health.pid .. "$", "0"))) -- a group of its own
    -- standard input and output, the script that is read, and what looks at it
    assert(tonumber(process.read(process.path("fds." .. health.pid))) <= 5)
    assert.truthy(process.eventually(3, function() return metric "ok" == #told() end))
    assert.equal(0, metric "failed")
  end)

  it("holds up no call when the program hangs, and ends it with the process", function()
    program "#!/bin/sh\necho I wait\ntouch \"$(dirname \"$0\")/begun\"\nsleep 1000 & wait\n"
    sipp.server("answer", { name = "a", port = a, values = { ring = 0 } })
    start '{ program = "page", timeout = 60 }'
    assert.truthy(process.eventually(8, function()
      return process.read(process.path "begun")
    end))
    tandem:wait_logged("server.health", { server = "a", to = "up" }, 8)
    sipp.call("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 }, calls = 100,
      rate = 100 })
    assert.equal(0, metric "timeout") -- it is still there
    tandem:signal "INT"
    assert.equal(0, tandem:wait())
    local failed = tandem:logged("notify.failed")[1]
    assert.same({ "timeout", "I wait", "server.health" },
      { failed.reason, failed.error, failed.about })
    assert.equal("0\n", select(2, sh.run "pgrep -f '[s]leep 1000' | wc -l"))
  end)

  it("leaves out what is too much, and says how much", function()
    program(keep)
    start('{ program = "page", per_minute = 5 }', 40)
    assert.truthy(process.eventually(5, function() return #told() >= 5 end))
    assert.truthy(process.eventually(3, function() return metric "skipped" >= 35 end))
    assert.truthy(process.eventually(3, function() return metric "ok" == 5 end))
    assert.equal(5, #told())
    assert.same({}, tandem:logged "notify.failed")
  end)

  it("says what went wrong with it", function()
    program "#!/bin/sh\necho no mail today >&2\nexit 3\n"
    start('"page"', 4)
    local failed = tandem:wait_logged "notify.failed"
    assert.same({ "exit", 3, "no mail today" }, { failed.reason, failed.status, failed.error })
    assert.matches("^server%.", failed.about)
    assert.truthy(process.eventually(5, function() return metric "failed" >= 4 end))
    assert.equal(1, #tandem:logged "notify.failed")
    -- and when it is gone meanwhile
    os.remove(process.path "page")
    local before = metric "failed"
    sipp.server("answer", { name = "a", port = a, values = { ring = 0 } })
    assert.truthy(process.eventually(5, function() return metric "failed" > before end))
    assert.equal(0, metric "ok")
  end)

  it("is another one after a reload, or none", function()
    program(keep)
    program("#!/bin/sh\nexec touch $(dirname $0)/other\n", "other-page")
    start '"page"'
    local function reload(notify)
      local before = #tandem:logged "reload"
      process.write("proxy.lua", process.fill(source, settings(notify)))
      tandem:signal "HUP"
      assert.truthy(process.eventually(5, function()
        return #tandem:logged "reload" > before or tandem:logged("config.rejected")[1]
      end))
    end
    reload '"other-page"'
    assert.truthy(process.eventually(3, function()
      return process.read(process.path "other")
    end))
    -- what cannot be run is refused, and the one before goes on
    process.write("plain", "no program")
    reload '"plain"'
    assert.matches("proxy.lua:3: sip.settings: notify: .*/plain cannot be run",
      tandem:wait_logged("config.rejected").reason)
    os.remove(process.path "other")
    assert.truthy(process.eventually(3, function() -- of the rejection itself
      return process.read(process.path "other")
    end))
    assert.is_nil(find("config.rejected"))
  end)

  it("tells what has just happened when the process ends", function()
    program("#!/bin/sh\nsleep 0.2\n" .. keep:gsub("^[^\n]*\n", ""))
    start('"page"', 3)
    tandem:signal "INT"
    assert.equal(0, tandem:wait())
    assert(#told() >= 2, #told())
  end)

  it("may be the mail that is shipped", function()
    program [[
#!/bin/sh
cat >"$(dirname "$0")/mail"
echo "$*" >"$(dirname "$0")/options"
]]
    local function mail(event, to, server)
      os.remove(process.path "mail")
      local ok, output = sh.run((
        "printf '{\"event\":\"%s\"}\\n' | env TANDEM_EVENT=%s TANDEM_TO=%s TANDEM_POOL=pbx "
        .. "TANDEM_SERVER=%s TANDEM_MAIL=noc@example.com SENDMAIL=%s dist/notify/mail"
      ):format(event, event, to, server or "", process.path "page"))
      assert(ok, output)
      assert.equal("", output)
      return process.read(process.path "mail")
    end
    local down = mail("server.health", "down", "a")
    assert.matches("^To: noc@example.com\nSubject: tandem on %S+: pbx/a is down\n\n", down)
    assert.matches('{"event":"server.health"}\n$', down)
    assert.equal("-t\n", process.read(process.path "options"))
    assert.matches("Subject: tandem on %S+: pbx is backup\n", mail("pool.state", "backup"))
    assert.matches("a new script was not taken\n", mail("config.rejected", ""))
    assert.is_nil(mail("server.hold", "", "a"))
  end)

  it("has to be a program, for check, run and a reload", function()
    for path, wrong in pairs {
      ["nothing"] = "nothing: No such file or directory",
      ["/tmp"] = "/tmp is not a file",
      ["plain"] = "plain cannot be run: Permission denied",
    } do
      process.write("plain", "no program")
      local script = process.write("wrong.lua", process.fill(source, settings(("%q"):format(path))))
      for _, command in ipairs { "check", "run" } do
        local _, output, status = sh.run(("timeout 10 %s/tandem %s --lua-dir lua -c %s")
          :format(os.getenv "BUILD" or "build/san", command, script))
        assert.equal(2, status)
        assert.matches("wrong.lua:3: sip.settings: notify: ", output, 1, true)
        assert.matches(wrong, output, 1, true)
      end
    end
  end)
end)
