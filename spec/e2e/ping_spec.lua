-- `tandem ping` against real servers: every exit code, method and transport.
local certs = require "support.certs"
local dns_server = require "support.dns_server"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local binary = (os.getenv "BUILD" or "build/san") .. "/tandem"

-- Exit code, what is said on standard output, and on standard error.
local function ping(arguments, env)
  local out, err = process.path "out", process.path "err"
  local _, _, status = sh.run(("(%s timeout 30 %s ping --lua-dir lua %s >%s 2>%s </dev/null)")
    :format(env or "", binary, arguments, out, err))
  return status or 0, process.read(out), process.read(err)
end

-- Pings; the exit code and the line must be these. Returns the figures.
local function expect(code, pattern, arguments, env)
  local status, out, err = ping(arguments, env)
  local line, figures = out:match "^([^|\n]*)|? ?([^\n]*)\n$"
  assert.matches(pattern, line or out)
  assert.equal(code, status)
  assert.equal("", err)
  return figures
end

-- Answers what the user of the URI says: sip:404@... gets a 404.
local obliging = [[
local sip = require "tandem"
sip.listen { %{listen} }
sip.route(function(req) return req:reply(tonumber(req.ruri.user) or 200) end)
]]

describe("tandem ping", function()
  after_each(process.clean)

  local function peer(listen)
    return proxy.start { source = obliging, values = { listen = listen }, name = "peer" }
  end

  for _, transport in ipairs { "udp", "tcp" } do
    for _, host in ipairs { "127.0.0.1", "[::1]" } do
      it(("says OK for an answer over %s from %s"):format(transport, host), function()
        local port = process.ports(1)
        peer(('"%s:%s:%d"'):format(transport, host, port))
        local at = ("%s:%d"):format(host, port)
        local figures = expect(0, "^SIP OK %- 200 OK from " .. at:gsub("%p", "%%%0")
          .. " in [%d.]+ ms $", ("'sip:%s;transport=%s'"):format(at, transport))
        assert.matches("^time=0%.%d%d%d%d%d%ds;;;0;$", figures)
      end)
    end
  end

  it("takes any 2xx as OK, a refusal as WARNING, and 5xx as CRITICAL", function()
    local port = process.ports(1)
    peer(('"udp:127.0.0.1:%d"'):format(port))
    for user, want in pairs { [202] = 0, [302] = 1, [404] = 1, [486] = 1, [603] = 1, [500] = 2,
      [503] = 2 } do
      local word = ({ [0] = "OK", "WARNING", "CRITICAL" })[want]
      expect(want, ("^SIP %s %%- %d "):format(word, user), ("sip:%d@127.0.0.1:%d")
        :format(user, port))
    end
    local gateway = "sip:404@127.0.0.1:" .. port
    expect(0, "^SIP OK %- 404 ", "--expect 200,404 " .. gateway)
    expect(1, "^SIP WARNING %- 404 ", "--expect 200 " .. gateway)
  end)

  it("warns when the answer is slow, and is quiet when it is asked to be", function()
    local port = process.ports(1)
    peer(('"udp:127.0.0.1:%d"'):format(port))
    local figures = expect(1, "^SIP WARNING %- 200 OK ", "--warn 0.000001 sip:127.0.0.1:" .. port)
    assert.matches("^time=0%.%d+s;1e%-06;;0;$", figures)
    expect(0, "^SIP OK ", "--warn 5 sip:127.0.0.1:" .. port)
    assert.same({ 0, "", "" }, { ping("-q sip:127.0.0.1:" .. port) })
  end)

  it("says CRITICAL when nobody answers", function()
    local closed, mute = process.ports(2)
    local at = "127.0.0.1:" .. closed
    expect(2, "^SIP CRITICAL %- nobody listens at " .. at, "sip:" .. at)
    expect(2, "^SIP CRITICAL %- " .. at .. " refuses the connection$",
      ("'sip:%s;transport=tcp'"):format(at))
    sipp.server("silent", { port = mute })
    expect(2, "^SIP CRITICAL %- no answer from 127.0.0.1:" .. mute .. " within 0.3 s$",
      "-t 0.3 sip:127.0.0.1:" .. mute)
  end)

  it("says CRITICAL for a proxy that is stopped", function()
    local port = process.ports(1)
    local stopped = peer(('"udp:127.0.0.1:%d"'):format(port))
    stopped:signal "STOP"
    expect(2, "^SIP CRITICAL %- no answer ", "-t 0.5 sip:127.0.0.1:" .. port)
    stopped:signal "CONT"
    expect(0, "^SIP OK ", "sip:127.0.0.1:" .. port)
  end)

  it("asks for a name what DNS says, and says CRITICAL when that is nothing", function()
    local port, at, elsewhere = process.ports(3)
    peer(('"udp:127.0.0.1:%d"'):format(port))
    dns_server.start { port = at, records = {
      { "srv", "_sip._udp.pbx.example", "a.pbx.example", port, 1, 1 },
      { "host", "a.pbx.example", "127.0.0.1" },
    } }
    local dns = "--dns 127.0.0.1:" .. at
    expect(0, "^SIP OK %- 200 OK from 127.0.0.1:" .. port, dns .. " sip:pbx.example")
    expect(2, "^SIP CRITICAL %- other.example: no such name", dns .. " sip:other.example")
    expect(2, "^SIP CRITICAL %- pbx.example: no name server answers$",
      ("--dns 127.0.0.1:%d sip:pbx.example"):format(elsewhere))
  end)

  it("says UNKNOWN, with 3, for what cannot be asked", function()
    for arguments, words in pairs {
      [""] = "a SIP URI is needed",
      ["127.0.0.1"] = "'127.0.0.1' is no SIP URI; did you mean sip:127.0.0.1?",
      ["sip:a sip:b"] = "one URI, not 'sip:b' as well",
      ["--timeout never sip:a"] = "--timeout is a number of seconds, not 'never'",
      ["--timeot 1 sip:a"] = "did you mean --timeout?",
      ["--register --invite sip:a"] = "--register and --invite exclude each other",
      ["--register sip:a"] = "--register needs a user: sip:1000@a",
      ["--user 1000 sip:a"] = "go together",
      ["--user 1000 --password-file /nowhere sip:a"] = "cannot read /nowhere",
      ["--user 1000 --password-env NOWHERE sip:a"] = "no environment variable NOWHERE",
      ["--expect 20 sip:a"] = "--expect is a list of codes",
      ["--cert x sip:a"] = "--cert and --key go together",
      ["--ca x --insecure sip:a"] = "--ca and --insecure exclude each other",
    } do
      local status, out, err = ping(arguments)
      assert.same({ arguments, 3, "" }, { arguments, status, out })
      assert.truthy(err:find(words, 1, true), err)
    end
    for uri, words in pairs {
      ["'sip:127.0.0.1;transport=ws'"] = "'sip:127.0.0.1;transport=ws' is no SIP URI: ",
      ["sip:0.0.0.0"] = "no address of ours to reach sip:0.0.0.0 from",
    } do
      expect(3, "^SIP UNKNOWN %- " .. words:gsub("%p", "%%%0"), uri)
    end
    local status, out = ping "--ca /nowhere.pem sips:127.0.0.1"
    assert.equal(3, status)
    assert.matches("^SIP UNKNOWN %- .*/nowhere.pem", out)
  end)
end)

