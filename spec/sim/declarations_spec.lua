-- What is wrong in a script is said when it loads, with file, line and a suggestion;
-- what was declared cannot be changed afterwards.
local sim = require "support.sim"
local policy = require "support.policy"

local head = 'local sip = require "tandem"\n' -- so everything below is in line 2

-- Line 2 of a script, and what loading it says.
local wrong = {
  ["an unknown option of a pool"] = {
    'sip.pool("pbx", { server = {} })',
    "script.lua:2: pool 'pbx': unknown option 'server'; did you mean 'servers'?",
  },
  ["an unknown option of a server"] = {
    'sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1", teir = 2 } } })',
    "script.lua:2: pool 'pbx': unknown option 'servers[1].teir'; did you mean "
      .. "'servers[1].tier'?",
  },
  ["an unknown option of a check"] = {
    'sip.pool("pbx", { servers = {}, check = { intervall = 2 } })',
    "script.lua:2: pool 'pbx': unknown option 'check.intervall'; did you mean "
      .. "'check.interval'?",
  },
  ["TLS in capitals that nobody listens for"] = {
    'sip.listen "udp:0.0.0.0:5060" sip.pool("pbx", { servers = { { name = "a", '
      .. 'uri = "SIPS:10.0.0.1" } } })',
    "pool 'pbx': server 'a' is reached by TLS, and nothing listens there that it could be "
      .. "reached from: add \"tls:...\" to sip.listen",
  },
  ["an unknown setting"] = {
    "sip.settings { wrokers = 2 }",
    "script.lua:2: sip.settings: unknown option 'wrokers'; did you mean 'workers'?",
  },
  ["a misspelt switch"] = {
    "sip.settings { udp = { gs0 = false } }",
    "script.lua:2: sip.settings: unknown option 'udp.gs0'; did you mean 'udp.gso'?",
  },
  ["a switch that is a word"] = {
    'sip.settings { udp = { gso = "off" } }',
    "script.lua:2: sip.settings: udp.gso: true or false expected, got string",
  },
  ["an option like no other"] = {
    "sip.settings { zzz = 2 }", "script.lua:2: sip.settings: unknown option 'zzz'",
  },
  ["an unknown function"] = {
    "sip.pol('x', {})", "script.lua:2: tandem has no 'pol'; did you mean 'pool'?",
  },
  ["an unknown kind of route"] = {
    "sip.route('*indialog', function() end)",
    "script.lua:2: sip.route: there is no kind '*indialog'; did you mean '*in_dialog'?",
  },
  ["a method that never comes"] = {
    "sip.route('ACK', function() end)",
    "script.lua:2: sip.route: ACK never reaches a script",
  },
  ["a method in small letters"] = {
    "sip.route('invite', function() end)",
    "script.lua:2: sip.route: methods are written in capitals; did you mean 'INVITE'?",
  },
  ["a missing option"] = {
    'sip.pool("pbx", { servers = { { name = "a" } } })',
    "script.lua:2: pool 'pbx': servers[1]: 'uri' is missing",
  },
  ["a wrong type"] = {
    'sip.pool("pbx", { servers = {}, keep = "1" })',
    "script.lua:2: pool 'pbx': keep: a whole number expected, got string",
  },
  ["a wrong word"] = {
    'sip.pool("pbx", { servers = {}, all_down = "tri" })',
    "script.lua:2: pool 'pbx': all_down: 'try' or 'fail' expected, got 'tri'; did you mean "
      .. "'try'?",
  },
  ["no URI"] = {
    'sip.pool("pbx", { servers = { { name = "a", uri = "10.0.0.1" } } })',
    "script.lua:2: pool 'pbx': servers[1].uri: '10.0.0.1' is no SIP URI: not a valid URI",
  },
  ["two servers of one name"] = {
    'local s = { name = "a", uri = "sip:10.0.0.1" } sip.pool("pbx", { servers = { s, s } })',
    "script.lua:2: pool 'pbx': servers[2]: there is a server 'a' already",
  },
  ["two pools of one name"] = {
    'sip.pool("pbx", { servers = {} })\nsip.pool("pbx", { servers = {} })',
    "script.lua:3: pool 'pbx' has been declared before, at script.lua:2",
  },
  ["two routes for the same"] = {
    "sip.route(function() end)\nsip.route(function() end)",
    "script.lua:3: the route of all requests has been declared before, at script.lua:2",
  },
  ["settings that are given twice"] = {
    "sip.settings {}\nsip.settings {}",
    "script.lua:3: sip.settings has been declared before, at script.lua:2",
  },
  ["both timeout and retransmits"] = {
    'sip.pool("pbx", { servers = {}, attempt = { timeout = 1, retransmits = 2 } })',
    "script.lua:2: pool 'pbx': attempt: timeout and retransmits exclude each other",
  },
  ["a check that overlaps itself"] = {
    'sip.pool("pbx", { servers = {}, check = { interval = 1, timeout = 2 } })',
    "script.lua:2: pool 'pbx': check: timeout (2) must be shorter than interval (1)",
  },
  ["an address that is none"] = {
    'sip.listen { "udp:0.0.0.0:99999" }', "^script.lua:2: sip.listen: item 1: ",
  },
  ["a network that is none"] = {
    'sip.netset { "10.0.0.0/33" }',
    "script.lua:2: sip.netset: [1]: '10.0.0.0/33' is no network: not an address or a "
      .. "network like 10.0.0.0/8",
  },
  ["a file that is not there"] = {
    'sip.data "none.json"', "^script.lua:2: sip.data: none.json: ",
  },
  ["a file that is no JSON"] = {
    'sip.data "bad.json"', "^script.lua:2: sip.data: bad.json: ",
  },
  ["an undeclared variable"] = {
    "pbx = 1",
    "script.lua:2: assignment to the undeclared variable 'pbx': nothing is global, write "
      .. "'local pbx'",
  },
  ["a variable that is not there"] = {
    "sip.pool(nmae, {})", "script.lua:2: undefined variable 'nmae'",
  },
  ["a syntax error"] = {
    "sip.route(function(req)", "^script.lua:2: 'end' expected near <eof>",
  },
  ["a module that is not there"] = {
    'require "nothing"', "^script.lua:2: .*nothing",
  },
  ["a wait while loading"] = {
    "sip.sleep(1)", "^script.lua:2: sleep cannot wait",
  },
  ["a change of state while loading"] = {
    'sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } } })'
      .. ':server("a"):drain()',
    "script.lua:2: the state of server 'pbx/a' cannot change while the script loads",
  },
}

