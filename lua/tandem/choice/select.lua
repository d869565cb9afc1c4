-- Which servers of a pool a request may go to, best first. State is looked at in
-- every step, and no server comes twice:
--   1. the server that challenged this key a moment ago (401, 407),
--   2. the stages of view.lua: usable servers tier by tier, those on slow start,
--      those on failback hold; within a stage the policy chooses,
--   3. with all_down = "try", when there was nothing at all: one of the others,
--   4. when there was not even that: those of which nobody knows yet where they are.
-- Who is full is no candidate in any of them (limits.lua).
local core = require "tandem.core"
local limits = require "tandem.choice.limits"
local pool_state = require "tandem.health.state"
local slow_start = require "tandem.choice.slow_start"
local tally = require "tandem.tally"
local told = require "tandem.choice.told"
local view = require "tandem.choice.view"
local ipairs, table = ipairs, table

local note = core.note

local _ENV = nil

local select = {}

-- A cursor, which the functions below move. It is also the `call` that policies see:
-- key, req, now, step, resources. There is one for each request, and so it is as plain as
-- can be.
---@param pool table
---@param key string decides between equals
---@param req? tandem.Request
---@param resources? table<string, integer> what a call takes of its server
function select.cursor(pool, key, req, resources)
  local limited = limits.of(pool, req, resources)
  return {
    pool = pool, key = key, req = req, step = 0, now = 0,
    limited = limited, resources = limited and limited[1] and limited or nil,
    tried = nil, -- a set, once there are any
    head = nil, -- whose turn it is, of a stage of `kind`
    kind = nil,
    seen = nil, -- the view in which it was found
    list = nil, -- the rest of what a policy has said
    asked_sticky = false, last_resort = false, was_full = false,
    n_refused = 0, -- of `refused`: those it would have come to, for the trace
    -- Not named here, or the table would be twice as large: `refused`; `told`, what
    -- the trace knows already; `is_over`, it knows that there is nobody.
  }
end

local function may_take(server, now)
  return pool_state.usable(server, now) or pool_state.on_failback(server, now)
end

-- The state a server must be in when its turn comes.
local fits = {
  sticky = may_take, resort = pool_state.is_ready,
  usable = pool_state.usable, slow = pool_state.usable, failback = pool_state.on_failback,
}

-- Can a server of a stage take this very request?
local function admits(self, server, kind)
  if self.tried and self.tried[server] then
    return false
  elseif kind == "usable" and self.pool.slow_start
    and not slow_start.admits(server, self.key, self.now) then
    if self.n_refused < told.refused_most then
      told.refuse(self, server, "slow_start", "")
    end
    return false
  elseif not self.limited then
    return true
  end
  local refusal, which = limits.refusal(server, self.limited)
  if not refusal then
    return true
  elseif self.n_refused < told.refused_most then
    told.refuse(self, server, refusal, which)
  end
  if refusal == "full" and kind ~= "resort" then
    self.was_full = true
  end
  return false
end

-- Makes a server the next, if it still can be.
local function offer(self, server, kind)
  if admits(self, server, kind) then
    self.head, self.kind = server, kind
  end
  return self.head
end

-- The next of the list that a policy has given.
local function from_list(self)
  while self.list and not self.head do
    local server = table.remove(self.list, 1)
    if not server then
      self.list = nil
    elseif fits[self.kind](server, self.now) then
      offer(self, server, self.kind)
    end
  end
  return self.head
end

-- Asks the policy: it names a server, or several in order, or none.
local function ask(self, prepared, kind)
  local answer = self.pool.policy:choose(prepared, self)
  if answer == nil then
    return nil
  elseif answer.facts then
    return offer(self, answer, kind)
  end
  self.list, self.kind = answer, kind
  return from_list(self)
end

local function prepare(policy, servers)
  return policy.prepare and policy:prepare(servers) or servers
end