describe("tandem ping with a password", function()
  after_each(process.clean)

  local function guarded(password, algorithm)
    local port = process.ports(1)
    local server = sipp.server("guarded", {
      port = port, values = { algorithm = algorithm or "MD5", password = password },
    })
    return server, ("--register --user 1000 sip:1000@127.0.0.1:%d"):format(port)
  end

  it("logs in, and never writes it down", function()
    local server, arguments = guarded "s3cret word"
    local file = process.write("password", "s3cret word\n")
    expect(0, "^SIP OK %- 200 OK .*, %d bindings? $",
      "--password-file " .. file .. " " .. arguments)
    assert.same({ "REGISTER", "REGISTER" }, { table.unpack(server:got(), 1, 2) })
    local first, second = server:message "REGISTER", server:message("REGISTER", 2)
    assert.matches("^REGISTER sip:127%.0%.0%.1:%d+ SIP/2%.0", first.text:match "REGISTER[^\r]*")
    assert.matches("<sip:1000@127.0.0.1>", first:header "To")
    assert.equal(first:header "Call%-ID", second:header "Call%-ID")
    assert.is_nil(first:header "Contact") -- it asks, and registers nobody
    local status, out, err = ping("-L debug --password-env SECRET " .. arguments,
      "SECRET='s3cret word'")
    assert.equal(0, status)
    assert.is_nil((out .. err):find("s3cret", 1, true))
  end)

  it("says CRITICAL when it is refused", function()
    local _, arguments = guarded "another"
    expect(2, "^SIP CRITICAL %- 40[13] .*, the password is refused $",
      "--password-env SECRET " .. arguments, "SECRET=wrong")
  end)

  it("does not blame the password for what it cannot answer", function()
    local _, arguments = guarded("s3cret", "SHA-3")
    expect(2, "^SIP CRITICAL %- 401 .*, which is no challenge that can be answered $",
      "--password-env SECRET " .. arguments, "SECRET=s3cret")
  end)

  it("says WARNING when none was given: it is alive", function()
    local _, arguments = guarded "another"
    expect(1, "^SIP WARNING %- 401 ", (arguments:gsub("%-%-user 1000", "")))
  end)
end)

