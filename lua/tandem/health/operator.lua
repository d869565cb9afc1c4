-- What operators order through the control API, in worker 0: an order acts before it is
-- answered.
local core = require "tandem.core"
local answers = require "tandem.answers"
local link = require "tandem.link"
local orders = require "tandem.health.orders"
local registry = require "tandem.registry"
local ipairs = ipairs

local _ENV = nil

local operator = {}

local function find(args)
  local pool = registry.pool(args.pool)
  if not pool then
    return nil, ("there is no pool '%s'"):format(args.pool)
  end
  local server = registry.server(args.pool .. "/" .. (args.server or ""))
  if args.server and not server then
    return nil, ("pool '%s' has no server '%s'"):format(args.pool, args.server)
  end
  return server and { server } or pool.servers
end

local words = { ready = true, drain = true, maint = true }

-- args: pool, server, who, reason; admin and seconds; health.
local function order(args)
  local servers, why = find(args)
  if not servers then
    return nil, why
  elseif core.worker() ~= 0 then
    return nil, "worker 0 decides"
  elseif args.admin and not words[args.admin] then
    return nil, "admin is ready, drain or maint"
  end
  local reason, server = args.reason or "operator", servers[1]
  if args.admin then
    link.send("admin", server, {
      to = args.admin, why = reason, who = args.who, seconds = args.seconds, is_kept = true,
    })
  end
  if args.health == "auto" then
    link.send("forget", server, { why = reason, who = args.who })
  elseif args.health then
    link.send("mark", server, { to = args.health, why = reason, who = args.who })
  end
  return { done = true }
end

-- args: pool, who; server: only that one.
local function failback(args)
  local servers, why = find(args)
  if not servers then
    return nil, why
  end
  for _, server in ipairs(servers) do
    link.send("release", server, { who = args.who })
  end
  return { done = true }
end

function operator.serve()
  answers.on("order", order)
  answers.on("failback", failback)
  answers.on("orders", function(_, now)
    return { orders = orders.kept(now) }
  end)
end

return operator
