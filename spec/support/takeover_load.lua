-- Many calls of all kinds by way of two nodes: whoever is busy, is called and thinks
-- better of it, hangs up or is hung up; and whether each was what it would have been.
local error, ipairs, pairs = error, ipairs, pairs
local assert = require "luassert"

local _ENV = nil

local load = {}

-- What is called, and so what becomes of it.
local users = { "bob", "busy", "bob", "slow", "bob", "bob", "far", "bob", "bob", "bob" }
local expected = { bob = 200, far = 200, busy = 486, slow = 487 }

-- For takeover.open { servers = load.answering }.
function load.answering(server)
  server:on("INVITE", function(request, reply)
    local user = request.uri:match "^sip:(%w+)@"
    if request.to_tag then
      return reply(200)
    end
    reply(180)
    server:after(user == "slow" and 30 or 0.7, function()
      reply(user == "busy" and 486 or 200)
    end)
  end)
end

local function call_of(i, w)
  local user = users[i % #users + 1]
  local caller = i % 2 == 0 and w.alice or w.carol
  local call = caller:invite("sip:" .. user .. "@example.com")
  call.user = user
  if user == "slow" then -- and the caller thinks better of it
    w:sleep(1)
    caller:cancel(call)
  end
  w:await(call)
  if call.state == "up" then
    w:sleep(2)
    local who = user == "far" and (call.server == "a" and w.a or w.b) or caller
    call.bye = who:bye(call)
    w:await(call.bye)
  end
  return call
end

-- `seconds` of calls, so many a second; then until nobody repeats anything.
---@param w spec.takeover.World
---@param seconds number
---@param rate number
---@return tandem.sim.Call[]
function load.calls(w, seconds, rate)
  local stories, calls = {}, {}
  for i = 1, seconds * rate do
    stories[i] = {
      at = w.net.now + 1 + i / rate, tell = function() return call_of(i, w) end,
    }
  end
  assert.is_true(w:tell(stories))
  w.net:run(70)
  for i, story in ipairs(stories) do
    calls[i] = story.result
  end
  return calls
end

-- Every caller had the call that he would have had; answers that came second he has
-- acknowledged and hung up, and nobody is left who thinks to be in a call.
---@param w spec.takeover.World
---@param calls tandem.sim.Call[]
---@return integer how many
function load.none_lost(w, calls)
  for _, call in ipairs(calls) do
    local bye = call.code ~= 200 or call.bye and call.bye.code == 200
    if call.code ~= expected[call.user] or not bye then
      error(call:ladder())
    end
  end
  for _, ua in ipairs { w.a, w.b, w.alice, w.carol } do
    assert.equal(0, ua.unacked)
    for _, dialog in pairs(ua.dialogs) do
      assert.not_equal("confirmed", dialog.state)
    end
  end
  return #calls
end

-- And each was one transaction at one server.
---@param w spec.takeover.World
---@param calls tandem.sim.Call[]
---@return integer
function load.one_each(w, calls)
  for _, call in ipairs(calls) do
    if call.extra > 0 then
      error(call:ladder())
    end
  end
  assert.equal(#calls, w:transactions "INVITE")
  return load.none_lost(w, calls)
end

return load
