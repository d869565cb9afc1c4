-- The server that is least loaded with this call on it: calls (set-up and confirmed)
-- in relation to the weight. When the call names resources: the one that has, with
-- this call on it, the largest share left of the scarcest of them. Ties by the key.
local core = require "tandem.core"
local ipairs, math = ipairs, math

local _ENV = nil

local least_calls = {}

local function prepare(_, servers)
  local view = {
    servers = servers, facts = {}, shares = {}, loads = {}, equals = {}, taken = {}, slices = {},
  }
  for i = 1, #servers do
    view.facts[i] = servers[i].facts
    view.shares[i] = 1 / math.max(servers[i].weight, 1)
    view.loads[i], view.equals[i], view.taken[i] = 0, 0, 0
  end
  return view
end

-- The server of several that are as good, at the places 1 to n of view.equals.
local function by_key(view, n, key)
  local at = n > 1 and (core.hash(key) >> 1) % n + 1 or 1
  return view.servers[view.equals[at]]
end

-- The one with the smallest share taken, once this call takes `more`.
local function lightest(view, loads, shares, more, key)
  local equals, least, n = view.equals, math.huge, 0
  for i = 1, #shares do
    local burden = (loads[i] + more) * shares[i]
    if burden < least then
      least, n = burden, 1
      equals[1] = i
    elseif burden == least then
      n = n + 1
      equals[n] = i
    end
  end
  return by_key(view, n, key)
end

-- What one unit of a resource is of all that each has.
local function slices_of(view, name)
  local slices = view.slices[name]
  if not slices then
    slices = {}
    for i, server in ipairs(view.servers) do
      local capacity = server.resources[name] or 0
      slices[i] = capacity > 0 and 1 / capacity or math.huge
    end
    view.slices[name] = slices
  end
  return slices
end

-- For each the share that is taken of the scarcest; without end if it lacks one.
local function taken_shares(view, resources)
  local taken = view.taken
  for r = 1, #resources do
    local name, units = resources[r].name, resources[r].units
    local used, slices = core.loads(view.facts, view.loads, name), slices_of(view, name)
    for i = 1, #slices do
      local share = (used[i] + units) * slices[i]
      if r == 1 or share > taken[i] then
        taken[i] = share
      end
    end
  end
  return taken
end

local function by_resources(view, resources, key)
  local taken, equals = taken_shares(view, resources), view.equals
  local least, n = taken[1], 0
  for i = 1, #taken do
    if taken[i] < least then
      least, n = taken[i], 0
    end
    if taken[i] == least then
      n = n + 1
      equals[n] = i
    end
  end
  return by_key(view, n, key)
end

---@return tandem.Policy
function least_calls.new()
  return {
    by_name = true,
    prepare = prepare,
    choose = function(_, view, call)
      local resources = call.resources
      if not resources then
        return lightest(view, core.loads(view.facts, view.loads), view.shares, 1, call.key)
      elseif #resources > 1 then
        return by_resources(view, resources, call.key)
      end
      local name, units = resources[1].name, resources[1].units
      local used = core.loads(view.facts, view.loads, name)
      return lightest(view, used, slices_of(view, name), units, call.key)
    end,
  }
end

return least_calls
