-- What servers (and phones that are called) do with what they are sent: all that a peer
-- may do, and some of what it may not.
local ipairs, next = ipairs, next

local _ENV = nil

local callee = {}

-- What a server does with the INVITE of a call.
---@param rnd table
---@param calm boolean nothing unusual
function callee.life(rnd, calm)
  local life = { rings = rnd:chance(0.6), after = rnd:unit() * rnd:pick { 0.05, 0.5, 1.5, 4 } }
  if calm then
    life.code = 200
    return life
  end
  life.code = rnd:pick { 200, 200, 200, 200, 200, 200, 486, 503, 500, 404, 603, 480, 302 }
  if rnd:chance(0.05) then
    life.code = nil -- rings for ever, or says nothing
  elseif rnd:chance(0.05) then
    life.after = rnd:between(3, 40)
  end
  if rnd:chance(0.05) then
    life.storm = rnd:int(30)
  elseif rnd:chance(0.05) then
    life.reliable = true
  elseif rnd:chance(0.05) then
    life.second = rnd:unit() * 3 -- another dialog, as a server that forks
  elseif rnd:chance(0.03) then
    life.changes = rnd:pick { 486, 603 } -- and then says something else
  elseif rnd:chance(0.06) then
    life.challenge = rnd:pick { 401, 407 }
  elseif rnd:chance(0.05) then
    life.hundred = true
  end
  return life
end

-- Sends the last response of that INVITE in other words, as a broken server does.
local function say_again(at, request, change)
  for _, tx in next, at.servers do -- one at most, so in whatever order
    if tx.request == request and tx.last then
      return at:transmit(change(tx.last), tx.to)
    end
  end
end

local function answer(at, request, reply, life)
  if life.challenge and not request:header "Proxy-Authorization" then
    return reply(life.challenge, { headers = { ["Proxy-Authenticate"] = 'Digest realm="x"' } })
  elseif life.hundred then
    reply(100)
  end
  if life.rings then
    reply(180, life.reliable and { reliable = true } or nil)
  end
  for i = 1, life.storm or 0 do
    at:after(i * life.after / 40, function() reply(i % 2 == 0 and 180 or 183) end)
  end
  if not life.code then
    return
  end
  at:after(life.after, function()
    local headers = life.code == 503 and life.storm and { ["Retry-After"] = "3" }
      or life.code == 302 and { Contact = "<sip:other@example.com>" } or nil
    reply(life.code, { headers = headers })
    if life.second and life.code < 300 then
      at:after(life.second, function()
        say_again(at, request, function(last)
          return (last:gsub("(\r\nTo: [^\r]*;tag=)[^\r;]*", "%1" .. at.net:token(8)))
        end)
      end)
    elseif life.changes and at.transport == "udp" then
      at:after(0.3, function()
        say_again(at, request, function(last)
          return (last:gsub("^SIP/2.0 %d+ [^\r]*", ("SIP/2.0 %d Otherwise"):format(life.changes)))
        end)
      end)
    end
  end)
end

-- RFC 4320 4.1: to what is no INVITE only 100 may be said before the final. Some say more.
local function says_early(request)
  return request.call_id:byte(1) % 8 == 0
end

-- lives: by user of the Request-URI and name of the server.
---@param at tandem.sim.Endpoint
---@param lives table<string, table>
---@param rnd table
function callee.attend(at, lives, rnd)
  at:on("INVITE", function(request, reply)
    if request.to_tag then
      return reply(at.forgets and 481 or 200)
    end
    local life = lives[request.uri:match "^sips?:([%w-]+)@" or ""]
    local mine = life and (life[at.name] or life.any)
    if not mine then
      return reply(200)
    elseif at.says then -- for all calls, for a while
      return reply(at.says)
    end
    answer(at, request, reply, mine)
  end)
  local function other(request, reply)
    if says_early(request) then
      reply(183)
    end
    if at.says then
      return reply(at.says)
    elseif rnd:chance(0.03) then
      return -- never
    elseif rnd:chance(0.05) then
      return at:after(rnd:between(1, 8), function() reply(200) end)
    end
    reply(rnd:chance(0.05) and rnd:pick { 404, 500, 503, 481 } or 200)
  end
  for _, method in ipairs { "MESSAGE", "SUBSCRIBE", "REGISTER", "INFO", "UPDATE" } do
    at:on(method, other)
  end
  at:on("BYE", function(_, reply)
    if at.deaf or rnd:chance(0.02) then
      return
    end
    reply(at.forgets and 481 or 200)
  end)
end

return callee
