-- The command line: what each command takes and refuses, and with which exit code.
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local binary = (os.getenv "BUILD" or "build/san") .. "/tandem"

-- Exit code, standard output, standard error.
local function tandem(arguments)
  local out, err = process.path "out", process.path "err"
  local _, _, status = sh.run(("(timeout 20 %s %s >%s 2>%s </dev/null)")
    :format(binary, arguments, out, err))
  return status or 0, process.read(out), process.read(err)
end

-- Refused, with this code and a line with these words on standard error.
local function refuses(arguments, code, words)
  local status, out, err = tandem(arguments)
  assert.equal(code, status)
  assert.equal("", out)
  assert.truthy(err:find("tandem: ", 1, true) == 1, err)
  assert.truthy(err:find(words, 1, true), err)
end

local function script(text)
  return process.write("route.lua", "local sip = require 'tandem'\n" .. text)
end

local good = [[
sip.listen { "udp:127.0.0.1:5060" }
sip.route(function(req) return req:reply(480) end)
]]

local risky = [[
sip.listen { "udp:127.0.0.1:5060" }
sip.settings { workers = 4 }
sip.pool("pbx", { check = false, servers = { { name = "a", uri = "sip:10.0.0.1" } } })
]]

describe("tandem", function()
  after_each(process.clean)

  it("tells its version", function()
    for _, word in ipairs { "-V", "--version", "check -V" } do
      local status, out = tandem(word)
      assert.equal(0, status)
      assert.matches("^tandem %d+%.%d+%.%d+[%w.-]*\n$", out)
    end
  end)

  it("tells all that it is made of", function()
    local status, out = tandem "-VV"
    assert.equal(0, status)
    for _, name in ipairs { "compiler", "flags", "Lua", "libosip2", "libev", "c%-ares", "OpenSSL",
      "libmicrohttpd", "workers", "listeners", "earlier generations", "bytes of a message",
      "script", "Lua files" } do
      assert.matches("\n  " .. name .. " +[%w/-]", out)
    end
    assert.matches("\n  Lua +5%.4%.%d+\n", out)
  end)

  it("helps, with each command", function()
    local status, all = tandem "--help"
    assert.equal(0, status)
    assert.same({ 0, all, "" }, { tandem "help" })
    for command in all:gmatch "tandem %[?(%l+)" do
      local _, one = tandem(command .. " --help")
      assert.matches("^Usage: tandem %[?" .. command, one)
      assert.same({ 0, one, "" }, { tandem("help " .. command) })
    end
    assert.truthy(all:find("tandem check ", 1, true))
  end)

  it("ends with 2 for what it does not know, and says what was meant", function()
    refuses("rnu", 2, "did you mean 'run'?")
    refuses("help chekc", 2, "did you mean 'check'?")
    refuses("run --confg x", 2, "did you mean --config?")
    refuses("check --sturct", 2, "did you mean --strict?")
    refuses("route.lua", 2, "did you mean -c route.lua?")
    refuses("run route.lua", 2, "did you mean -c route.lua?")
    refuses("run --workers 0", 2, "--workers is a number from 1 to 64, not '0'")
    refuses("check --dump=xml", 2, "--dump writes json, not 'xml'")
    refuses("run -l tls:127.0.0.1", 2, "needs a certificate")
    refuses("run --ctl ''", 2, "--ctl is the path of a socket, or none")
    refuses("run --http-token token", 2, "--http-token is for --http IP:PORT")
  end)

  it("ends with 2 for a token that cannot be one: a supervisor need not try again", function()
    local run = ("run -c %s --ctl none --http 127.0.0.1:9 --http-token "):format(script(good))
    refuses(run .. "/nowhere", 2, "cannot read the token file /nowhere: No such file")
    refuses(run .. process.write("token", "short\n"), 2, "must have 16 to 254 characters")
  end)

  it("ends with 2 for a script that is not there, and with 1 for a port that is taken", function()
    refuses("run -c /nowhere.lua", 2, "/nowhere.lua: No such file or directory\n")
    if not process.read "/etc/tandem/route.lua" then
      refuses("", 2, "/etc/tandem/route.lua: No such file or directory; name a script (-c FILE)")
    end
    local port = process.ports(1)
    sipp.server("answer", { port = port, values = { ring = 0 } })
    local taken = ("udp:127.0.0.1:%d"):format(port)
    local status, _, err = tandem(("run --lua-dir lua -c %s -l %s"):format(script(good), taken))
    assert.equal(1, status)
    assert.truthy(err:find(tostring(port), 1, true), err)
  end)
end)