describe("a script that is wrong does not load:", function()
  after_each(sim.finish)

  local names = {}
  for name in pairs(wrong) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    it(name, function()
      local text, message = table.unpack(wrong[name])
      local why = policy.load_error(head .. text, { files = { ["bad.json"] = "{ x }" } })
      if message:sub(1, 1) == "^" then
        assert.matches(message, why)
      else
        assert.equal(message, why)
      end
    end)
  end

  it("an error in a module of the script names that module", function()
    local why = policy.load_error('require "servers"', {
      files = { ["servers.lua"] = 'local sip = require "tandem"\n\nsip.pool("x", { serves = 1 })' },
    })
    assert.equal("servers.lua:3: pool 'x': unknown option 'serves'; did you mean 'servers'?",
      why)
  end)

  it("and the one before stays when it was a reload", function()
    local w = policy.world { handler = "return req:reply(480)" }
    local ok, why = w.net:reload { source = head .. "sip.settings { wrokers = 2 }" }
    assert.is_nil(ok)
    assert.matches("script.lua:2: sip.settings: unknown option 'wrokers'", why)
    assert.equal(480, w.alice:call("sip:bob@example.com").code)
  end)
end)

sim.for_workers("declaring", function(workers)
  after_each(sim.finish)

  local uri = "sip:bob@example.com"

  for name, text in pairs {
    ["sip.pool"] = 'sip.pool("late", { servers = {} })', ["sip.listen"] = 'sip.listen "udp:x:1"',
    ["sip.settings"] = "sip.settings {}", ["sip.netset"] = "sip.netset {}",
    ["sip.data"] = 'sip.data "x.json"', ["sip.route"] = "sip.route(function() end)",
  } do
    it(name .. " at run time raises, with the line", function()
      local w = policy.world { workers = workers, handler = text }
      assert.equal(500, w.alice:call(uri).code)
      assert.equal("script.lua:13: " .. name .. " declares, which is only possible while the "
        .. "script loads", policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end)
  end

  it("gives objects that cannot be changed", function()
    local w = policy.world { workers = workers, before = [[
      local list = sip.data "list.json"
      local lines = sip.data "lines.txt"
      local net = sip.netset { "10.0.0.0/8", file = "nets.txt" }
    ]], files = {
      ["list.json"] = '{ "servers": [ { "name": "x" } ], "n": 1 }',
      ["lines.txt"] = "one\n# two\n\n three # four\n", ["nets.txt"] = "192.0.2.0/24\n",
    }, handler = [[
      local function refused(fn) local ok, why = pcall(fn) say(ok, why) end
      refused(function() list.n = 2 end)
      refused(function() list.servers[1].name = "y" end)
      refused(function() list.servers[2] = {} end)
      refused(function() pbx.name = "y" end)
      refused(function() pbx.servers[1] = nil end)
      refused(function() a.tier = 5 end)
      refused(function() sip.mine = 1 end)
      refused(function() net.networks[1] = "0.0.0.0/0" end)
      refused(function() return pbx.nmae end)
      say(list.n, #list.servers, list.servers[1].name, #lines, lines[2], net.networks[2])
      return req:relay(pbx)
    ]] }
    assert.equal(200, w.alice:call(uri).code)
    assert.same({
      "false script.lua:17: 'n' cannot be set: this table is read-only",
      "false script.lua:18: 'name' cannot be set: this table is read-only",
      "false script.lua:19: '2' cannot be set: this table is read-only",
      "false script.lua:20: the fields of a pool are read-only ('name')",
      "false script.lua:21: '1' cannot be set: this table is read-only",
      "false script.lua:22: the fields of a server are read-only ('tier')",
      "false script.lua:23: tandem cannot be changed ('mine')",
      "false script.lua:24: '1' cannot be set: this table is read-only",
      "false script.lua:25: a pool has no field 'nmae'; did you mean 'name'?",
      "1 1 x 2 three 192.0.2.0/24",
    }, w.said())
  end)

  it("knows which addresses are in a set of networks", function()
    local w = policy.world { workers = workers, before = [[
      local office = sip.netset { "10.0.0.0/9", "192.0.2.7", "2001:db8::/33" }
      local nobody = sip.netset {}
    ]], handler = [[
      for _, ip in ipairs { req.source.ip, "10.127.0.1", "10.128.0.0", "192.0.2.8", "::a00:1",
        "2001:db8:7fff::1", "2001:db8:8000::1", "0:0::ffff:10.0.0.1" } do
        say(ip, office:has(ip), nobody:has(ip))
      end
      for _, wrong in ipairs { "10.0.0.0/8", "x", "", 10, false } do
        say(select(2, pcall(office.has, office, wrong)))
      end
      return req:relay(pbx)
    ]] }
    assert.equal(200, w.alice:call(uri).code)
    assert.same({
      "192.0.2.7 true false", "10.127.0.1 true false", "10.128.0.0 false false",
      "192.0.2.8 false false", "::a00:1 false false", "2001:db8:7fff::1 true false",
      "2001:db8:8000::1 false false", "0:0::ffff:10.0.0.1 true false",
      "script.lua:20: netset:has: an IP address expected, got '10.0.0.0/8'",
      "script.lua:20: netset:has: an IP address expected, got 'x'",
      "script.lua:20: netset:has: an IP address expected, got ''",
      "script.lua:20: netset:has: an IP address expected, got number",
      "script.lua:20: netset:has: an IP address expected, got boolean",
    }, w.said())
  end)

  it("copies what it is given: changing that later changes nothing", function()
    local w = policy.world { workers = workers, source = [[
      local sip = require "tandem"
      local conf = { servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = false }
      local pbx = sip.pool("pbx", conf)
      conf.servers[1].name = "z"
      conf.servers[2] = { name = "b", uri = "sip:10.0.0.2" }
      sip.listen { "udp:0.0.0.0:5060" }
      sip.route(function(req)
        sip.log.info(#pbx.servers .. " " .. pbx.servers[1].name)
        return req:relay(pbx)
      end)
    ]] }
    assert.equal("a", w.alice:call(uri).server)
    assert.same({ "1 a" }, w.said())
  end)
end)
