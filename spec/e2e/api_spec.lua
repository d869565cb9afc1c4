-- The control API of the running program: doors, rights, and what is wrong with questions.
local http = require "support.http"
local netns = require "support.netns"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local tree = require "support.tree"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" }, { name = "b", uri = "sip:127.0.0.1:%{b}" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

local token = ("0123456789abcdef"):rep(2)

describe("the control API", function()
  local tandem, ctl, tcp

  before_each(function()
    local port, a, b, web = process.ports(4)
    ctl, tcp = process.path "ctl.sock", "127.0.0.1:" .. web
    tandem = proxy.start {
      source = source, values = { port = port, a = a, b = b },
      args = { "--ctl", ctl, "--http", tcp, "--http-token", process.write("token", token .. "\n") },
    }
  end)
  after_each(process.clean)

  it("says what the process is", function()
    local status, value, kind = http.ask(ctl, "/v1/status")
    assert.equal(200, status)
    assert.equal("application/json", kind)
    assert.equal(tandem:pid(), value.pid)
    assert.same({ pools = 1, servers = 2, usable = 2, calls = 0, requests = 0 }, value.count)
  end)

  it("answers the same on TCP", function()
    local _, by_unix = http.ask(ctl, "/v1/pools/pbx/servers/b")
    local _, by_tcp = http.ask(tcp, "/v1/pools/pbx/servers/b")
    assert.equal("b", by_unix.name)
    assert.same(by_unix, by_tcp)
  end)

  -- What the sources have: { method, path, access }.
  local function routes()
    local list = {}
    for _, name in ipairs(tree.files("lua/tandem/control/routes", "lua")) do
      for method, path, access in tree.read(name):gmatch 'route%("(%u+)", "([^"]+)", "(%l+)"' do
        path = path:gsub("{pool}", "pbx"):gsub("{server}", "a"):gsub("{call_id}", "x")
        list[#list + 1] = { method, path, access }
      end
    end
    return list
  end

  it("answers at each of its paths", function()
    local n = 0
    for _, route in ipairs(routes()) do
      local method, path, access = table.unpack(route)
      if access == "read" then
        n = n + 1
        local status = http.ask(ctl, path, { method = method })
        assert.same({ path, path == "/v1/why/x" and 404 or 200 }, { path, status })
        assert.same({ path, status }, { path, (http.ask(ctl, path, { method = "HEAD" })) })
      end
    end
    assert(n > 12)
  end)

  it("lets nobody change anything by TCP who has no token", function()
    local n, before = 0, select(2, http.ask(ctl, "/v1/pools/pbx/servers"))
    for _, route in ipairs(routes()) do
      local method, path, access = table.unpack(route)
      assert(method == "GET" or access == "write", method .. " " .. path)
      if access == "write" then
        n = n + 1
        local status, value = http.ask(tcp, path, { method = method, body = { admin = "drain" } })
        assert.same({ path, 401 }, { path, status })
        assert.matches("^changes go over the control socket", value.error)
      end
    end
    assert(n > 12)
    for _, other in ipairs { ("x"):rep(32), token:sub(1, 31), token .. "0", "" } do
      assert.equal(401, (http.ask(tcp, "/v1/drain", { method = "POST", token = other })))
    end
    assert.same(before, select(2, http.ask(ctl, "/v1/pools/pbx/servers")))
    assert.is_false(select(2, http.ask(ctl, "/v1/drain")).draining)
    assert.equal(200, (http.ask(tcp, "/v1/drain", { method = "POST", token = token })))
    assert.is_true(select(2, http.ask(ctl, "/v1/drain")).draining)
  end)

  -- Whoever serves a page under a name may let that name lead to 127.0.0.1 (DNS rebinding).
  it("answers on a loopback address to no name but localhost", function()
    for _, host in ipairs { "127.0.0.1", tcp, "localhost", "LocalHost:9091", "[::1]:80", "::1" } do
      assert.same({ host, 200 }, { host, (http.ask(tcp, "/v1/pools", { host = host })) })
    end
    for _, host in ipairs { "evil.example", "evil.example:9091", "localhost.evil.example", "",
      "127.0.0.1.evil.example:9091", "x@127.0.0.1", "127.0.0.1, evil.example", "127.1" } do
      for _, path in ipairs { "/", "/v1/pools", "/metrics", "/v1/nothing" } do
        local status, value = http.ask(tcp, path, { host = host })
        assert.same({ host, path, 403 }, { host, path, status })
        assert.matches("^this address answers to an IP address or to localhost", value.error)
      end
      local status = http.ask(tcp, "/v1/drain", { method = "POST", token = token, host = host })
      assert.equal(403, status)
    end
    assert.equal(200, (http.ask(ctl, "/v1/pools", { host = "evil.example" })))
  end)

  it("answers on other addresses to any name", function()
    local net, why = netns.open()
    if not net then
      return pending(why)
    end
    net:ip "addr add 10.9.0.1/32 dev lo"
    proxy.start {
      name = "inside", inside = net, source = source, values = { port = 5060, a = 1, b = 2 },
      args = { "--ctl", "none", "--http", "10.9.0.1:9091" },
    }
    local words = net:prefix()
    for _, word in ipairs { "curl", "-sS", "-m", "20", "-H", "Host: proxy.example",
      "http://10.9.0.1:9091/healthz" } do
      words[#words + 1] = word
    end
    assert.same({ "ok" }, sh.lines(table.concat(words, " "):gsub("Host: %S+", sh.quote)))
  end)

  it("tells the page what that shows", function()
    local _, value = http.ask(tcp, "/v1/page")
    assert.equal("pbx", value.pools[1].name)
    assert.equal(2, #value.pools[1].servers)
    local _, page, kind = http.ask(tcp, "/")
    assert.matches("^text/html", kind)
    assert.matches("^<!doctype html>", page:lower())
  end)

  it("says what there is not", function()
    for path, wrong in pairs {
      ["/v1/nothing"] = "there is no /v1/nothing",
      ["/v1/pools/nope"] = "there is no pool 'nope'; there is pbx",
      ["/v1/pools/pbxx"] = "there is no pool 'pbxx'; did you mean 'pbx'?",
      ["/v1/pools/pbx/servers/x"] = "pool 'pbx' has no server 'x'; there is a, b",
      ["/v1/pools/pbx/servers/aa"] = "pool 'pbx' has no server 'aa'; did you mean 'pbx/a'?",
    } do
      local status, value = http.ask(ctl, path)
      assert.equal(404, status)
      assert.equal(wrong, value.error)
    end
  end)

  it("has names with escapes in them, whatever they are", function()
    local _, value = http.ask(ctl, "/v1/pools/a%2Fb%2541")
    assert.matches("there is no pool 'a/b%41'", value.error, 1, true)
    local status, text = http.ask(ctl, "/readyz?pool=p%62x")
    assert.equal(200, status, text)
  end)

  it("says which methods there are", function()
    local status, value = http.ask(ctl, "/v1/status", { method = "DELETE" })
    assert.equal(405, status)
    assert.equal("/v1/status takes GET", value.error)
  end)

  it("does not swallow a body without end", function()
    local big = process.write("big", ("x"):rep(2 ^ 20 + 1))
    local status = http.ask(ctl, "/v1/status", { method = "POST", raw = "@" .. big })
    assert.equal(413, status)
  end)

  it("is there for its group and for nobody else", function()
    assert.same({ "660" }, sh.lines("stat -c %a " .. ctl))
  end)

  it("goes on while clients say nothing", function()
    for i = 1, 20 do
      process.start {
        name = "silent" .. i, argv = { "socat", "-u", "UNIX-CONNECT:" .. ctl, "-" }, limit = 20,
      }
    end
    assert.equal(200, (http.ask(ctl, "/healthz")))
  end)

  it("takes its socket along when it ends", function()
    assert.is_nil(tandem:stop())
    assert.is_nil(io.open(ctl))
  end)

  it("says why it cannot be where it should", function()
    local other, file = process.ports(1), process.write("file", "")
    for i, case in ipairs {
      { "--http", tcp, "; another program listens there: --http IP:PORT" },
      { "--http", "192.0.2.1:9091", "; this machine has no such address: --http IP:PORT" },
      { "--ctl", file, "; what is there is no socket: --ctl PATH" },
      { "--ctl", "/nowhere/ctl.sock", "; make its directory, or name another: --ctl PATH" },
    } do
      local second = proxy.launch {
        name = "second" .. i, source = source, values = { port = other, a = 1, b = 2 },
        args = { case[1], case[2] },
      }
      second.expected = 1
      assert.equal(1, second:wait())
      assert.matches(case[3], second:output(), 1, true)
    end
  end)

  it("leaves the socket of another proxy alone, and takes over that of a dead one", function()
    local other = process.ports(1)
    local second = proxy.launch {
      name = "second", source = source, values = { port = other, a = 1, b = 2 },
      args = { "--ctl", ctl },
    }
    second.expected = 1
    assert.equal(1, second:wait())
    assert.matches("another proxy answers there", second:output(), 1, true)
    tandem:signal "KILL"
    tandem.expected = 137
    tandem:wait()
    proxy.start {
      name = "third", source = source, values = { port = other, a = 1, b = 2 },
      args = { "--ctl", ctl },
    }
    assert.equal(200, (http.ask(ctl, "/healthz")))
  end)
end)
