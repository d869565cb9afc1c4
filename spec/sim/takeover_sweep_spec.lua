-- A node dies at every moment of a call at which anything was sent, and the other one
-- has the address at once, or 0.36 s later as with keepalived. What is lost then is in
-- docs/explanation/node-death.md, and here: nothing else is.
local sim = require "support.sim"
local takeover = require "support.takeover"
local wire = require "support.wire"
local ipairs, pairs, table = ipairs, pairs, table

local uri = takeover.uri
local gap = 0.36 -- of keepalived with advert_int 0.1

-- Each story with what its servers do, and what has to have become of the call.
local stories = {}

-- One whose name is in there is told in few worlds only: it has nothing of its own there.
local few = { "404", "603", "REGISTER", "OPTIONS", "MESSAGE" }

local function is_brief(name)
  for _, word in ipairs(few) do
    if name:find(word, 1, true) then
      return true
    end
  end
  return false
end

local function story(name, servers, tell, check)
  stories[#stories + 1] = {
    name = name, servers = servers, tell = tell, check = check, is_brief = is_brief(name),
  }
end

local function answers_after_a_second(server)
  server:on("INVITE", function(request, reply)
    if request.to_tag then
      return reply(200)
    end
    reply(180)
    server:after(1, function() reply(200) end)
  end)
end

local function hangs_up(w, call, by)
  if call.state == "up" then
    w:sleep(1)
    local who = by == "server" and w[call.server] or w.alice
    call.bye = who:bye(call)
    w:await(call.bye)
  end
  return call
end

-- What a server was sent of a call.
local function of_call(server, call, method)
  local list = {}
  for _, request in ipairs(server:got(method)) do
    list[#list + 1] = request.call_id == call.id and request or nil
  end
  return list
end

-- Who has its INVITE, and had it last.
local function server_of(w, call)
  return #of_call(w.b, call, "INVITE") > 0 and w.b or w.a
end

local function is_acknowledged(w, call)
  return #of_call(server_of(w, call), call, "ACK") > 0
end

local function check_up_and_down(w, call)
  assert.equal(200, call.code)
  assert.equal(0, call.extra)
  assert.equal(200, call.bye.code)
  assert.equal(1, w:transactions("INVITE", call))
  assert.is_true(is_acknowledged(w, call))
end

for _, by in ipairs { "caller", "server" } do
  story("a call, and the " .. by .. " hangs up", answers_after_a_second, function(w)
    local call = w.alice:invite(uri)
    w:await(call)
    return hangs_up(w, call, by)
  end, check_up_and_down)
end

for _, code in ipairs { 404, 486, 603 } do
  story("a call that is refused with " .. code, function(server)
    server:on("INVITE", function(_, reply)
      reply(180)
      server:after(1, function() reply(code) end)
    end)
  end, function(w)
    local call = w.alice:invite(uri)
    w:await(call)
    return call
  end, function(w, call)
    assert.equal(code, call.code)
    assert.equal(1, w:transactions("INVITE", call))
    assert.is_true(is_acknowledged(w, call))
  end)
end

story("a call that is cancelled", function(server)
  server:ring(20)
end, function(w)
  local call = w.alice:invite(uri)
  w:sleep(1)
  w.alice:cancel(call)
  w:await(call)
  w:await(call.cancel)
  return call
end, function(w, call)
  assert.equal(487, call.code)
  assert.equal(200, call.cancel.code)
  assert.equal(1, w:transactions("INVITE", call))
  -- Without the transaction both are asked.
  local cancels = of_call(server_of(w, call), call, "CANCEL")
  assert.equal(1, #wire.branches(cancels))
  assert.equal(cancels[1].branch, of_call(server_of(w, call), call, "INVITE")[1].branch)
  assert.is_true(is_acknowledged(w, call))
end)

story("a call that is challenged", function(server)
  server:on("INVITE", function(request, reply)
    if not request:header "Proxy-Authorization" then
      return reply(407, {
        headers = { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' },
      })
    end
    reply(180)
    server:after(1, function() reply(200) end)
  end)
end, function(w)
  local first = w.alice:invite(uri)
  w:await(first)
  local call = w.alice:invite(uri, { again = first,
    headers = { ["Proxy-Authorization"] = "Digest whatever" } })
  call.first = first
  w:await(call)
  return hangs_up(w, call)
end, function(w, call)
  assert.equal(407, call.first.code)
  assert.equal(200, call.code)
  assert.equal(200, call.bye.code)
  assert.equal(2, w:transactions("INVITE", call))
end)

for _, by in ipairs { "caller", "server" } do
  story("a re-INVITE of the " .. by, function(ua)
    ua:on("INVITE", function(request, reply)
      if not request.to_tag then
        return reply(200)
      end
      reply(180)
      ua:after(1, function() reply(200) end)
    end)
  end, function(w)
    local call = w.alice:invite(uri)
    w:await(call)
    w:sleep(0.1)
    local who = by == "server" and w[call.server] or w.alice
    call.again = who:reinvite(call)
    w:await(call.again)
    return hangs_up(w, call)
  end, function(w, call)
    assert.equal(200, call.code)
    assert.equal(200, call.again.code)
    assert.equal(200, call.bye.code)
    assert.equal(1, w:transactions("INVITE", call))
  end)
end

-- Before and after the caller has repeated it.
for _, method in ipairs { "REGISTER", "OPTIONS", "MESSAGE" } do
  for _, seconds in ipairs { 0.05, 1.7 } do
    story(("%s that takes %g s"):format(method, seconds), function(server)
      server:answer(method, 200, seconds)
    end, function(w)
      local asked = w.alice:request(method, "sip:bob@example.com")
      w:await(asked)
      return asked
    end, function(w, asked)
      assert.equal(200, asked.code)
      assert.equal(1, w:transactions(method, asked))
    end)
  end
end

-- The first four are for all stories.
local worlds = {
  { name = "nodes that know of each other", nodes = true },
  { name = "failover.lua", gap = 0 }, { name = "failover.lua" },
  { name = "only the address goes", alive = true, gap = 0 },
  { name = "relay", policy = "relay" }, { name = "weighted", policy = "weighted" },
  { name = "hash", policy = "hash" }, { name = "IPv6", v6 = true },
  { name = "two workers", workers = 2 },
}

describe("a node dies at any moment of", function()
  after_each(sim.finish)

  for _, one in ipairs(stories) do
    describe(one.name .. ":", function()
      for _, world in ipairs(one.is_brief and { table.unpack(worlds, 1, 4) } or worlds) do
        it(("%s, %.2f s without an address"):format(world.name, world.gap or gap), function()
          local opts = { gap = gap, servers = one.servers }
          for name, value in pairs(world) do
            opts[name] = value
          end
          local list, wrong, w = takeover.sweep(opts, one.tell, one.check)
          assert.equal("", takeover.report(wrong))
          assert(#list >= 3, #list)
          assert.equal(0, w.a.unacked + w.b.unacked + w.alice.unacked)
        end)
      end
    end)
  end
end)
