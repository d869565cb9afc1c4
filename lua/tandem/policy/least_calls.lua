-- The server that is least loaded with this call on it: calls (set-up and confirmed)
-- in relation to the weight. When the call names resources: the one that has, with
-- this call on it, the largest share left of the scarcest of them. Ties by the key.
local core = require "tandem.core"
local math = math

local _ENV = nil

local least_calls = {}

local function prepare(_, servers)
  local view = { servers = servers, facts = {}, inverse = {}, loads = {}, burdens = {} }
  for i = 1, #servers do
    view.facts[i] = servers[i].facts
    view.inverse[i] = 1 / math.max(servers[i].weight, 1)
  end
  return view
end

-- What each would bear: calls by weight.
local function by_calls(view)
  local inverse, burdens = view.inverse, core.loads(view.facts, view.loads)
  for i = 1, #inverse do
    burdens[i] = (burdens[i] + 1) * inverse[i]
  end
  return burdens
end

-- What each would bear: the taken share of the scarcest resource. Who lacks one
-- cannot take the call, and gets it last.
local function by_resources(view, resources)
  local servers, burdens = view.servers, view.burdens
  for r = 1, #resources do
    local name, units = resources[r].name, resources[r].units
    local used = core.loads(view.facts, view.loads, name)
    for i = 1, #servers do
      local capacity = servers[i].resources[name] or 0
      local taken = capacity > 0 and (used[i] + units) / capacity or math.huge
      burdens[i] = r > 1 and math.max(burdens[i], taken) or taken
    end
  end
  return burdens
end

-- The smallest; of equals the one that the key says.
local function smallest(burdens, n, key)
  local least, count, first = math.huge, 0, 1
  for i = 1, n do
    local burden = burdens[i]
    if burden < least then
      least, count, first = burden, 1, i
    elseif burden == least then
      count = count + 1
    end
  end
  local skip = count > 1 and (core.hash(key) >> 1) % count or 0
  for i = first, n do
    if burdens[i] == least then
      if skip == 0 then
        return i
      end
      skip = skip - 1
    end
  end
  return first
end

local function choose(_, view, call)
  local resources, servers = call.resources, view.servers
  local burdens = resources and by_resources(view, resources) or by_calls(view)
  return servers[smallest(burdens, #servers, call.key)]
end

---@return tandem.Policy
function least_calls.new()
  return { by_name = true, prepare = prepare, choose = choose }
end

return least_calls
