-- Who gets a request, on the wire: every policy with the real core.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"
local names = { "a", "b", "c", "d" }

-- Four servers, 10.0.0.1 to 4: opts.servers are their options by name, as text.
local function script(opts)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = ('{ name = "%s", uri = "sip:10.0.0.%d", %s }'):format(name, i,
      opts.servers and opts.servers[name] or "")
  end
  if opts.reversed then
    list[1], list[2], list[3], list[4] = list[4], list[3], list[2], list[1]
  end
  return ([[
    local sip = require "tandem"
    sip.listen { "udp:0.0.0.0:5060" }
    local pool = sip.pool("gw", { policy = %s, check = false, servers = { %s }, %s })
    local relay = { timeout = 1, last_timeout = 1, attempts = 4 }
    sip.route(function(req) %s end)
    local _ = relay
    %s
  ]]):format(opts.policy, table.concat(list, ",\n"), opts.pool or "",
    opts.handler or "return req:relay(pool, relay)", opts.after or "")
end

local all = { "ordered", "round_robin", "weighted", "least_calls", "latency", "hash" }

sim.for_workers("policies", function(workers)
  after_each(sim.finish)

  local net, alice, servers

  local function open(opts, more)
    local conf = { source = script(opts), workers = workers }
    for name, value in pairs(more or {}) do
      conf[name] = value
    end
    net = sim.new(conf)
    alice, servers = net:uac "192.0.2.7", {}
    for i, name in ipairs(names) do
      servers[name] = net:uas("10.0.0." .. i, name)
    end
    net:run(0.5)
  end

  -- Who answered n requests, in order.
  local function answered(n)
    local list = {}
    for i = 1, n do
      list[i] = alice:ask("MESSAGE", uri).server
    end
    return table.concat(list)
  end

  for _, name in ipairs(all) do
    local quoted = ('"%s"'):format(name)

    describe(name, function()
      it("comes to every server when all others are silent, and to none twice", function()
        open { policy = quoted }
        for _, silent in ipairs { "a", "b", "c", "d" } do
          servers[silent]:silence()
        end
        local call = alice:call(uri)
        local seen = {}
        for _, tried in ipairs(call.tried) do
          assert.is_nil(seen[tried])
          seen[tried] = true
        end
        assert.equal(4, #call.tried)
        assert.equal(500, call.code)
      end)

      it("stays with the server that challenged, though a better one is back", function()
        -- d is of the first tier: it is what all would prefer.
        open {
          policy = quoted,
          servers = { a = "tier = 2", b = "tier = 2", c = "tier = 2" },
          after = [[
            sip.on("start", function() pool:server("d"):hold(1) end)
          ]],
        }
        for _, case in ipairs {
          { "INVITE", 407, "Proxy-Authenticate", "Proxy-Authorization" },
          { "REGISTER", 401, "WWW-Authenticate", "Authorization" },
        } do
          local method, code, asks, tells = table.unpack(case)
          for _, server in pairs(servers) do
            server:once(method, code, { [asks] = 'Digest realm="x", nonce="1"' })
          end
          local first = alice:ask(method, uri)
          assert.equal(code, first.code)
          if net.now < 2 then
            net:run(2)
          end
          assert.equal("up", net.pools.gw.d.status)
          local second = alice:ask(method, uri, {
            again = first, headers = { [tells] = "Digest whatever" },
          })
          assert.equal(200, second.code)
          assert.equal(first.server, second.server)
          assert(method == "REGISTER" or second.server ~= "d")
        end
      end)
    end)
  end

  for how, handler in pairs {
    ["pool:each"] = [[
      for server in pool:each(req, { key = "k" .. req.from.user }) do
        return req:try(server):forward()
      end]],
    ["pool:pick"] = [[ return req:try(pool:pick(req, { key = "k" .. req.from.user })):forward() ]],
  } do
    it("a challenge is remembered for the key that " .. how .. " was given", function()
      open { policy = '"round_robin"', handler = handler }
      for _, server in pairs(servers) do
        server:once("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' })
      end
      local first = alice:call(uri)
      local second = alice:call(uri, {
        again = first, headers = { ["Proxy-Authorization"] = "Digest whatever" },
      })
      assert.equal(407, first.code)
      assert.equal(first.server, second.server)
    end)
  end

  it("ordered takes the first as declared", function()
    open { policy = '"ordered"', reversed = true }
    assert.equal("dddd", answered(4))
  end)

  it("round_robin takes one after the other, all workers together", function()
    open { policy = '"round_robin"' }
    assert.equal("abcdabcdabcd", answered(12))
    servers.b:silence()
    assert.equal(4, #alice:ask("MESSAGE", uri).tried + #alice:ask("MESSAGE", uri).tried
      + #alice:ask("MESSAGE", uri).tried)
  end)

  it("weighted takes each by its weight, and weight 0 last", function()
    open {
      policy = '"weighted"',
      servers = { a = "weight = 6", b = "weight = 3", c = "weight = 1", d = "weight = 0" },
    }
    local text = answered(300)
    for name, share in pairs { a = 180, b = 90, c = 30, d = 0 } do
      assert.near(share, select(2, text:gsub(name, "")), 24)
    end
    for _, name in ipairs { "a", "b", "c" } do
      servers[name]:refuse()
    end
    assert.equal("d", alice:ask("MESSAGE", uri).server)
  end)

  it("least_calls spreads calls evenly, and by weight", function()
    open { policy = '"least_calls"', servers = { d = "weight = 2" } }
    for _, server in pairs(servers) do
      server:ring()
    end
    local calls = {}
    for i = 1, 20 do
      calls[i] = alice:invite(uri)
      net:run(0.05)
    end
    local counts = {}
    for _, name in ipairs(names) do
      counts[name] = #servers[name]:got "INVITE"
    end
    assert.same({ a = 4, b = 4, c = 4, d = 8 }, counts)
    for _, call in ipairs(calls) do
      alice:cancel(call)
    end
    net:run(1)
  end)

  it("latency takes the nearest, and the next when that one is gone", function()
    open { policy = '"latency"' }
    for i, name in ipairs(names) do
      net:link(net.nodes[1], servers[name], { delay = 0.05 * (5 - i) })
    end
    answered(8) -- every worker knows what another has measured
    assert.equal("dddd", answered(4))
    net:run(1.1)
    servers.d:refuse()
    assert.equal("c", alice:ask("MESSAGE", uri).server)
  end)

  it("hash has one server for a key, whoever calls", function()
    open {
      policy = '"hash"',
      after = [[
        sip.route("MESSAGE", function(req) return req:relay(pool, { key = req.ruri.user }) end)
      ]],
    }
    local seen = {}
    for i = 1, 40 do
      local user = "user" .. i % 10
      local server = alice:ask("MESSAGE", ("sip:%s@example.com"):format(user)).server
      assert.equal(seen[user] or server, server)
      seen[user] = server
    end
  end)

  it("hash with bound lets nobody have more than its share of calls", function()
    open {
      policy = '"hash"', pool = "bound = 1.25",
      after = [[
        sip.route("INVITE", function(req) return req:relay(pool, { key = "one tenant" }) end)
      ]],
    }
    for _, server in pairs(servers) do
      server:ring()
    end
    local calls = {}
    for i = 1, 24 do
      calls[i] = alice:invite(uri)
      net:run(0.05)
      for _, name in ipairs(names) do
        assert(net.pools.gw[name].setup <= math.ceil(1.25 * i / 4), name)
      end
    end
    for _, call in ipairs(calls) do
      alice:cancel(call)
    end
    net:run(1)
  end)

  it("a module of the script's can be a policy, and uses what ours use", function()
    open({ policy = 'require "last"' }, {
      files = {
        ["last.lua"] = [[
          local core = require "tandem.core"
          local last = {}
          function last.new(pool)
            return {
              by_name = true,
              prepare = function(_, servers)
                return { servers = servers, facts = { servers[1].facts } }
              end,
              choose = function(_, view, call)
                assert(pool.name == "gw" and call.key ~= "" and call.step < 4)
                assert(core.loads(view.facts, {})[1] == 0)
                return view.servers[#view.servers]
              end,
            }
          end
          return last
        ]],
      },
    })
    servers.d:refuse()
    assert.same({ "d", "c" }, alice:ask("MESSAGE", uri).tried)
  end)
end)

describe("two nodes", function()
  after_each(sim.finish)

  -- Chooses for 10 000 keys, with one of the servers out, and says what came out.
  local choose = [[
    sip.on("start", function()
      pool:server("b"):hold(1000)
      local seen = {}
      for i = 1, 10000 do
        seen[i] = pool:pick(nil, { key = "call-" .. i .. "@example.com" }).name
      end
      sip.log.info(table.concat(seen))
    end)
  ]]

  for _, name in ipairs { "hash", "weighted" } do
    it("choose alike by " .. name .. " for 10 000 keys, whatever the order there", function()
      local opts = {
        policy = ('"%s"'):format(name), after = choose,
        servers = { a = "weight = 2", c = "weight = 3" },
      }
      local net = sim.new { source = script(opts), seed = 1 }
      opts.reversed = true
      net:node { source = script(opts), addr = "10.0.0.101", workers = 2 }
      net:run(1)
      local said = policy.said(net)
      assert.equal(2, #said)
      assert.equal(10000, #said[1])
      assert.equal(said[1], said[2])
      local counts = {}
      for _, server in ipairs(names) do
        counts[server] = select(2, said[1]:gsub(server, ""))
      end
      assert.equal(0, counts.b)
      assert.near(20000 / 6, counts.a, 200)
      assert.near(30000 / 6, counts.c, 200)
    end)
  end
end)

describe("a pool of 1000 servers", function()
  after_each(sim.finish)

  it("starts, and chooses, within what a script may take", function()
    local net = sim.new { source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local servers = {}
      for i = 1, 1000 do
        servers[i] = { name = "s" .. i, uri = ("sip:10.%d.%d.1"):format(i // 250, i % 250) }
      end
      local pool = sip.pool("gw", { policy = "hash", check = false, servers = servers })
      sip.route(function(req)
        local server = pool:pick(req)
        req:reply(200, server.name)
      end)
    ]] }
    local call = net:uac("192.0.2.7"):ask("OPTIONS", "sip:bob@example.com")
    assert.equal(200, call.code)
    assert.matches("^s%d+$", call.reason)
  end)
end)
