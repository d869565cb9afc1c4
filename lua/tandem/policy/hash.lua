-- A key always has the same server: weighted rendezvous hashing. Each server gets a
-- number from the key and its name (of who was found in DNS: its address), the largest
-- has the key. So a server that goes moves its own keys only, each to its next choice,
-- and two nodes that see the same servers usable choose alike.
--
-- With `bound` nobody takes more than that times the mean load (set-up and confirmed
-- calls, by weight): then the key goes to its next choice. Nodes have loads of their
-- own, so they no longer choose alike.
local core = require "tandem.core"
local math = math

local _ENV = nil

local hash = {}

local huge, log = math.huge, math.log

-- What of a server does not depend on the key.
local function prepare(_, servers)
  local view = { servers = servers, seeds = {}, inverse = {}, total = 0, facts = {}, loads = {} }
  for i = 1, #servers do
    local server, weight = servers[i], math.max(servers[i].weight, 1)
    server.seed = server.seed or core.hash(server.rank_key)
    view.seeds[i] = server.seed
    view.inverse[i] = 1 / weight
    view.facts[i] = server.facts
    view.total = view.total + weight
  end
  return view
end

-- Which servers have room: how many more calls each may take.
local function rooms(view, bound)
  local loads, inverse = core.loads(view.facts, view.loads), view.inverse
  local sum = 1
  for i = 1, #inverse do
    sum = sum + loads[i]
  end
  local by_weight = bound * sum / view.total
  for i = 1, #inverse do
    loads[i] = math.ceil(by_weight / inverse[i]) - loads[i]
  end
  return loads
end

-- The server of a key: the largest log(u) / weight, where u, between 0 and 1, comes
-- from key and name (the multiplications mix the bits).
local function choose(self, view, call)
  local key, seeds, inverse = core.hash(call.key), view.seeds, view.inverse
  local room = self.bound and rooms(view, self.bound)
  local best, most = 1, -huge
  for i = 1, #seeds do
    local x = (key ~ seeds[i]) * 0x9e3779b97f4a7c15
    x = (x ~ x >> 32) * 0xd6e8feb86659fd93
    local score = log(((x ~ x >> 32) >> 11) * 0x1p-53 + 0x1p-54) * inverse[i]
    if score > most and (not room or room[i] > 0) then
      best, most = i, score
    end
  end
  return view.servers[best]
end

---@param pool { name: string, bound: number? }
---@return tandem.Policy
function hash.new(pool)
  return { by_name = true, bound = pool.bound, prepare = prepare, choose = choose }
end

return hash