-- A stage, as far as it can take this request; for this request only.
local function from_rest(self, servers, kind)
  local rest = {}
  for i = 1, #servers do
    if admits(self, servers[i], kind) then
      rest[#rest + 1] = servers[i]
    end
  end
  return #rest > 0 and ask(self, prepare(self.pool.policy, rest), kind) or nil
end

-- Mostly the first choice of all can be had; who can have what else is only looked
-- at when it cannot.
local function from_stage(self, stage)
  local policy, n = self.pool.policy, self.n_refused
  if not self.tried and not policy.strict then
    stage.prepared = stage.prepared or prepare(policy, stage.servers)
    if ask(self, stage.prepared, stage.kind) then
      return self.head
    end
  end
  self.n_refused = n -- they are all asked again
  return from_rest(self, stage.servers, stage.kind)
end

local function from_sticky(self)
  if self.asked_sticky then
    return nil
  end
  self.asked_sticky = true
  local server = self.pool.by_name[core.sticky_get(self.pool.name, self.key)]
  return server and may_take(server, self.now) and offer(self, server, "sticky")
end

-- Lower is better: held, coming up, down; what a hold keeps away did answer.
local function badness(server, now)
  if pool_state.status(server, now) ~= "down" then
    return 1
  end
  return pool_state.health(server) == "rising" and 2 or 3
end

-- The least bad server that nobody took out; and that can be reached at all.
local function from_the_bad(self)
  local levels = { {}, {}, {} }
  for _, tier in ipairs(self.pool.tiers) do
    local found = { {}, {}, {} }
    for _, server in ipairs(tier) do
      if #server.places > 0 and pool_state.is_ready(server) then
        table.insert(found[badness(server, self.now)], server)
      end
    end
    for i, servers in ipairs(found) do
      table.insert(levels[i], servers)
    end
  end
  for _, level in ipairs(levels) do
    for _, servers in ipairs(level) do
      if from_rest(self, servers, "resort") then
        self.last_resort, self.list = true, nil
        return self.head
      end
    end
  end
end

local function from_stages(self, stages)
  for i = 1, #stages do
    if from_stage(self, stages[i]) then
      return self.head
    end
  end
end

local function find(self)
  local found = (self.list and from_list(self)) or from_sticky(self)
    or from_stages(self, self.seen.stages)
  if found then
    return found
  elseif self.step > 0 or self.was_full then
    return nil
  end
  return (self.pool.all_down == "try" and from_the_bad(self))
    or from_stages(self, self.seen.nowhere)
end

-- The server whose turn it is, nil when there is no other. It stays untried.
---@param self table a cursor
---@param now number
---@return table? server
function select.peek(self, now)
  local seen = view.of(self.pool, now)
  local head = self.head
  self.now = now
  if head and (seen == self.seen or fits[self.kind](head, now))
    and admits(self, head, self.kind) then
    return head
  end
  self.head, self.seen, self.was_full, self.n_refused = nil, seen, false, 0
  return find(self)
end

-- Takes the server whose turn it is, and the trace hears nothing of it.
---@param self table a cursor
---@param now number
---@return table? server
function select.skip(self, now)
  local server = select.peek(self, now)
  if server then
    if self.kind == "resort" and self.step == 0 then
      tally.add(self.pool, "last_resort")
    end
    if self.tried then
      self.tried[server] = true
    else
      self.tried = { [server] = true }
    end
    self.step = self.step + 1
    self.head = nil
  end
  return server
end

-- Why there was no server at all.
---@param self table a cursor
---@return "empty"|"full"|"down"
function select.why(self)
  if #self.pool.servers == 0 then
    return "empty"
  end
  return self.was_full and "full" or "down"
end

-- The trace of the request hears that there is nobody, once.
local function note_none(self, now)
  if not self.is_over then
    self.is_over = true
    note(self.req, "choice", self.pool.name, "", select.why(self), self.pool.policy_name,
      told.of(self, now), told.refused(self))
  end
end

-- The server whose turn it is; it does not come again. The trace of the request hears
-- of it.
---@param self table a cursor
---@param now number
---@return table? server
function select.next(self, now)
  local server, req = select.skip(self, now), self.req
  if not req then
    return server
  elseif server then
    local pool = self.pool
    note(req, "choice", pool.name, server.name, self.kind, pool.policy_name,
      told.of(self, now), self.n_refused > 0 and told.refused(self) or nil)
  else
    note_none(self, now)
  end
  return server
end

-- For who has only looked, and goes without: the trace hears why there is none.
---@param self table a cursor
---@param now number
---@return "empty"|"full"|"down"
function select.give_up(self, now)
  select.next(self, now)
  return select.why(self)
end

return select
