-- The health of each address of a server that has several, in worker 0: that of the
-- server is its best one's. A server with one address has no second book-keeping.
local core = require "tandem.core"
local places = require "tandem.dns.places"
local pool_state = require "tandem.health.state"
local ipairs, type = ipairs, type

local _ENV = nil

local address = {}

local order = { down = 1, rising = 2, unknown = 3, falling = 4, up = 5 }

-- Is each of its addresses asked, or the server as a whole? A function of the script
-- knows no addresses.
---@param server table
---@return boolean
function address.is_asked(server)
  local conf = server.check
  return #server.places > 1 and conf ~= false and type(conf.method) ~= "function"
end

-- What the addresses say of the server. One that nobody has asked yet is no proof that
-- a server is back.
---@param server table with an address
---@return string health
---@return integer streak
function address.best(server)
  local best = server.places[1]
  for _, place in ipairs(server.places) do
    if order[place.health] > order[best.health] then
      best = place
    end
  end
  local health = pool_state.health(server)
  if best.health == "unknown" and (health == "down" or health == "rising") then
    return health, server.facts:get "streak"
  end
  return best.health, best.streak
end

-- Writes the health of an address, and tells of it.
---@param server table
---@param place table
---@param to string
---@param streak integer
---@param why string
---@param who string
function address.set(server, place, to, streak, why, who)
  local from = place.health
  if from == to and place.streak == streak then
    return
  end
  place.health, place.streak, place.ends = to, streak, nil
  server.untold = true
  if from ~= to then
    core.event(to == "down" and "warn" or "info", "address.health", {
      { "pool", server.pool.name }, { "server", server.name }, { "address", place.addr },
      { "from", from }, { "to", to }, { "reason", why }, { "who", who },
    })
  end
end

-- What was said of the server goes for all its addresses, as far as checks can say
-- otherwise; without these only its own failures count at an address.
---@param server table
---@param to string
---@param why string
---@param who string
function address.set_all(server, to, why, who)
  local word = address.is_asked(server) and to or "unknown"
  for _, place in ipairs(#server.places > 1 and server.places or {}) do
    address.set(server, place, word, 0, why, who)
  end
  places.tell(server)
end

-- Is there another one to turn to? The last is not given up: whether the server is,
-- its own failures say.
---@param server table
---@param place table
---@return boolean
function address.can_spare(server, place)
  for _, other in ipairs(server.places) do
    if other ~= place and not places.is_down(other) then
      return true
    end
  end
  return false
end

-- Without checks time alone takes an address up again.
---@param server table
---@param now number
function address.expire(server, now)
  for _, place in ipairs(server.places) do
    if place.ends and place.ends <= now then
      address.set(server, place, "unknown", 0, "hold ended", "timer")
    end
  end
  places.tell(server)
end

-- So it does when it is over.
---@param server table
---@param now number
function address.arm(server, now)
  for _, place in ipairs(server.places) do
    if place.ends then
      core.after(place.ends > now and place.ends - now or 0, function()
        address.expire(server, core.now())
      end)
    end
  end
end

-- Takes up what is known from before a reload: what checks have said counts as long as
-- there are any.
---@param server table
---@param now number
function address.start(server, now)
  local is_asked = address.is_asked(server)
  for _, place in ipairs(server.places) do
    if is_asked then
      place.ends = nil
    elseif not place.ends then
      place.health, place.streak = "unknown", 0
    end
  end
  address.arm(server, now)
end

return address
