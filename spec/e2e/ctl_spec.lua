-- `tandem ctl` and the running proxy: what it shows, how it ends, and who may.
local cjson = require "cjson"
local ctl_of = require "support.ctl"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}", max_calls = 480 },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2, weight = 50 } } })
sip.pool("empty", { check = false, servers = {
  { name = "x", uri = "sip:127.0.0.1:%{a}" } } })
sip.on("start", function()
  pbx:server "a":mark_down "the spec"
end)
sip.route(function(req)
  if not req:relay(pbx, { timeout = 60 }) then return req:reply(500) end
end)
]]

local token = ("0123456789abcdef"):rep(2)

describe("tandem ctl", function()
  local tandem, ctl, sock, tcp, port, b

  before_each(function()
    local a, web
    port, a, b, web = process.ports(4)
    sock, tcp = process.path "ctl.sock", "127.0.0.1:" .. web
    ctl = ctl_of.new(sock)
    tandem = proxy.start {
      source = source, values = { port = port, a = a, b = b },
      args = {
        "--ctl", sock, "--http", tcp, "--http-token", process.write("token", token .. "\n"),
      },
    }
  end)
  after_each(process.clean)

  -- The output of what must succeed.
  local function good(words, options)
    local code, output, errors = ctl(words, options)
    assert.same({ 0, "" }, { code, errors })
    return output
  end

  -- The error of what must end with this code.
  local function bad(code, words, options)
    local got, output, errors = ctl(words, options)
    assert.same({ code, "" }, { got, output })
    return errors
  end

  it("shows the status, pools and servers", function()
    assert.matches("^tandem [%w.-]+, up for %d+ s, since %d%d:%d%d:%d%d, process "
      .. tandem:pid() .. "\n", good "status")
    assert.matches("\n  config   generation 1, loaded %d+ s ago %(at the start%)\n", good "status")
    assert.matches("calls do not survive a restart", good "status", 1, true)
    assert.matches("pool pbx: 2 servers without checks", good "status", 1, true)
    assert.matches("\npbx/a   down   %d+ s  the spec %(script ", good "status")
    assert.equal([[
POOL   STATE   TIER  USABLE  CALLS
pbx    backup     2     1/2      0
empty  up         1     1/1      0
]], good "pools")
    local shown = good "servers pbx":gsub("%d+ s ", "0 s "):gsub("%(script.*%.lua:", "(")
    assert.equal([[
pbx: backup, tier 2 takes calls, 1 of 2 servers usable
   SERVER  TIER  STATE      FOR  CALLS  OPEN  WEIGHT  WHY
   a          1  down       0 s  0/480     0       1  the spec (9)
*  b          2  unchecked           0     0      50
]], shown)
    assert.matches("^pbx: .*\n\nempty: ", good "servers")
    assert.matches("^pbx/a  down for %d+ s, since .*\n  why        the spec ",
      good "server show pbx/a")
  end)

  it("gives what the API gave", function()
    for words, path in pairs {
      status = "/v1/status", pools = "/v1/pools", servers = "/v1/servers",
      ["servers pbx"] = "/v1/pools/pbx/servers", ["server show pbx/b"] = "/v1/pools/pbx/servers/b",
    } do
      local mine, its = cjson.decode(good("-o json " .. words)), select(2, http.ask(sock, path))
      for _, value in ipairs { mine, its } do
        value.now, value.uptime, value.descriptors = nil, nil, nil
        for _, server in ipairs(value) do
          server.status_for = nil
          for _, one in ipairs(server.servers or {}) do
            one.status_for = nil
          end
        end
      end
      assert.same(its, mine)
    end
    assert.matches("^# HELP tandem_build_info ", good "metrics")
  end)

  it("has help for all of it", function()
    local code, help = ctl "--help"
    assert.equal(0, code)
    local verbs = require "tandem.command.ctl.verbs".list
    for _, verb in ipairs(verbs) do
      assert.matches("\n  " .. verb.name, help, 1, true)
      local own = good(verb.name .. " --help")
      assert.matches("^Usage: tandem ctl " .. verb.name:gsub("%-", "%%-"), own)
      for _, option in ipairs(verb.options or {}) do
        assert.matches("--" .. option.name, own, 1, true)
      end
    end
    assert.equal(help, good "help")
    assert.equal(good "drain -h", good "help drain")
    assert.matches("Usage: tandem ctl server show", good "server --help", 1, true)
    assert.equal(2, (ctl ""))
  end)

  it("says what was meant", function()
    for words, text in pairs {
      ["statsu"] = "unknown verb 'statsu'; did you mean 'status'?",
      ["evnets --follow"] = "unknown verb 'evnets'; did you mean 'events'?",
      ["server --reason x drian pbx/a --wait"] = "unknown verb 'server drian'; did you mean ",
      ["server"] = "server what? ",
      ["server drian pbx/a"] = "unknown verb 'server drian'; did you mean 'server drain'?",
      ["server pbx/a drain"] = "the order comes first: server drain pbx/a",
      ["drain pbx/a"] = "drain takes no arguments; did you mean 'server drain pbx/a'?",
      ["server drain a"] = "a server is POOL/NAME, not 'a'",
      ["server drain"] = "server drain needs POOL/NAME",
      ["server drain pbx/a --fro 2h"] = "unknown option '--fro'; did you mean '--for'?",
      ["server drain pbx/a --for 2w"] = "--for: a duration is 30s, 5m, 2h, 1d or 1h30m, not '2w'",
      ["server drain pbx/a --for 31d"] = "--for: at most 30 d, not '31d'",
      ["log-level debug --for 25h"] = "--for: at most 24 h, not '25h'",
      ["server set pbx/a wieght=5"] = "there is no 'wieght'; did you mean 'weight'?",
      ["server set pbx/a weight=x"] = "weight is a number, not 'x'",
      ["-o xml status"] = "--output: text or json, not 'xml'",
      ["-s ftp://x status"] = "-s is the path of a socket or http://HOST:PORT, not 'ftp://x'",
      ["--token-file /nope status"] = "--token-file: /nope: No such file or directory",
      ["log-level"] = "log-level needs a level: error, warn, info or debug",
      ["trace"] = "trace needs --call-id or --from: whose messages?",
    } do
      assert.matches("tandem ctl: " .. text, bad(2, words), 1, true)
    end
    for words, text in pairs {
      ["servers pbxx"] = "there is no pool 'pbxx'; did you mean 'pbx'?",
      ["server show pbx/aa"] = "pool 'pbx' has no server 'aa'; did you mean 'pbx/a'?",
      ["server show 'pbx/a b%'"] = "pool 'pbx' has no server 'a b%'; there is a, b",
    } do
      assert.equal("tandem ctl: " .. text .. "\n", bad(1, words))
    end
  end)

  it("finds the proxy by -s, then by TANDEM_CTL", function()
    local _, _, errors = ctl_of.new "/nope"("status", { env = "TANDEM_CTL=" .. sock })
    assert.matches("cannot reach the proxy at /nope", errors, 1, true)
    local program = os.getenv "BUILD" or "build/san"
    assert.is_true((sh.run("env TANDEM_CTL=" .. sock .. " " .. program .. "/tandem ctl pools")))
    assert.matches("/run/tandem/ctl.sock: ",
      select(2, sh.run("env TANDEM_CTL= " .. program .. "/tandem ctl pools")), 1, true)
    local by_tcp = ctl_of.new("http://" .. tcp)
    assert.equal(good "pools", select(2, by_tcp "pools"))
  end)

  it("changes things by TCP with a token only", function()
    local by_tcp = ctl_of.new("http://" .. tcp)
    local code, _, errors = by_tcp "drain"
    assert.equal(1, code)
    assert.matches("^tandem ctl: changes go over the control socket, or with the token", errors)
    assert.matches("; to send it: %-%-token%-file FILE\n$", errors)
    local wrong = process.write("wrong", ("x"):rep(32) .. "\n")
    assert.equal(1, (by_tcp("--token-file " .. wrong .. " drain")))
    assert.is_false(select(2, http.ask(sock, "/v1/drain")).draining)
    assert.equal(0, (by_tcp("--token-file " .. process.path "token" .. " drain")))
    assert.is_true(select(2, http.ask(sock, "/v1/drain")).draining)
  end)

  it("ends with 3 when there is no proxy", function()
    assert.matches("^tandem ctl: cannot reach the proxy at /nope/x: there is no such socket%. "
      .. "Is the proxy running", select(3, ctl_of.new "/nope/x" "status"))
    assert.equal(3, (ctl_of.new "/nope/x" "status"))
    assert.equal(3, (ctl_of.new "http://127.0.0.1:1" "status"))
    assert.equal(3, (ctl_of.new "http://no.such.host.invalid:1" "status"))
    assert.equal(3, (ctl_of.new(("x"):rep(200)) "status"))
    sh.run("chmod 0 " .. sock)
    local nobody = sh.run "test $(id -u) = 0"
      and "setpriv --reuid=65534 --regid=65534 --clear-groups" or ""
    assert.matches("^tandem ctl: cannot reach the proxy at .*: it is for root",
      bad(3, "status", { prefix = nobody }))
    tandem:signal "KILL"
    tandem.expected = 137
    tandem:wait()
    assert.matches("the socket is there, but the proxy that made it has ended",
      bad(3, "status", { prefix = "" }), 1, true)
  end)

  it("does not wait for a proxy that is stopped", function()
    tandem:signal "STOP"
    local code, _, errors = ctl "--timeout 0.5s status"
    tandem:signal "CONT"
    assert.equal(1, code)
    assert.matches("does not answer within 0.5 s: it is stopped or stuck", errors, 1, true)
    assert.equal(0, (ctl "status"))
  end)

  it("says which library it needs", function()
    local _, _, errors = ctl("pools", { env = "LUA_PATH=/nope/?.lua" })
    assert.equal("tandem ctl: this needs LuaSocket for Lua 5.4: apt-get install lua-socket\n",
      errors)
  end)

  it("does not say that it has written what it has not", function()
    local code, _, errors = ctl "servers >/dev/full"
    assert.equal(1, code)
    assert.matches("cannot write: No space left on device", errors, 1, true)
  end)

  it("is fitted to a terminal, and coloured there only", function()
    local function on_terminal(words, env)
      local line = "stty cols 50; " .. ctl:line(words, { env = "TERM=xterm " .. (env or "") })
      return select(2, sh.run("script -qec " .. sh.quote(line) .. " /dev/null")):gsub("\r", "")
    end
    local shown = on_terminal "servers pbx"
    assert.matches("\27%[31mdown +\27%[0m", shown)
    for line in shown:gsub("\27%[%d*m", ""):gmatch "[^\n]+" do
      assert(utf8.len(line) <= 60, line)
    end
    assert.not_matches("\27", on_terminal("servers pbx", "NO_COLOR=1"))
    assert.not_matches("\27", good "servers pbx")
  end)

  it("drains the proxy, and waits for the last call", function()
    sipp.server("answer", { port = b, values = { ring = 0 } })
    local up = sipp.start("call", { proxy = "127.0.0.1:" .. port, values = { hold = 4000 } })
    assert.truthy(process.eventually(5, function()
      return select(2, http.ask(sock, "/v1/drain")).calls == 1
    end))
    assert.equal("draining: nothing new is taken; 1 call\n", good "drain")
    assert.matches("draining: new requests are answered 503", good "status", 1, true)
    local code, output, errors = ctl "drain --wait=0.1s"
    assert.same({ 1, "draining: nothing new is taken; 1 call\n" }, { code, output })
    assert.equal("tandem ctl: the proxy still has 1 call after 0.1 s\n", errors)
    local _, shown = sh.run("script -qec " .. sh.quote(ctl:line "drain --wait=20s") .. " /dev/null")
    assert.matches("\r\27%[Kthe proxy: 1 call, after %d+ s", shown)
    assert.matches("\r\27%[Kno call is left\r\n$", shown)
    assert.equal("draining: nothing new is taken\nno call is left\n", good "drain --wait=20s")
    up:succeed()
    assert.equal("takes new calls again\n", good "drain --off")
    assert.is_false(cjson.decode(good "-o json drain --off").draining)
  end)

  it("waits no longer when somebody else has taken the order back", function()
    sipp.server("answer", { port = b, values = { ring = 0 } })
    sipp.start("call", { proxy = "127.0.0.1:" .. port, values = { hold = 60000 } })
    assert.truthy(process.eventually(5, function()
      return select(2, http.ask(sock, "/v1/drain")).calls == 1
    end))
    for order, case in pairs {
      ["server drain pbx/b"] = { "server ready pbx/b --reason 'not now'",
        "tandem ctl: pbx/b takes calls again (ctl %S+ ?%d*: not now), and has 1 call\n" },
      drain = { "drain --off",
        "tandem ctl: the proxy takes new calls again, somebody has ended the drain\n" },
    } do
      local waiting = process.start {
        name = "waiting-" .. order:match "%a+", limit = 20, -- each with a log of its own
        argv = { "sh", "-c", ctl:line(order .. " --wait") .. " 2>&1" },
      }
      assert.truthy(process.eventually(5, function()
        return waiting:output():find "drain"
      end))
      good(case[1])
      waiting.expected = 1
      assert.equal(1, waiting:wait())
      assert.matches(case[2]:gsub("[()]", "%%%0"), waiting:output())
    end
  end)

  it("shows calls, and why they went where they went", function()
    assert.equal("No request is remembered.\n", good "why")
    assert.equal("Of the requests that are remembered none has failed.\n", good "why --failed")
    sipp.server("ring", { port = b })
    local open = sipp.start("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 } })
    assert.truthy(process.eventually(5, function() return open:message "180 INVITE" end))
    local call_id = cjson.decode(good "-o json calls").requests[1].call_id
    local shown = good "calls"
    assert.matches("^1 open request\n", shown)
    assert.matches("\n" .. call_id:gsub("%p", "%%%0") .. " +INVITE +%w", shown)
    assert.matches("\npbx/b +0 +1\n", shown)
    assert.matches("pbx/b", good("why " .. call_id), 1, true)
    assert.matches("INVITE", good("why --ladder " .. call_id), 1, true)
    assert.matches(call_id, good "why --last 5", 1, true)
    assert.not_matches(call_id, good "why --failed", 1, true)
    assert.equal(call_id, cjson.decode(good("-o json why " .. call_id))[1].call_id)
    assert.equal("tandem ctl: nothing is known of Call-ID 'nope'\n", bad(1, "why nope"))
    bad(2, "why --ladder")
    bad(2, "calls --last 0")
  end)

  it("ends the proxy, and waits for that", function()
    assert.equal("ending; nothing is open\nit has ended\n", good "stop --wait=20s")
    assert.equal(0, tandem:wait())
    assert.equal(3, (ctl "status"))
  end)
end)

describe("orders of tandem ctl", function()
  local tandem, ctl, sock

  before_each(function()
    local port, a, b = process.ports(3)
    sock = process.path "ctl.sock"
    ctl = ctl_of.new(sock)
    tandem = proxy.start {
      source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, failback = { hold = 600 }, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 } } })
