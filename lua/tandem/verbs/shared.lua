-- Requests within calls (semantics 16). With shared_dialogs in the pool the servers
-- know each other's calls: what is for one that is down, or does not answer, goes to
-- another. Everything else goes where its route set says.
local core = require "tandem.core"
local misuse = require "tandem.config.misuse"
local registry = require "tandem.registry"
local relay = require "tandem.verbs.relay"
local select = require "tandem.choice.select"
local stand_in = require "tandem.choice.stand_in"
local ipairs, setmetatable = ipairs, setmetatable

local _ENV = nil

local shared = {}

-- PRACK belongs to a call that is not up yet; the rest is for its own server alone.
local methods = { "BYE", "INVITE", "UPDATE", "INFO", "REFER" }

local movable = {}
for _, method in ipairs(methods) do
  movable[method] = true
end

-- No answer is the only reason to go on: whatever a server says of a call counts.
local relay_options = {
  retry_on = { "local" },
  unreached = function(req)
    return req:_lost_flow() and 430 or 500 -- RFC 5626 5.3.1
  end,
}

local by_route = { by_route = true }

-- The candidates, as relay goes through them: the server itself unless it is known
-- to be down, then its siblings in the order of the pool for this call; and the
-- server after all, when there is nobody else.
local walk = {}
walk.__index = walk

local function sibling(self, now)
  if self.req:_is_early() then
    return nil -- only calls that are up are shared
  end
  local found = select.peek(self.cursor, now)
  while found == self.server do
    select.skip(self.cursor, now)
    found = select.peek(self.cursor, now)
  end
  return found
end

function walk:peek(now)
  local own = not self.asked_own and self.server or nil
  if own and not stand_in.is_down(own, now) then
    return own
  end
  return sibling(self, now) or own
end

function walk:take(now)
  local found = self:peek(now)
  if found == self.server then
    self.asked_own = true
    return by_route, found
  elseif found then
    select.next(self.cursor, now)
    return { facts = found.facts, sibling = true }, found
  end
end

function walk:is_last_resort()
  return self.cursor.last_resort
end

-- The only candidate: where the route set says.
local straight = {}
straight.__index = straight

function straight:peek()
  return not self.taken
end

function straight:take()
  if not self.taken then
    self.taken = true
    return by_route
  end
end

function straight.is_last_resort()
  return false
end

-- req:relay_dialog(): what happens to a request within a call when no script asks for
-- it; for a script that does ask, with sip.route "*in_dialog".
---@param req tandem.Request
---@return true
function shared.relay_dialog(req)
  if req.kind ~= "in_dialog" and req.kind ~= "shared_dialog" then
    misuse "req:relay_dialog: this request is not within a call; use req:relay"
  end
  local facts, to_us = req:_dialog()
  local server = registry.of(facts)
  if to_us then
    req:reply(481)
    return true
  elseif not server or not movable[req.method] then
    return relay.run(req, setmetatable({}, straight), nil, relay_options)
  end
  local candidates = setmetatable({
    req = req, server = server, cursor = select.cursor(server.pool, req.call_id, req),
  }, walk)
  return relay.run(req, candidates, server.pool, relay_options)
end

local served = false

-- A pool with shared_dialogs is declared: the requests within its calls come here.
function shared.serve()
  if served then
    return
  end
  served = true
  for _, method in ipairs(methods) do
    core.handler("shared_dialog", method, shared.relay_dialog)
  end
end

return shared
