-- Memory that runs out at every place of a scenario: each is run once to count the
-- allocations, and then again for the k-th of them, alone, a few in a row, or all that
-- follow until the scenario is over. Whatever it hits, the proxy may lose what the network
-- could have lost, and nothing else: every request ends, nothing is left behind, and the
-- next call works.
local registrar = require "support.registrar"
local sim = require "tandem.sim"
local error, ipairs, math, os, string, table =
  error, ipairs, math, os, string, table

local _ENV = nil

local sweep = {}

local uri = "sip:bob@example.com"
local for_ever = 1 << 40

-- ---- worlds ----------------------------------------------------------------

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" } }
sip.settings { %s }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1%s", tier = 1 },
    { name = "b", uri = "sip:10.0.0.2%s", tier = 2 },
  },
  check = %s, passive = { fall = 1000 }, path = "always", shared_dialogs = true,
  attempt = { timeout = 2 },
})
local a, b = pbx:server "a", pbx:server "b"
local _ = { a, b }
sip.route(function(req)
%s
end)
]]

local relay = "  if not req:relay(pbx) then return req:reply(500) end"

-- opts: handler, settings, check, and where the servers are.
local function source(opts)
  opts = opts or {}
  return frame:format(opts.settings or "", opts.uri or "", opts.uri or "",
    opts.check or "false", opts.handler or relay)
end

local function world(opts)
  opts = opts or {}
  local net = sim.new {
    source = opts.source or source(opts), workers = 1, dns = opts.dns, key = opts.key,
    seed = opts.seed, addr = opts.addr,
  }
  local w = { net = net, node = net.nodes[1] }
  w.a = net:uas((opts.over or "") .. (opts.at or "10.0.0.1"), "a")
  w.b = net:uas((opts.over or "") .. "10.0.0.2", "b")
  w.a:share_dialogs(w.b)
  w.alice = net:uac((opts.phone or "") .. "192.0.2.7", "alice")
  net:run(opts.wait or 1)
  return w
end

-- Two nodes with one key, of which the first has the address; memory runs out in the
-- second.
local function cluster()
  local w = world {
    key = "0123456789abcdef", addr = { "10.0.0.101", "10.0.0.100" },
    source = source():gsub("0%.0%.0%.0:5060", "10.0.0.100:5060", 1),
  }
  w.first = w.node
  w.node = w.net:node { addr = { "10.0.0.102" }, key = "0123456789abcdef" }
  w.alice = w.net:uac("192.0.2.8", { name = "carol", proxy = "10.0.0.100:5060" })
  w.net:run(1)
  return w
end

local function take_over(w)
  w.first:power_off()
  w.node:take "10.0.0.100"
end

local function call_and_hang_up(w)
  local call = w.alice:call(uri)
  return call, call.code == 200 and w.alice:bye(call):wait() or nil
end

-- ---- scenarios -------------------------------------------------------------