describe("tandem check", function()
  after_each(process.clean)

  it("says OK, or writes all declarations", function()
    local file = script(good)
    assert.same({ 0, "OK\n", "" }, { tandem("check --lua-dir lua -c " .. file) })
    assert.same({ 0, "OK\n", "" }, { tandem("-t --lua-dir lua -c " .. file) })
    local status, dump = tandem("check --dump --lua-dir lua -c " .. file)
    assert.equal(0, status)
    assert.matches('^{"data":{}.*"listen":%[{"host":"127.0.0.1","port":5060', dump)
    assert.same({ 0, dump, "" }, { tandem("check --dump=json --lua-dir lua -c " .. file) })
    assert.same({ 0, "OK\n", "" }, { tandem("check --strict --lua-dir lua -c " .. file) })
  end)

  it("ends with 1 when the result cannot be written", function()
    local _, output, status = sh.run(("(%s check --dump --lua-dir lua -c %s >/dev/full)")
      :format(binary, script(good)))
    assert.equal(1, status)
    assert.truthy(output:find("cannot write the result", 1, true), output)
  end)

  it("warns of what is probably not meant; --strict makes that an error", function()
    local file = script(risky)
    local status, out, err = tandem("check --lua-dir lua -c " .. file)
    assert.equal(0, status)
    assert.equal("OK\n", out)
    for _, words in ipairs { "no state_dir and no key_file",
      "pool 'pbx' has no checks", "no sip.route" } do
      assert.truthy(err:find(file .. ": warning: " .. words, 1, true), err)
    end
    refuses("check --strict --lua-dir lua -c " .. file, 2, "3 warnings, and --strict")
    file = script "sip.route(function(req) return req:reply(480) end)"
    refuses("check --strict --lua-dir lua -c " .. file, 2, "no sip.listen: it runs with --listen")
    status = tandem("check --strict --lua-dir lua -l udp:127.0.0.1 -c " .. file)
    assert.equal(0, status)
  end)

  it("warns of a place for its state that cannot be", function()
    for place, words in pairs {
      ["/nowhere/deep/tandem"] = "cannot be made: /nowhere/deep: No such file or directory",
      ["/etc/passwd"] = "state_dir /etc/passwd is no directory",
    } do
      refuses("check --strict --lua-dir lua -c " .. script(good
        .. ('sip.settings { state_dir = "%s" }'):format(place)), 2, words)
    end
    local fine = script(good .. 'sip.settings { state_dir = "/tmp/tandem-not-there" }')
    assert.same({ 0, "OK\n", "" }, { tandem("check --strict --lua-dir lua -c " .. fine) })
  end)

  it("names the line of a key file that is wrong", function()
    local key = process.write("key", ("0"):rep(32) .. "\n# the next one\nnot long enough\n")
    sh.run("chmod 400 " .. key)
    local file = script(good .. ('sip.settings { key_file = "%s" }'):format(key))
    local status, out, err = tandem("check --lua-dir lua -c " .. file)
    assert.same({ 2, "" }, { status, out })
    assert.equal(("tandem: the key file %s: line 3 holds no key: at least 32 hexadecimal digits "
      .. "or 16 bytes are needed\n"):format(key), err)
    sh.run("chmod 600 " .. key)
    process.write("key", ("0"):rep(32) .. "\n" .. ("1"):rep(32) .. "\n")
    assert.equal(0, (tandem("check --lua-dir lua -c " .. file)))
    sh.run("rm " .. key) -- it may be made elsewhere
    assert.equal(0, (tandem("check --lua-dir lua -c " .. file)))
  end)

  it("warns of secrets that everybody may read", function()
    local file = script [[
      sip.listen { "udp:127.0.0.1:5060" }
      sip.settings { state_dir = "/var/lib/tandem", key_file = "key" }
      sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = {
        method = "REGISTER", user = "1000", timeout = 1, password = sip.data("secret.json").pbx } })
      sip.route(function(req) return req:reply(480) end)
    ]]
    local secret = process.write("secret.json", '{ "pbx": "tell nobody" }')
    process.write("other.json", "{}")
    sh.run("chmod 644 " .. secret)
    local status, _, err = tandem("check --lua-dir lua -c " .. file)
    assert.equal(0, status)
    assert.truthy(err:find(secret .. " holds a password and everybody may read it", 1, true), err)
    assert.falsy(err:find("tell nobody", 1, true))
    sh.run("chmod 640 " .. secret)
    assert.same({ 0, "OK\n", "" }, { tandem("check --strict --lua-dir lua -c " .. file) })
  end)
