-- For unit specs of the policies: servers of a fake node, and what a policy makes of
-- them.
local fake = require "support.fake_core"

local choice = {}

-- Servers as policies see them, in the order of their names: { a = 2, b = 1 } (weights).
---@param world table
---@param weights table<string, integer>
---@param more table<string, table>? further fields by name
function choice.servers(world, weights, more)
  local list = {}
  for name, weight in pairs(weights) do
    local resources = more and more[name] and more[name].resources or {}
    local names = {}
    for resource in pairs(resources) do
      names[#names + 1] = resource
    end
    local facts = world.core.member("gw", name, { addr = "10.0.0.1:5060;", resources = names })
    list[#list + 1] = {
      name = name, full = "gw/" .. name, rank_key = "gw/" .. name, weight = weight,
      facts = facts, resources = resources,
    }
  end
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  return list
end

-- n servers of the same weight: s001, s002, ...
function choice.many(world, n)
  local weights = {}
  for i = 1, n do
    weights[("s%03d"):format(i)] = 1
  end
  return choice.servers(world, weights)
end

function choice.without(servers, name)
  local rest = {}
  for _, server in ipairs(servers) do
    rest[#rest + 1] = server.name ~= name and server or nil
  end
  return rest
end

-- The policy `name` of a fresh world.
---@param opts table? for new(pool)
---@return table policy
---@return table world
function choice.policy(name, opts)
  local world = fake.new()
  local conf = { name = "gw" }
  for key, value in pairs(opts or {}) do
    conf[key] = value
  end
  return world:require("tandem.policy." .. name).new(conf), world
end

-- One choice: the name.
function choice.choose(policy, servers, key, more)
  local view = policy.prepare and policy:prepare(servers) or servers
  return choice.from(policy, view, key, more)
end

-- The same with a view that is there already.
function choice.from(policy, view, key, more)
  local call = { key = key, now = 0, step = 0 }
  for name, value in pairs(more or {}) do
    call[name] = value
  end
  return policy:choose(view, call).name
end

-- How often each is chosen for the keys "call-1" to "call-n".
function choice.counts(policy, servers, n, more)
  local view = policy.prepare and policy:prepare(servers) or servers
  local counts = {}
  for i = 1, n do
    local name = choice.from(policy, view, "call-" .. i, more)
    counts[name] = (counts[name] or 0) + 1
  end
  return counts
end

return choice
