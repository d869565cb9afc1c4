-- A world with one pool "pbx", for unit specs of the Lua half.
local fake = require "support.fake_core"

local pbx = {}

-- A pool of these servers: { "a", "b" } or { a = 1, b = 2 } (name = tier), with
-- these options. `options` go to fake.new, options.before(sip) runs while loading.
-- Returns the world, the pool and the module.
function pbx.new(names, pool_options, options)
  local world = fake.new(options)
  local sip = world:require "tandem"
  local list = {}
  for i, name in ipairs { "a", "b", "c", "d" } do
    local tier = names[name]
    for _, other in ipairs(names) do
      tier = tier or (other == name and 1 or nil)
    end
    if tier then
      list[#list + 1] = { name = name, uri = "sip:10.0.0." .. i, tier = tier }
    end
  end
  local conf = { servers = list }
  for key, value in pairs(pool_options or {}) do
    conf[key] = value
  end
  local pool = sip.pool("pbx", conf)
  if options and options.before then
    options.before(sip, pool)
  end
  world:start()
  return world, pool, sip
end

-- What was logged of an event since the start, which itself says what there is.
function pbx.changes(world, event, match)
  local list = {}
  for _, line in ipairs(world:logged(event, match)) do
    list[#list + 1] = line.from ~= "none" and line or nil
  end
  return list
end

-- The transitions that were logged: { "a up>falling", ... }
function pbx.transitions(world, server)
  local list = {}
  for _, event in ipairs(pbx.changes(world, "server.health", { server = server })) do
    list[#list + 1] = event.from .. ">" .. event.to
  end
  return list
end

-- The names of the servers that a request would go to, in order.
function pbx.order(pool, req, opts)
  local list = {}
  for server in pool:each(req, opts) do
    list[#list + 1] = server.name
  end
  return list
end

return pbx
