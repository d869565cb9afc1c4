-- What a script may declare, and what it is told when it is wrong.
local fake = require "support.fake_core"

describe("declaring", function()
  local world, sip
  before_each(function()
    world = fake.new { files = {
      ["servers.json"] = '[{"name":"a","uri":"sip:10.0.0.1"},{"name":"b","uri":"sip:10.0.0.2"}]',
      ["broken.json"] = '{"a":',
      ["nets.txt"] = "10.0.0.0/8  # office\n\n# home\n192.0.2.0/24\n",
    } }
    sip = world:require "tandem"
  end)

  local function pool_error(opts)
    return fake.message(sip.pool, "pbx", opts)
  end

  local function with(extra)
    local opts = { servers = { { name = "a", uri = "sip:10.0.0.1" } } }
    for key, value in pairs(extra) do
      opts[key] = value
    end
    return opts
  end

  describe("pools", function()
    it("names file, line, option and what was meant", function()
      assert.equal("route.lua:14: pool 'pbx': unknown option 'servres'; did you mean 'servers'?",
        pool_error { servres = {} })
      assert.equal("route.lua:14: pool 'pbx': check.interval: "
        .. "a number of seconds expected, got string",
        pool_error(with { check = { interval = "2" } }))
    end)

    it("says so without a place when nobody is to blame", function()
      world.where = nil
      assert.equal("pool 'pbx': 'servers' is missing", pool_error {})
    end)

    it("wants a check that ends before the next begins", function()
      assert.matches("check: timeout %(2%) must be shorter than interval %(2%)",
        pool_error(with { check = { timeout = 2 } }))
      assert.matches("check: fast_interval %(3%) must not be longer than interval %(2%)",
        pool_error(with { check = { fast_interval = 3 } }))
      assert.matches("check: timeout %(1%) must not be longer than fast_interval %(0.5%)",
        pool_error(with { check = { fast_interval = 0.5 } }))
      sip.pool("pbx", with { check = { interval = 3, timeout = 1.5 } }) -- fast_interval 1.5
    end)

    it("checks every other option", function()
      for text, extra in pairs {
        ["policy: 'ordered', 'round_robin', 'weighted', 'least_calls', 'latency' or 'hash' "
          .. "expected, got 'orderd'; did you mean 'ordered'?"] =
          { policy = "orderd" },
        ["all_down: 'try' or 'fail' expected, got 'tri'; did you mean 'try'?"] =
          { all_down = "tri" },
        ["keep: at least 0 expected, got -1"] = { keep = -1 },
        ["passive.fall: at least 1 expected, got 0"] = { passive = { fall = 0 } },
        ["passive.hold: at least 0 expected, got -1"] = { passive = { hold = -1 } },
        ["passive.hold: more than 0 expected: nothing else keeps 'a' away, which has no checks"] =
          { check = false, passive = { hold = 0 } },
        ["failback.manual: true or false expected, got string"] = { failback = { manual = "yes" } },
        ["check: timeout (32) must be shorter than interval (20)"] =
          { check = { method = "REGISTER", interval = 20 } },
        ["check: timeout (3) must not be longer than down_interval (2)"] =
          { check = { timeout = 3, interval = 5, down_interval = { 2, 60 } } },
        ["check.down_interval: { first, longest } expected, got { 60, 2 }"] =
          { check = { down_interval = { 60, 2 } } },
        ["check.when: 'always', 'down' or 'backup' expected, got 'up'"] =
          { check = { when = "up" } },
        ["check: password: a user is missing"] = { check = { password = "x" } },
        ["check.password: a string without control characters expected"] =
          { check = { user = "u", password = "secret\n" } },
        ["check: contact: only a REGISTER has one"] = { check = { contact = "<sip:a@b>" } },
        ["check: user: a function sends what it likes; this is for requests"] =
          { check = { method = print, user = "u" } },
        ["servers[1].check: timeout (32) must be shorter than interval (5)"] =
          { check = { interval = 5 }, servers = {
            { name = "a", uri = "sip:10.0.0.1", check = { method = "INVITE" } },
          } },
        ["unknown option 'servers[1].check.intervall'; did you mean 'servers[1].check.interval'?"] =
          { servers = { { name = "a", uri = "sip:10.0.0.1", check = { intervall = 1 } } } },
        ["failback: hold_max (10) must not be less than hold (30)"] =
          { failback = { hold_max = 10 } },
        ["check.expect: \"any\", a list of response codes or a function expected"] =
          { check = { expect = "all" } },
        ["check.expect: [1]: at least 200 expected, got 100"] = { check = { expect = { 100 } } },
        ["check.jitter: at most 0.5 expected, got 1"] = { check = { jitter = 1 } },
        ["check.method: 'OPTIONS', 'REGISTER' or 'INVITE' expected, got 'PING'"] =
          { check = { method = "PING" } },
        ["check.from: 'me' is no SIP URI: no sip: or sips: in front"] =
          { check = { from = "me" } },
        ["retry_on[2]: \"local\" or a response code expected"] = { retry_on = { 503, "remote" } },
        ["retry_on[1]: at least 300 expected, got 200"] = { retry_on = { 200 } },
        ["attempt: timeout and retransmits exclude each other"] =
          { attempt = { timeout = 1, retransmits = 2 } },
        ["record_route: true or false expected, got number"] = { record_route = 1 },
        ["shared_dialogs: true or false expected, got string"] = { shared_dialogs = "yes" },
        ["shared_dialogs needs record_route: calls have to come through here"] =
          { shared_dialogs = true, record_route = false },
        ["path: 'supported' or 'always' expected, got 'alway'; did you mean 'always'?"] =
          { path = "alway" },
        ["path needs record_route: calls of its phones have to come through here"] =
          { path = "always", record_route = false },
        ["servers[1].uri: '10.0.0.1' is no SIP URI: no sip: or sips: in front"] =
          { servers = { { name = "a", uri = "10.0.0.1" } } },
        ["servers[1].name: a name of letters, digits, '_', '.' and '-' expected, got 'a/b'"] =
          { servers = { { name = "a/b", uri = "sip:10.0.0.1" } } },
        ["servers[1].tier: at least 1 expected, got 0"] =
          { servers = { { name = "a", uri = "sip:10.0.0.1", tier = 0 } } },
        ["servers[2]: there is a server 'a' already"] =
          { servers = {
            { name = "a", uri = "sip:10.0.0.1" }, { name = "a", uri = "sip:10.0.0.2" },
          } },
      } do
        assert.equal("route.lua:14: pool 'pbx': " .. text, pool_error(with(extra)))
      end
    end)

    it("are declared once", function()
      world.where = "route.lua:3"
      sip.pool("pbx", with {})
      world.where = "route.lua:9"
      assert.equal("route.lua:9: pool 'pbx' has been declared before, at route.lua:3",
        pool_error(with {}))
      assert.matches("sip.pool: name: a name of letters", fake.message(sip.pool, "p b x", with {}))
    end)

    it("give objects that are read-only", function()
      local pool = sip.pool("pbx", with {})
      assert.equal("pbx", pool.name)
      assert.equal(1, #pool.servers)
      local a = pool.servers[1]
      assert.equal(a, pool:server "a")
      assert.is_nil(pool:server "z")
      assert.equal("a", a.name)
      assert.equal("sip:10.0.0.1", a.uri)
      assert.equal(1, a.tier)
      assert.equal(1, a.weight)
      assert.equal("pool pbx", tostring(pool))
      assert.equal("server pbx/a", tostring(a))
      assert.equal("route.lua:14: the fields of a server are read-only ('tier')",
        fake.message(function() a.tier = 2 end))
      assert.error(function() pool.servers[1] = nil end)
      assert.equal("route.lua:14: a server has no field 'wieght'; did you mean 'weight'?",
        fake.message(function() return a.wieght end))
      assert.equal("route.lua:14: server:hold(...): call it with a colon",
        fake.message(function() a.hold(5) end))
    end)

    it("tell the core how TLS to a server is, and whom it is for", function()
      sip.pool("pbx", { tls = { ca = "ca.pem" }, servers = {
        { name = "a", uri = "sips:pbx.example.com" },
        { name = "b", uri = "sip:10.0.0.1", tls = { name = "b.example.com",
          cert = "b.pem", key = "b.key" } },
      } })
      assert.same({ ca = "ca.pem", verify = true, name = "pbx.example.com" },
        world.members["pbx/a"].tls)
      assert.same({ ca = "ca.pem", verify = true, name = "b.example.com", cert = "b.pem",
        key = "b.key" }, world.members["pbx/b"].tls)
    end)

    for what, options in pairs {
      ["servers[1].tls: cert and key go together"] = { cert = "a.pem" },
      ["servers[1].tls: ca and name say what to verify; verify is false"] =
        { ca = "ca.pem", verify = false },
      ["unknown option 'servers[1].tls.crt'; did you mean 'servers[1].tls.cert'?"] =
        { crt = "a.pem" },
    } do
      it("refuse what cannot be: " .. what, function()
        assert.equal("route.lua:14: pool 'pbx': " .. what, fake.message(function()
          sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1", tls = options } } })
        end))
      end)
    end

    it("refuse a server that no listener could reach", function()
      for _, uri in ipairs { "sip:10.0.0.1;transport=tcp", "sips:10.0.0.1" } do
        local one = fake.new()
        local declare = one:require "tandem"
        declare.listen { "udp:127.0.0.1:5060" }
        declare.pool("pbx", { servers = { { name = "a", uri = uri } } })
        local word = uri:find "tcp" and "tcp" or "tls"
        assert.matches(("server 'a' is reached by %s, .*: add \"%s:...\" to sip.listen")
          :format(word:upper(), word), fake.message(function() one:finish() end))
      end
    end)

    it("refuse a name to discover that no listener could reach", function()
      for _, uri in ipairs { "sip:a.example;transport=tcp", "sips:a.example" } do
        local one = fake.new()
        local declare = one:require "tandem"
        declare.listen { "udp:127.0.0.1:5060" }
        declare.pool("pbx", { discover = { "sip:b.example", uri } })
        local word = uri:find "tcp" and "tcp" or "tls"
        assert.matches(("what '%s' leads to is reached by %s, "):format(uri, word:upper()),
          fake.message(function() one:finish() end), 1, true)
      end
    end)

    it("refuse an address that is there twice, however it is written", function()
      local message = fake.message(function()
        sip.pool("pbx", { servers = { { name = "a", uri = "sip:a.example",
          addresses = { "10.0.0.1", "10.0.0.2", "10.0.0.1:5060" } } } })
      end)
      assert.matches("server 'a': addresses: '10.0.0.1:5060' is there twice", message, 1, true)
    end)

    it("tell the core where servers are", function()
      sip.pool("pbx", { record_route = false, max_duration = 100, servers = {
        { name = "a", uri = "sip:10.0.0.1" },
        { name = "b", uri = "sip:[2001:db8::1]:5070;transport=tcp" },
        { name = "c", uri = "sips:10.0.0.3" },
      } })
      assert.same({
        addr = { "10.0.0.1:5060;transport=udp" }, record_route = false, max_duration = 100,
        tls = { verify = true, name = "10.0.0.1" },
      }, world.members["pbx/a"])
      sip.pool("phones", { path = "supported", servers = {
        { name = "a", uri = "sip:10.0.0.1" } } })
      assert.equal("supported", world.members["phones/a"].path)
      assert.same({ "[2001:db8::1]:5070;transport=tcp" }, world.members["pbx/b"].addr)
      assert.same({ "10.0.0.3:5061;transport=tls" }, world.members["pbx/c"].addr)
    end)

    it("may have several addresses; what these do not say the URI does", function()
      local pool = sip.pool("pbx", { servers = { {
        name = "a", uri = "sip:a.example.com:5080;transport=tcp",
        addresses = { "10.0.0.1", "10.0.0.2:5070", "[2001:db8::1]" },
      } } })
      assert.same({
        "10.0.0.1:5080;transport=tcp", "10.0.0.2:5070;transport=tcp",
        "[2001:db8::1]:5080;transport=tcp",
      }, world.members["pbx/a"].addr)
      assert.same({ address = "10.0.0.2:5070", transport = "tcp", rank = 1, weight = 0,
        health = "unknown" }, pool:server("a").addresses[2])
      assert.error(function() pool:server("a").addresses[1] = nil end)
    end)

    it("are refused with addresses that are none, or too many of them, or twice", function()
      local function error_of(addresses)
        return pool_error { servers = { { name = "a", uri = "sip:x", addresses = addresses } } }
      end
      for _, wrong in ipairs { "a.example.com", "bob@10.0.0.1", "10.0.0.1;lr", "", 10 } do
        assert.equal("route.lua:14: pool 'pbx': servers[1].addresses[2]: an IP address expected, "
          .. "with or without a port, got '" .. wrong .. "'", error_of { "10.0.0.1", wrong })
      end
      assert.matches("addresses: '10.0.0.1' is there twice", error_of { "10.0.0.1", "10.0.0.1" })
      assert.matches("addresses: 1 to 8 items expected, got 0", error_of {})
    end)

    it("may be known by name: the core hears later where they are", function()
      local pool = sip.pool("pbx", { servers = { { name = "a", uri = "sip:a.example.com" } } })
      assert.same({}, world.members["pbx/a"].addr)
      assert.same(0, #pool:server("a").addresses)
    end)


    it("take servers from a data file", function()
      local pool = sip.pool("pbx", { servers = sip.data "servers.json" })
      assert.equal("b", pool.servers[2].name)
    end)
  end)

  describe("listeners", function()
    it("end up in the plan, in order", function()
      sip.listen { "udp:0.0.0.0:5060", { "udp:10.0.0.9", advertise = "203.0.113.5" } }
      assert.same({
        { transport = "udp", host = "0.0.0.0", port = 5060 },
        { transport = "udp", host = "10.0.0.9", port = 5060, advertise = "203.0.113.5" },
      }, world:finish().listen)
    end)

    it("complain of what is wrong", function()
      assert.equal("route.lua:14: sip.listen: item 2: 'sctp:1.2.3.4': "
        .. "no transport that can be listened on",
        fake.message(sip.listen, { "udp:0.0.0.0:5060", "sctp:1.2.3.4" }))
      assert.equal("route.lua:14: sip.listen: item 1: unknown option 'advertize'; "
        .. "did you mean 'advertise'?",
        fake.message(sip.listen, { { "udp:1.2.3.4", advertize = "x" } }))
      assert.matches("it goes with its address",
        fake.message(sip.listen, { "udp:1.2.3.4", advertise = "x" }))
      assert.matches("listener 'udp:0.0.0.0:5060' has been declared before",
        fake.message(sip.listen, { "udp:0.0.0.0:5060" }))
      assert.matches("a list of addresses expected, got number", fake.message(sip.listen, 5060))
    end)
  end)

  describe("settings", function()
    it("go to the plan flat", function()
      sip.settings {
        workers = 2, log_level = "warn", timers = { t1 = 0.25 }, domains = { "example.com" },
        trust = sip.netset { "10.0.0.0/8" }, trying = "rfc", lua = { burst = 0.1 },
      }
      assert.same({
        workers = 2, log_level = "warn", t1 = 0.25, domains = { "example.com" },
        trust = { "10.0.0.0/8" }, trying = "rfc", lua_burst = 0.1,
      }, world:finish().settings)
    end)

    it("say what to do when it is too much", function()
      sip.settings {
        overload = { delay = 0.1, retry_after = false, exempt = { "112", "+49110" } },
        max_memory = false,
      }
      assert.same({
        overload = { delay = 0.1, retry_after = 0, exempt = { "112", "+49110" } },
        max_memory = 0,
      }, world:finish().settings)
    end)

    it("may say that nothing is too much", function()
      sip.settings { overload = false, max_memory = 8388608 }
      assert.same({ overload = { delay = 0 }, max_memory = 8388608 }, world:finish().settings)
    end)

    it("say that answers leave one by one", function()
      sip.settings { udp = { gso = false } }
      assert.same({ udp = { gso = false } }, world:finish().settings)
    end)

    for what, wrong in pairs {
      ["overload.delay"] = { overload = { delay = 0 } },
      ["overload.delay "] = { overload = { delay = 2 } },
      ["overload.retry_after"] = { overload = { retry_after = 0 } },
      ["overload.exempt%[1%]: a number expected, as \"112\", got 'a b'"]
        = { overload = { exempt = { "a b" } } },
      ["overload.exempt%[2%]: a number expected, as \"112\", got '911'"]
        = { overload = { exempt = { "112", 911 } } },
      ["overload.exempt"] = { overload = { exempt = "112" } },
      ["unknown option 'overload.target'"] = { overload = { target = 0.1 } },
      ["max_memory"] = { max_memory = 1000 },
      ["udp: a table of options expected, got boolean"] = { udp = false },
      ["udp.gso: true or false expected, got number"] = { udp = { gso = 0 } },
      ["unknown option 'udp.gos'; did you mean 'udp.gso'?"] = { udp = { gos = false } },
    } do
      it(("do not take what is wrong with %s"):format(what), function()
        assert.matches(what:gsub(" $", ""), fake.message(sip.settings, wrong))
      end)
    end

    it("are given once, and checked", function()
      sip.settings { workers = 1 }
      assert.matches("sip.settings has been declared before", fake.message(sip.settings, {}))
      assert.equal("route.lua:14: sip.settings: unknown option 'timers.t3'; "
        .. "did you mean 'timers.t1'?", fake.message(sip.settings, { timers = { t3 = 1 } }))
      assert.equal("route.lua:14: sip.settings: trust: [1]: '10.0.0.1' is no network: "
        .. "no prefix length", fake.message(sip.settings, { trust = { "10.0.0.1" } }))
    end)
  end)

  describe("data", function()
    it("is read-only, and in the dump by its hash only", function()
      local data = sip.data "servers.json"
      assert.equal("a", data[1].name)
      assert.error(function() data[1].name = "z" end)
      local dumped = world:finish().dump
      assert.matches('"data":{"servers.json":"%x+"}', dumped)
      assert.is_nil(dumped:find("10.0.0.1", 1, true))
    end)

    it("is a list of lines when it is no JSON", function()
      assert.equal("10.0.0.0/8", sip.data("nets.txt")[1])
      assert.equal(2, #sip.data "nets.txt")
    end)

    it("says which file is wrong", function()
      assert.matches("sip.data: broken.json: .*T_END", fake.message(sip.data, "broken.json"))
      assert.equal("route.lua:14: sip.data: none.json: no such file: none.json",
        fake.message(sip.data, "none.json"))
    end)
  end)

  it("netsets take networks and files of them", function()
    local set = sip.netset { "198.51.100.0/24", file = "nets.txt" }
    assert.same({ "198.51.100.0/24", "10.0.0.0/8", "192.0.2.0/24" }, { table.unpack(set.networks) })
    assert.matches("'office' is no network", fake.message(sip.netset, { "office" }))
    assert.matches("a list expected, got a table with 'flie'",
      fake.message(sip.netset, { flie = "nets.txt" }))
  end)

  describe("routes", function()
    local function fn() end

    it("reach the core by kind and method", function()
      sip.route(fn)
      sip.route("INVITE", fn)
      sip.route("*in_dialog", fn)
      sip.route("*from_server", fn)
      assert.same({
        { kind = "initial", fn = fn }, { kind = "initial", method = "INVITE", fn = fn },
        { kind = "in_dialog", fn = fn }, { kind = "from_server", fn = fn },
      }, world.handlers)
    end)

    it("complain of what is wrong", function()
      world.where = "route.lua:5"
      sip.route("INVITE", fn)
      world.where = "route.lua:9"
      assert.equal("route.lua:9: the route 'INVITE' has been declared before, at route.lua:5",
        fake.message(sip.route, "INVITE", fn))
      assert.equal("route.lua:9: sip.route: there is no kind '*indialog'; "
        .. "did you mean '*in_dialog'?", fake.message(sip.route, "*indialog", fn))
      assert.matches("methods are written in capitals; did you mean 'REGISTER'?",
        fake.message(sip.route, "Register", fn))
      assert.equal("route.lua:9: sip.route: a method or a kind such as '*in_dialog' expected, "
        .. "got 'IN VITE'", fake.message(sip.route, "IN VITE", fn))
      assert.matches("expected, got number", fake.message(sip.route, 5, fn))
      assert.matches("ACK never reaches a script", fake.message(sip.route, "ACK", fn))
      assert.matches("a function expected, got nil", fake.message(sip.route, "INVITE"))
      assert.matches("a function expected, got nil", fake.message(sip.route))
    end)
  end)

  it("is over once the script has been loaded", function()
    world:start()
    for verb, call in pairs {
      ["sip.pool"] = function() sip.pool("p", with {}) end,
      ["sip.listen"] = function() sip.listen { "udp:1.2.3.4" } end,
      ["sip.settings"] = function() sip.settings {} end,
      ["sip.netset"] = function() sip.netset {} end,
      ["sip.data"] = function() sip.data "servers.json" end,
      ["sip.route"] = function() sip.route(print) end,
    } do
      assert.equal("route.lua:14: " .. verb
        .. " declares, which is only possible while the script loads", fake.message(call))
    end
  end)

  it("gives the same dump whatever the order", function()
    local function dump(first, second)
      local one = fake.new()
      local tandem = one:require "tandem"
      tandem.pool(first, with { keep = 0, check = false })
      tandem.pool(second, with { check = false, keep = 0 })
      return one:finish().dump
    end
    assert.equal(dump("x", "y"), dump("y", "x"))
    assert.not_equal(dump("x", "y"), dump("x", "z"))
  end)

  it("tells of misspelt functions of tandem itself", function()
    assert.equal("route.lua:14: tandem has no 'rout'; did you mean 'route'?",
      fake.message(function() sip.rout(print) end))
    assert.matches("tandem cannot be changed", fake.message(function() sip.route = 1 end))
  end)
end)