sip.route(function(req) return req:relay(pbx) end)
]], values = { port = port, a = a, b = b }, args = { "--ctl", sock },
    }
  end)
  after_each(process.clean)

  local function good(words)
    local code, output, errors = ctl(words)
    assert.same({ 0, "" }, { code, errors })
    return output
  end

  local function server(name)
    return select(2, http.ask(sock, "/v1/pools/pbx/servers/" .. name))
  end

  it("take a server out and back, with who and why", function()
    assert.matches("^pbx/a: drain, ctl %w[^,]*, 2 h left: new kernel\n",
      good "server drain pbx/a --reason 'new kernel' --for 2h")
    local a = server "a"
    assert.same({ "drain", "drain", "new kernel" }, { a.status, a.admin, a.admin_why })
    assert.matches("^ctl ", a.admin_who)
    assert.matches("a +1  drain +%d s +0 +0  ctl %w[^,]*, 2 h left: new kernel\n",
      good "servers pbx")
    assert.matches("\npbx/a +admin +drain +ready ", good "overrides")
    assert.matches("pbx/b: maint, .*\n  .*pool pbx has no usable server now\n$",
      good "server maint pbx/b")
    assert.matches("^pbx/a: unchecked\n", good "server ready pbx/a")
    assert.equal("ready", server "a".admin)
    assert.equal("maint", cjson.decode(good "-o json server maint pbx/b --reason x").admin)
    assert.matches("pbx/a: drain, .*pbx/a: no call is left\n$",
      (good "server drain pbx/a --wait=9s":gsub("\n", " ") .. "\n"):gsub(" \n$", "\n"))
  end)

  it("say who gave them, by what the kernel says", function()
    local _, me = sh.run "id -u"
    local uid, prefix = me:match "%d+", nil
    if uid == "0" then
      sh.run("chmod 666 " .. sock)
      uid, prefix = "65534", "setpriv --reuid=65534 --regid=65534 --clear-groups"
      good "server drain pbx/b"
      assert.equal("ctl root", server "b".admin_who)
    end
    assert.equal(0, (ctl("server drain pbx/a", { prefix = prefix })))
    assert.equal("ctl uid " .. uid, server "a".admin_who)
  end)

  it("say that a server is down, up, and what the checks say", function()
    assert.matches("^pbx/a: down, it smells %(ctl ", good "server down pbx/a --reason 'it smells'")
    assert.equal("down", server "a".status)
    assert.matches("^pbx/a: unchecked\n", good "server auto pbx/a")
    assert.matches("^pbx/a: up\n", good "server up pbx/a")
    assert.equal("up", server "a".health)
  end)

  it("end a failback hold", function()
    local port, server_port, b = process.ports(3)
    sock = process.path "back.sock"
    ctl = ctl_of.new(sock)
    local function answering(name)
      return proxy.start {
        name = name, source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.route(function(req) return req:reply(200) end)
]], values = { port = server_port }, args = { "--ctl", "none" },
      }
    end
    local first = answering "first"
    proxy.start {
      name = "back", source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.pool("back", { failback = { hold = 600 },
  check = { interval = 0.2, fast_interval = 0.2, timeout = 0.15, fall = 1, rise = 1 },
  servers = { { name = "a", uri = "sip:127.0.0.1:%{a}" },
    { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2, check = false } } })
]], values = { port = port, a = server_port, b = b }, args = { "--ctl", sock },
    }
    local function wait_for(status)
      assert.truthy(process.eventually(10, function()
        local one = select(2, http.ask(sock, "/v1/pools/back/servers/a"))
        return one.status == status and one.health ~= "unknown"
      end), status)
    end
    wait_for "up"
    first:stop()
    wait_for "down"
    answering "second"
    wait_for "held"
    assert.matches("\n +a +1 +held .*failback, 10 min left", good "servers back")
    assert.matches("^back: up, tier 1 takes calls, 2 of 2 servers usable\n",
      good "pool failback back")
    assert.equal(1, (ctl "pool failback back/x"))
    assert.equal(0, (ctl "pool failback back/a"))
  end)

  it("change values and servers, and take that back", function()
    assert.matches("^pbx/a: weight 50, max_calls 10\n",
      good "server set pbx/a weight=50 max_calls=10 --reason half")
    assert.same({ 50, 10 }, { server "a".weight, server "a".max_calls })
    assert.matches("^pbx/c: added, tier 3, sip:127.0.0.1:5999\n",
      good "server add pbx/c sip:127.0.0.1:5999 tier=3")
    assert.equal(1, (ctl "server add pbx/c sip:127.0.0.1:5999"))
    assert.matches("^pbx/b: removed\n", good "server remove pbx/b")
    local shown = good "overrides"
    for _, line in ipairs {
      "pbx/a +max_calls +10 .*half", "pbx/a +weight +50 +1 ", "pbx/b +removed +sip:127",
      "pbx/c +server +sip:127.0.0.1:5999",
    } do
      assert.matches("\n" .. line, shown)
    end
    assert.equal(4, #cjson.decode(good "-o json overrides").overrides)
    assert.equal("1 override cleared: as the script says\n", good "overrides clear pbx/b")
    assert.equal(1, (ctl "overrides clear pbx/b"))
    assert.equal("3 overrides cleared: as the script says\n", good "overrides clear")
    assert.matches("^There are none: all is as the script says%.\n", good "overrides")
    assert.equal(1, server "a".weight)
  end)

  it("say what of them is not kept", function()
    assert.matches("\n  not kept: there is no state_dir", good "server drain pbx/a", 1, true)
  end)

  it("load the script again, or say where it is wrong", function()
    assert.matches("^generation 2 runs\n  nothing is different\n", good "reload")
    local path = process.path "proxy.lua"
    local text = process.read(path)
    process.write("other.lua", (text:gsub("tier = 2", "tier = 3")))
    local other = process.path "other.lua"
    assert.equal("it loads; beside generation 2:\n  changed  pbx/b.tier\n", good("check " .. other))
    process.write("proxy.lua", text .. "\nx(\n")
    local code, output, errors = ctl "reload"
    assert.same({ 1, "" }, { code, output })
    assert.matches("^tandem ctl: .*proxy%.lua:%d+: .*\n  Generation 2 goes on, nothing has "
      .. "changed%.\n$", errors)
    assert.matches("generation 3 rejected %d s ago: .*proxy.lua:%d+:", good "status")
    code, output = ctl "-o json check"
    assert.equal(1, code)
    assert.equal(2, cjson.decode(output).generation)
    process.write("proxy.lua", (text:gsub("tier = 2", "tier = 3")))
    assert.matches("runs\n  changed  pbx/b.tier\n$", good "reload")
    assert.not_matches("rejected", good "status", 1, true)
  end)

  it("are events", function()
    good "server down pbx/a --reason broken"
    assert.matches("  pbx/a  unknown %-> down  broken %(ctl [^\n]*, 1/2 left\n", good "events")
    assert.is_table(cjson.decode(good "-o json events").events)
  end)

  it("are seen as they happen", function()
    local follower = process.start {
      name = "follower", argv = { "sh", "-c", ctl:line "-o json events --follow" },
    }
    local function seen(event, to)
      return process.eventually(10, function()
        for line in follower:output():gmatch "[^\n]+" do
          local one = cjson.decode(line)
          if one.event == event and one.to == to then
            return one
          end
        end
      end)
    end
    assert.truthy(seen("server.health", "unknown"))
    good "server down pbx/a --reason broken"
    assert.equal("broken", seen("server.health", "down").reason)
    assert.equal("pbx", seen("pool.state", "backup").pool)
    tandem:stop()
    assert.equal(3, follower:wait())
    assert.matches("cannot reach the proxy", follower:output(), 1, true)
  end)

  it("look closer for a while", function()
    assert.equal("log level: warn for 60 s\n", good "log-level warn --for 1m")
    assert.equal("log level: as configured\n", good "log-level --off")
    assert.equal(1, (ctl "log-level loud"))
    assert.equal("traced for 5 min, to the log, as sip.message\n", good "trace --call-id x@y")
    assert.equal("traced for 30 s, to udp:127.0.0.1:9060\n",
      good "trace --from alice --hep udp:127.0.0.1:9060 --for 30s")
    assert.equal("nothing is traced any more\n", good "trace --off")
    assert.equal(1, (ctl "trace --call-id x --hep nonsense"))
  end)
end)
