-- Which servers of a pool a request may go to, best first. State is looked at in
-- every step, and no server comes twice:
--   1. the server that challenged this key a moment ago (401, 407),
--   2. usable servers: tier by tier, in the order of the policy, and `unknown`
--      after `up` within a tier when there are checks,
--   3. servers whose failback hold is not over yet,
--   4. with all_down = "try", when there was nothing at all: one of the others.
local core = require "tandem.core"
local pool_state = require "tandem.state"
local ipairs, setmetatable, table = ipairs, setmetatable, table

local _ENV = nil

local select = {}

local cursor = {}
cursor.__index = cursor

---@param pool table
---@param key string decides between equals
---@param req? table for policies that are functions
function select.cursor(pool, key, req)
  return setmetatable({
    pool = pool, key = key, req = req,
    tried = {}, count = 0, queue = {}, fits = nil,
    last_resort = false, asked_sticky = false,
  }, cursor)
end

-- The servers in the order of the policy.
local function ordered(self, servers, now)
  if #servers == 0 or (#servers == 1 and not self.pool.policy.picky) then
    return servers
  end
  local handles, states = {}, {}
  for i, server in ipairs(servers) do
    handles[i] = server.handle
    states[server.handle] = server
  end
  local out = {}
  for _, handle in ipairs(self.pool.policy:order(handles, self.key, now, self.req)) do
    out[#out + 1] = states[handle]
  end
  return out
end

-- Checks all the time would know by now.
local function is_unknown(server)
  return server.check and server.check.when == "always" and pool_state.health(server) == "unknown"
end

-- The untried servers of a tier that fit, in order.
local function tier_queue(self, tier, fits, now)
  local known, unknown = {}, {}
  for i = 1, #tier do
    local server = tier[i]
    if not self.tried[server] and fits(server, now) then
      local list = is_unknown(server) and unknown or known
      list[#list + 1] = server
    end
  end
  local queue = ordered(self, known, now)
  if #unknown == 0 then
    return queue
  end
  return table.move(ordered(self, unknown, now), 1, #unknown, #queue + 1, queue)
end

local function may_take(server, now)
  return pool_state.usable(server, now) or pool_state.on_failback(server, now)
end

local function sticky_queue(self, now)
  if self.asked_sticky then
    return {}
  end
  self.asked_sticky = true
  local server = self.pool.by_name[core.sticky_get(self.pool.name, self.key)]
  return server and may_take(server, now) and { server } or {}
end

local function is_ready(server)
  return pool_state.admin(server) == "ready"
end

-- Lower is better: held, coming up, down; what a hold keeps away did answer.
local function badness(server, now)
  if pool_state.status(server, now) ~= "down" then
    return 0
  end
  return pool_state.health(server) == "rising" and 1 or 2
end

-- The least bad server that no operator took out.
local function resort_queue(self, now)
  local best, least
  for _, tier in ipairs(self.pool.tiers) do
    for _, server in ipairs(tier_queue(self, tier, is_ready, now)) do
      local score = badness(server, now)
      if not best or score < least then
        best, least = server, score
      end
    end
  end
  return { best }
end

-- Servers in the first state come before those in the second.
local states = { pool_state.usable, pool_state.on_failback }

-- The next servers to try, and the state they must be in when their turn comes.
local function fill(self, now)
  local queue = sticky_queue(self, now)
  if #queue > 0 then
    return queue, may_take
  end
  for i = 1, #states do
    for j = 1, #self.pool.tiers do
      queue = tier_queue(self, self.pool.tiers[j], states[i], now)
      if #queue > 0 then
        return queue, states[i]
      end
    end
  end
  if self.count == 0 and self.pool.all_down == "try" then
    self.last_resort = true
    return resort_queue(self, now), is_ready
  end
  return {}
end

-- The server whose turn it is, nil when there is no other. It stays untried.
---@param now number
---@return table? server
function cursor:peek(now)
  local queue = self.queue
  while queue[1] and (self.tried[queue[1]] or not self.fits(queue[1], now)) do
    table.remove(queue, 1)
  end
  if not queue[1] then
    queue, self.fits = fill(self, now)
    self.queue = queue
  end
  return queue[1]
end

-- The server whose turn it is; it does not come again.
---@param now number
---@return table? server
function cursor:next(now)
  local server = self:peek(now)
  if server then
    table.remove(self.queue, 1)
    self.tried[server] = true
    self.count = self.count + 1
  end
  return server
end

-- Why there was no server at all.
---@return "empty"|"down"
function cursor:why()
  return #self.pool.servers == 0 and "empty" or "down"
end

return select
