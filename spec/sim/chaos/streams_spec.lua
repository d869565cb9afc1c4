-- Calls and other requests over every transport, from both sides, while links,
-- endpoints, names, memory and the proxy fail in every way the simulator knows: nothing
-- is left at the end, calls work again, and one seed is one run.
local sim = require "support.sim"

local steps = 60
local seeds = 10

local script = [[
local sip = require "tandem"
sip.listen {
  "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" },
}
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1;transport=tcp", tier = 1 },
    { name = "b", uri = "sip:b.example.com;transport=tls", tier = 2 },
    { name = "c", uri = "sip:10.0.0.3", tier = 3 },
  },
  check = { interval = 2 }, path = "always", shared_dialogs = true,
})
sip.settings { state_dir = "/var/lib/tandem", trust = { "10.0.0.0/8" } }
sip.route(function(req) return req:relay(pbx) end)
]]

-- A generator of the test's own, so that a choice does not move what the world draws.
local function generator(seed)
  local state = seed * 7919
  return function(n)
    state = (state * 1103515245 + 12345) % 2147483648
    return state // 65536 % n + 1
  end
end

local function is_stream(e)
  return e.transport ~= "udp"
end

-- What may happen to an endpoint, to the link between it and the proxy, to names, and
-- to the proxy.
local function mishaps(net, random)
  local proxy = net.nodes[1]
  local function identity(e)
    if e.sockets.tls then
      e:identity { expired = random(2) == 1, wants_client = random(2) == 1 }
    end
  end
  return {
    function(e) e:reset() end,
    function(e) e:close() end,
    function(e) e:stall() end,
    function(e) e:silence() end,
    function(e) e:refuse() end,
    function(e) e:crash() end,
    function(e) e:power_off() end,
    function(e) e:resume() end,
    function(e) e:resume() end,
    function(e) e:ring(random(3)) end,
    identity,
    function(e) net:link(e, proxy, { chunk = random(50) }) end,
    function(e) net:link(e, proxy, { cut = 300 * random(10) }) end,
    function(e) net:link(e, proxy, { cut = 0, chunk = 0 }) end,
    function(e) net:partition(e, proxy) end,
    function() net:heal() end,
    function() net:resolver(random(2) == 1 and "silent" or "garbage") end,
    function() net:resolver "ok" end,
    function() net:dns("b.example.com", { "10.0.0.2", "10.0.0.4", ttl = random(4) - 1 }) end,
    function() net:dns("b.example.com", nil) end,
    function(e) return is_stream(e) and e:raw(("x"):rep(random(2000)), random(100)) end,
    function(e) return is_stream(e) and e:ping() end,
    function(e)
      for _ = 1, is_stream(e) and random(100) or 0 do
        e:connect()
      end
    end,
    function()
      proxy:crash()
      net:run(0.2)
      proxy:start()
    end,
    function()
      proxy:stop()
      net:run(0.2)
      proxy:start()
    end,
    function()
      proxy:drop(proxy.ip)
      net:run(0.5)
      proxy:take(proxy.ip)
    end,
    function() proxy:reload() end,
    function() proxy:fail_alloc(random(200), { row = random(3), worker = proxy.workers }) end,
  }
end

local function start(seed)
  local net = sim.new {
    seed = seed, workers = seed % 2 + 1, source = script,
    link = { loss = 0.02, jitter = 0.01 },
    dns = { ["b.example.com"] = { "10.0.0.2", ttl = 5 } },
  }
  local phones = {
    net:uac("tcp:192.0.2.7", "alice"), net:uac("tls:192.0.2.8", "bob"),
    net:uac("192.0.2.9", "carol"),
    net:uac("tcp:192.0.2.10", { name = "dave", private = "192.168.0.2" }),
  }
  local servers = {
    net:uas("tcp:10.0.0.1", "a"), net:uas("tls:10.0.0.2", "b"), net:uas("10.0.0.3", "c"),
  }
  local everyone = {}
  for _, list in ipairs { servers, phones } do
    table.move(list, 1, #list, #everyone + 1, everyone)
  end
  return net, phones, servers, everyone
end

-- Something a phone, or a server that calls it, may want.
local function want(phone, servers, random, calls)
  local what, server = random(6), servers[random(#servers)]
  local function call(from, uri)
    if from.mode == "open" then
      calls[#calls + 1] = { from, from:invite(uri) }
    end
  end
  if what == 1 then
    call(server, phone.contact:match "<(.*)>")
  elseif phone.mode ~= "open" then
    return
  elseif what == 2 then
    phone:request("REGISTER", "sip:example.com")
  elseif what == 3 then
    phone:request("MESSAGE", "sip:bob@example.com", { body = ("y"):rep(1500) })
  else
    call(phone, "sip:bob@example.com")
  end
end

-- Says something in a call, hangs up or cancels.
local function go_on(from, call, random)
  local known = call.dialog and from.dialogs[call.dialog:key()]
  if call.state == "ringing" then
    from:cancel(call)
  elseif call.state == "up" and known and random(2) == 1 then
    from:in_dialog(call, "INFO", { body = ("z"):rep(1400) })
  elseif call.state == "up" and known then
    from:bye(call)
  end
end

-- Who has a connection that only it believes in would find out by its next request.
local function repair(net, everyone)
  for _, e in ipairs(everyone) do
    e:resume()
    e:reset()
    if e.sockets.tls then
      e:identity {}
    end
    net:link(e, net.nodes[1], { cut = 0, chunk = 0 })
  end
  net:heal()
  net:resolver "ok"
  net:dns("b.example.com", "10.0.0.2")
  net.nodes[1]:fail_alloc(0, { worker = net.nodes[1].workers })
  net:run(200)
end

local function run(seed)
  local net, phones, servers, everyone = start(seed)
  local random = generator(seed)
  local happen = mishaps(net, random)
  local calls = {}
  for _ = 1, steps do
    want(phones[random(#phones)], servers, random, calls)
    net:run(random(100) / 100)
    happen[random(#happen)](everyone[random(#everyone)])
    local call = calls[random(#calls + 1)]
    if call then
      go_on(call[1], call[2], random)
    end
  end
  repair(net, everyone)
  return net, phones
end

-- Scripts may fail for want of memory, and for nothing else.
local function finish(net)
  for _, event in ipairs(net.events) do
    if event.event == "lua.error" then
      assert.matches("not enough memory", event.error)
    end
  end
  net:finish { errors = net.nodes[1]:errors() }
end

describe("connections in a bad world", function()
  for seed = 1, seeds do
    it("leave nothing behind, seed " .. seed, function()
      local net, phones = run(seed)
      for _, phone in ipairs(phones) do
        assert.equal(200, phone:call("sip:bob@example.com").code, phone.name)
      end
      finish(net)
    end)
  end

  it("are the same with the same seed", function()
    local hashes = {}
    for i, seed in ipairs { 3, 3, 4 } do
      local net = run(seed)
      hashes[i] = net:trace_hash()
      finish(net)
    end
    assert.equal(hashes[1], hashes[2])
    assert.not_equal(hashes[1], hashes[3])
  end)
end)