end)

describe("servers on the command line", function()
  after_each(process.clean)

  it("are a failover proxy", function()
    local port, a, b = process.ports(3)
    local address = "127.0.0.1:" .. port
    local first = sipp.server("answer", { name = "a", port = a, values = { ring = 0 } })
    sipp.server("answer", { name = "b", port = b, values = { ring = 0 } })
    local p = proxy.start { args = { "-l", "udp:" .. address },
      servers = { "sip:127.0.0.1:" .. a, "sip:127.0.0.1:" .. b } }
    local function tried(name)
      local call = sipp.call("call", { name = name, proxy = address, values = { hold = 0 } })
      local id = call:message "INVITE":header "Call%-ID"
      return p:wait_logged("request", { call_id = id }).tried
    end
    assert.matches(("^servers/127.0.0.1%%-%d:200:[^,]*$"):format(a), tried "before")
    first:kill()
    assert.matches(("servers/127.0.0.1%%-%d:200:[^,]*$"):format(b), tried "after")
  end)

  it("may be given workers, and are read again by a reload", function()
    local port, a = process.ports(2)
    local p = proxy.start { args = { "-l", "udp:127.0.0.1:" .. port, "--workers", "4" },
      servers = { "sip:127.0.0.1:" .. a } }
    local start = p:wait_logged "start"
    assert.equal(4, start.workers)
    assert.equal("command line", start.script)
    p:signal "HUP"
    assert.equal(2, p:wait_logged "reload".generation)
  end)

  it("are checked, and shown by --dump", function()
    assert.same({ 0, "OK\n", "" }, { tandem "check --strict --lua-dir lua sip:10.0.0.1" })
    local status, dump = tandem "check --dump --lua-dir lua sip:10.0.0.1 sip:10.0.0.1:5080"
    assert.equal(0, status)
    assert.truthy(dump:find('"name":"10.0.0.1","tier":1,"uri":"sip:10.0.0.1"', 1, true), dump)
    assert.truthy(dump:find('"name":"10.0.0.1-5080","tier":2,', 1, true), dump)
    assert.truthy(dump:find('{"host":"0.0.0.0","port":5060,"transport":"tcp"}', 1, true), dump)
    assert.falsy(dump:find('"::"', 1, true))
  end)

  it("listen on IPv6 as well when one of them needs it", function()
    local _, dump = tandem "check --dump --lua-dir lua 'sip:[2001:db8::1]'"
    assert.truthy(dump:find('{"host":"::","port":5060,"transport":"udp"}', 1, true), dump)
    _, dump = tandem "check --dump --lua-dir lua -l udp:[::1]:5070 'sip:[2001:db8::1]'"
    assert.truthy(dump:find('"listen":[{"host":"::1","port":5070,', 1, true), dump)
  end)

  it("are refused by name when they are wrong", function()
    refuses("10.0.0.1:5070", 2, "server '10.0.0.1:5070' is no SIP URI; "
      .. "did you mean sip:10.0.0.1:5070?")
    refuses("check pbx.example.com", 2, "did you mean sip:pbx.example.com?")
    refuses("sip:10.0.0.1 sip:", 2, "server 'sip:' is no SIP URI, such as sip:10.0.0.1")
    refuses("check tel:123", 2, "server 'tel:123' is no SIP URI, such as sip:10.0.0.1")
    refuses("check --lua-dir lua 'sip:a.example;transport=ws'", 2,
      "server 'sip:a.example;transport=ws': ")
    refuses("sip:10.0.0.1 sip:10.0.0.1", 2, "server 'sip:10.0.0.1' is there twice")
    refuses("'sip:a.example;transport=tls'", 2, "TLS needs a listener with a certificate")
    refuses("check --lua-dir lua -l udp:127.0.0.1:5060 'sip:10.0.0.1;transport=tcp'", 2,
      "server '10.0.0.1' is reached by TCP")
  end)

  it("exclude a script", function()
    refuses("-c route.lua sip:10.0.0.1", 2, "'sip:10.0.0.1' and -c exclude each other: "
      .. "add the server to a pool of route.lua, or leave out -c")
  end)
end)