-- open() makes the world, act(w) is what memory runs out in; it gives the calls that
-- have to end. `may`: what else than 200 or 5xx a caller may be told.
sweep.scenarios = {
  {
    name = "a call", open = world,
    act = function(w)
      w.a:ring(0.5)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a call that fails over", open = world,
    act = function(w)
      w.a:answer("INVITE", 503)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a server that is silent and answers late", open = world,
    act = function(w)
      w.a:answer("INVITE", 200, nil, 2.5)
      w.b:ring(2)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a CANCEL", open = world, may = { [487] = true, [486] = true },
    act = function(w)
      w.a:ring()
      local call = w.alice:invite(uri)
      w.net:run(1)
      if not call.done and call.state == "ringing" then
        w.alice:cancel(call)
      end
      w.net:run(5)
      if not call.done then
        w.a:on("INVITE", function(_, reply) reply(486) end)
      end
      return call, call.cancel
    end,
  },
  {
    name = "a fork", may = { [401] = true, [407] = true },
    open = function()
      return world { handler = [[
  local res = req:fork({ a, b }, { on_response = function(res) res:set_header("X-Y", "z") end })
  if res then return res:forward() end
  if not req:decided() then return req:reply(500) end]] }
    end,
    act = function(w)
      w.a:answer("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' }, 0.5)
      w.b:answer("INVITE", 200, nil, 1)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a challenge", open = world, may = { [407] = true },
    act = function(w)
      w.a:once("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' })
      local first = w.alice:call(uri)
      return first, w.alice:call(uri, {
        again = first.code == 407 and first or nil,
        headers = { ["Proxy-Authorization"] = "Digest x" },
      })
    end,
  },
  {
    name = "a REGISTER with Path, and a call to the phone", may = { [480] = true },
    open = function()
      local w = world()
      w.bindings = registrar.new(w.a)
      return w
    end,
    act = function(w)
      local register = w.alice:ask("REGISTER", "sip:example.com",
        { from = "sip:phone@example.com", to = "sip:phone@example.com" })
      local binding = w.bindings.phone
      return register, binding and binding.path[1] and registrar.invite(w.a, binding):wait()
    end,
  },
  {
    name = "a call over TCP", is_stream = true,
    open = function() return world { phone = "tcp:", over = "tcp:", uri = ";transport=tcp" } end,
    act = function(w)
      w.a:ring(0.5)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a call over TCP to a server that has gone", is_stream = true,
    open = function() return world { phone = "tcp:", over = "tcp:", uri = ";transport=tcp" } end,
    act = function(w)
      w.a:crash()
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a call over TLS", is_stream = true,
    open = function()
      return world { phone = "tls:", over = "tls:", uri = ":5061;transport=tls" }
    end,
    act = function(w)
      w.a:ring(0.5)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a call to a name",
    open = function()
      local w = world {
        settings = 'domains = { "example.com" }',
        handler = '  if not req:relay(req.ruri.text, { timeout = 2 }) then req:reply(500) end',
        dns = {
          ["_sip._udp.example.com"] = { { target = "gw.example.com", port = 5060 } },
          ["gw.example.com"] = { "10.0.0.9", "10.0.0.1" },
        },
      }
      -- Which of the two comes first depends on the Call-ID; this one says that it is gone.
      w.net:uas("10.0.0.9", "gone"):crash()
      return w
    end,
    act = function(w)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "servers found in DNS that change",
    open = function()
      return world {
        source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pool = sip.pool("pool", { discover = { "sip:pool.example" }, check = false })
sip.route(function(req)
  if not req:relay(pool) then return req:reply(500) end
end)
]],
        dns = {
          ["_sip._udp.pool.example"] = { { target = "a.pool.example", ttl = 5 } },
          ["a.pool.example"] = { "10.0.0.1", ttl = 5 },
          ["b.pool.example"] = { "10.0.0.2", ttl = 5 },
        },
      }
    end,
    act = function(w)
      w.net:dns("_sip._udp.pool.example", { { target = "b.pool.example", ttl = 5 } })
      w.net:run(11)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "a reload in the middle of a call", open = world,
    act = function(w)
      w.a:ring(1)
      local call = w.alice:invite(uri)
      w.net:run(0.5)
      w.node:reload { source = source { settings = 'domains = { "example.org" }' } }
      w.net:run(3)
      return call
    end,
  },
  {
    name = "checks, a fall and a return",
    open = function()
      return world { check = "{ interval = 1, timeout = 0.5, fall = 1, rise = 1 }", wait = 2 }
    end,
    act = function(w)
      w.a:refuse()
      w.net:run(3)
      w.a:resume()
      w.net:run(3)
      return call_and_hang_up(w)
    end,
  },
  {
    name = "responses and a CANCEL of a node that is dead", may = { [487] = true },
    open = cluster,
    act = function(w)
      w.a:ring(1.5)
      local one, two = w.alice:invite(uri), w.alice:invite(uri)
      w.net:run(1)
      take_over(w)
      w.alice:cancel(two)
      w.net:run(10)
      return one, two
    end,
  },
  {
    name = "an answer and a refusal to a dead node, beside attempts of our own",
    may = { [486] = true },
    open = function()
      local w = cluster()
      w.node:ask("order", { pool = "pbx", server = "a", admin = "drain", who = "spec" })
      return w
    end,
    act = function(w)
      local code = 486
      w.a:on("INVITE", function(_, reply)
        local mine = code
        code = 200
        w.a:after(1.2, function() reply(mine) end)
      end)
      w.b:ring(3)
      local one, two = w.alice:invite(uri), w.alice:invite(uri)
      w.net:run(0.01)
      take_over(w)
      w.net:run(10)
      return one, two
    end,
  },
  {
    name = "a request of our own with a call in it",
    open = function()
      return world { handler = [[
  local res = sip.request { method = "INVITE", uri = "sip:10.0.0.2", timeout = 5 }
  if res and res.code == 200 then res:request("BYE") end
  if req:decided() then return end
  if req.method ~= "INVITE" then return req:reply(200) end
  if not req:relay(pbx) then return req:reply(500) end]] }
    end,
    act = call_and_hang_up,
  },
  {
    name = "sip.shared, tasks and timers",
    open = function()
      return world { handler = [[
  local seen, id = sip.shared "seen", req.call_id
  local task = sip.spawn(function()
    sip.sleep(0.1)
    return seen:incr(id, 1, 0, 30)
  end)
  sip.after(0.2, function() seen:set("last", id, 30) end)
  task:wait()
  if not req:decided() and not req:relay(pbx) then return req:reply(500) end]] }
    end,
    act = call_and_hang_up,
  },
  {
    name = "requests in the dialogs of a process that is no more",
    may = { [481] = true },
    open = function()
      local w = world { key = "0123456789abcdef" }
      w.call = w.alice:call(uri)
      w.node:crash()
      w.node:start()
      return w
    end,
    act = function(w)
      w.net:run(0.1)
      local info = w.alice:in_dialog(w.call, "INFO"):wait()
      w.a:refuse()
      local again = w.alice:reinvite(w.call):wait()
      w.net:run(1)
      return info, again, w.alice:bye(w.call):wait()
    end,
  },
  {
    name = "a script that reads what there is, and is told no lies",
    open = function()
      return world { handler = [[
  local function is(what, value, wanted)
    if value ~= wanted then error(what .. " is " .. tostring(value)) end
  end
  if req.source.ip ~= "192.0.2.7" then return req:relay(b) end
  is("ruri.user", req.ruri.user, "bob")
  is("ruri.host", req.ruri.host, "example.com")
  is("ruri.params", req.ruri.params.x, "y")
  local n = 0
  for _ in pairs(req.ruri.params) do n = n + 1 end
  is("the number of parameters", n, 3)
  is("from", req.from.uri, "sip:alice@example.com")
  is("to", req.to.host, "example.com")
  is("a header", req:header "X-One", "1")
  is("a folded header", req:header "Subject", "a, b")
  is("the number of headers", #req:headers "Subject", 1)
  is("all headers", #req:headers(), req.vars.n or #req:headers())
  local res = req:try(a)
  if res and res.code == 302 then
    is("contacts", #res.contacts, 2)
    is("q", res.contacts[1].q, 0.5)
    is("a contact", res.contacts[2].uri, "sip:d@10.0.0.2")
    is("a header of the answer", res:header "X-Two", "2")
  end
  if req:decided() then return end
  if not req:relay(b) then return req:reply(500) end]] }
    end,
    act = function(w)
      w.a:answer("INVITE", 302, {
        Contact = "<sip:c@10.0.0.2>;q=0.5, <sip:d@10.0.0.2>", ["X-Two"] = "2",
      })
      local call = w.alice:call("sip:bob@example.com;x=y;z" .. (";long=parameter"):rep(30), {
        from = "sip:alice@example.com",
        headers = { { "X-One", "1" }, { "Subject", "a,\r\n b" } },
      })
      return call
    end,
  },
  {
    name = "an overload", may = { [503] = true },
    open = function()
      return world { settings = "overload = { delay = 0.005 }" }
    end,
    act = function(w)
      local asked = {}
      w.node:slow { request = 0.06 }
      for i = 1, 6 do
        asked[i] = w.alice:request("MESSAGE", uri)
      end
      w.net:run(1)
      w.node:slow()
      w.net:run(6) -- its end is logged
      return table.unpack(asked)
    end,
  },
  {
    name = "a drain", open = world, may = { [503] = true },
    act = function(w)
      w.a:ring(1)
      local first = w.alice:invite(uri)
      w.net:run(0.5)
      w.node:drain()
      local second = w.alice:call(uri)
      w.net:run(2)
      w.node:drain(false)
      return first, second
    end,
  },
}

-- ---- running ---------------------------------------------------------------

local function check(ok, ...)
  if not ok then
    error(string.format(...), 0)
  end
end

-- Every one has ended, with an answer that the lack of memory may lead to.
local function judge(scenario, calls, n, is_single)
  for i = 1, n do
    local call = calls[i]
    if call then
      local code = call.code
      check(call.done, "%s never ended", call.method)
      check(not code or code == 200 or code // 100 == 5
        or (scenario.may and scenario.may[code]), "%s got %s", call.method, code)
      -- a caller that repeats over UDP is answered in the end
      check(code or scenario.is_stream or not is_single, "%s got no answer (%s)",
        call.method, call.error)
    end
  end
end

local function next_call(w)
  for _, server in ipairs { w.a, w.b } do
    server:resume()
    server:on("INVITE", nil)
    server:answer("INVITE", 200)
  end
  w.net:run(100)
  local phone = w.net:uac("192.0.2.99", { name = "next", proxy = w.alice.proxy })
  local call = phone:call(uri)
  if call.code == 407 then -- that of the scenario, which nobody came for
    call = phone:call(uri)
  end
  check(call.code == 200, "the next call got %s", call.code or call.error)
  check(phone:bye(call):wait().code == 200, "its BYE did not")
end

local function only_for_memory(w)
  for _, event in ipairs(w.net.events) do
    check(event.event ~= "lua.error" or event.error:find("memory", 1, true)
      or event.error:find("stack overflow", 1, true), "%s", event.error)
  end
end

-- One run: the at-th allocation of `which` ("core", "lua") fails, and `row` in all; with
-- at = 0 none. Gives how many there were. Raises with the reason when it went wrong.
---@param scenario table
---@param which string
---@param at integer
---@param row integer
---@return integer
function sweep.run(scenario, which, at, row)
  local w = scenario.open()
  local before = w.node:fail_alloc(at, { which = which, row = row })
  local calls = table.pack(scenario.act(w))
  w.net:run(0.1)
  local n = w.node:fail_alloc(0, { which = which }) - before
  w.net:run(70)
  judge(scenario, calls, calls.n, row <= 2)
  next_call(w)
  only_for_memory(w)
  local errors = 0
  for _, node in ipairs(w.net.nodes) do
    errors = errors + node:errors()
  end
  w.net:finish { errors = errors }
  return n
end

-- A Lua state asks once more, after a collection, for what it was refused.
sweep.ways = {
  { which = "core", row = 1, name = "one allocation of the core" },
  { which = "core", row = for_ever, name = "all allocations of the core from one on" },
  { which = "lua", row = 2, name = "one allocation of the script" },
  { which = "lua", row = for_ever, name = "all allocations of the script from one on" },
}

-- Which of n: all of them when SWEEP=all, else so many, spread evenly.
---@param n integer
---@param some integer
---@return fun(): integer?
function sweep.places(n, some)
  local all = os.getenv "SWEEP" == "all"
  local wanted = all and n or math.min(n, some)
  local i = 0
  return function()
    i = i + 1
    return i <= wanted and 1 + (i - 1) * n // wanted or nil
  end
end


return sweep