describe("tandem ping --invite", function()
  after_each(process.clean)

  it("calls, acknowledges and hangs up", function()
    local port = process.ports(1)
    local server = sipp.server("answer", { port = port, values = { ring = 20 } })
    expect(0, "^SIP OK %- 200 OK ", "--invite sip:bob@127.0.0.1:" .. port)
    assert.same({ "INVITE", "ACK", "BYE" }, { table.unpack(server:got(), 1, 3) })
  end)

  it("ends a call that only rings", function()
    local port = process.ports(1)
    local server = sipp.server("ring", { port = port })
    expect(2, "^SIP CRITICAL %- no answer ", "--invite -t 0.5 sip:bob@127.0.0.1:" .. port)
    assert.truthy(process.eventually(3, function() return server:count "CANCEL" > 0 end))
  end)

  it("says WARNING when it cannot hang up", function()
    local port = process.ports(1)
    proxy.start { source = obliging, values = { listen = ('"udp:127.0.0.1:%d"'):format(port) } }
    expect(1, "^SIP WARNING %- 200 .*, but without a Contact the call cannot be ended $",
      "--invite sip:200@127.0.0.1:" .. port)
  end)

  it("says what a busy one says", function()
    local port = process.ports(1)
    proxy.start { source = obliging, values = { listen = ('"udp:127.0.0.1:%d"'):format(port) } }
    expect(1, "^SIP WARNING %- 486 ", "--invite sip:486@127.0.0.1:" .. port)
    expect(2, "^SIP CRITICAL %- 503 ", "--invite sip:503@127.0.0.1:" .. port)
  end)
end)

describe("tandem ping over TLS", function()
  local port, ca

  before_each(function()
    port = process.ports(1)
    ca = certs.authority "ca"
  end)
  after_each(process.clean)

  local function peer(options, more)
    ca:issue("pbx", options)
    proxy.start { source = obliging, name = "peer", values = {
      listen = ('{ "tls:127.0.0.1:%d", cert = "pbx.pem", key = "pbx.key"%s }')
        :format(port, more or ""),
    } }
  end

  it("believes whom the CA vouches for", function()
    peer { ips = { "127.0.0.1" } }
    expect(0, "^SIP OK %- 200 OK ", ("--ca %s sips:127.0.0.1:%d"):format(ca.cert, port))
    expect(0, "^SIP OK %- 200 OK ",
      ("--ca %s 'sip:127.0.0.1:%d;transport=tls'"):format(ca.cert, port))
  end)

  it("says CRITICAL and why when it does not believe", function()
    peer { names = { "pbx.example.com" } }
    expect(2, "^SIP CRITICAL %- .*127%.0%.0%.1.*: the server presents pbx%.example%.com",
      ("--ca %s sips:127.0.0.1:%d"):format(ca.cert, port))
    expect(2, "^SIP CRITICAL %- no TLS with .*: .*unknown CA", "sips:127.0.0.1:" .. port)
    expect(0, "^SIP OK ", "--insecure sips:127.0.0.1:" .. port)
  end)

  it("shows a certificate when it is asked for one", function()
    peer({ ips = { "127.0.0.1" } }, ', verify = true, ca = "ca.pem"')
    local own = ca:issue("ours", { names = { "monitor.example.com" } })
    local arguments = ("--ca %s sips:127.0.0.1:%d"):format(ca.cert, port)
    expect(2, "^SIP CRITICAL %- no TLS with .*: the peer demands a client certificate", arguments)
    expect(0, "^SIP OK ", ("--cert %s --key %s %s"):format(own.cert, own.key, arguments))
  end)

  it("says CRITICAL to who does not speak it", function()
    proxy.start { source = obliging, values = { listen = ('"tcp:127.0.0.1:%d"'):format(port) } }
    expect(2, "^SIP CRITICAL %- no TLS with 127.0.0.1:" .. port
      .. ": the peer has closed it during the handshake$", "sips:127.0.0.1:" .. port)
  end)
end)
