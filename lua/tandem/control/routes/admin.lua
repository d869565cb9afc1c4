-- What operators change: orders, which worker 0 carries out at once, and overrides, which
-- a reload puts in force in all workers or none.
local cjson = require "cjson"
local find = require "tandem.control.find"
local host = require "tandem.control.host"
local schema = require "tandem.config.schema"
local ipairs, math, next, os, pairs = ipairs, math, next, os, pairs
local table, type, utf8 = table, type, utf8

local _ENV = nil

-- It stands in a line of the log, in one of a table, and in what is sent to a pager.
local longest_text = 200 -- characters
local text = schema.custom(function(value)
  local length = type(value) == "string" and not value:find "%c" and utf8.len(value)
  if length and length > 0 and length <= longest_text then
    return true, value
  end
  return false, ("a text of 1 to %d characters expected, in UTF-8, without line ends")
    :format(longest_text)
end)
local count = schema.integer { min = 0 }
local longest = 30 * 86400 -- seconds

local function null(value)
  return value == cjson.null
end

-- ---- what may be said ----

local patch = schema.record({
  admin = schema.word { "ready", "drain", "maint" },
  health = schema.word { "up", "down", "auto" },
  ["for"] = schema.seconds { above = 0, max = longest },
  reason = text,
  weight = count, max_calls = count, max_cps = schema.number { above = 0 },
}, function(out)
  if out["for"] and out.admin ~= "drain" and out.admin ~= "maint" then
    return "'for' says how long admin = \"drain\" or \"maint\" lasts"
  elseif not (out.admin or out.health or out.weight or out.max_calls or out.max_cps) then
    return "nothing to change: admin, health, weight, max_calls or max_cps expected"
  end
end)

local new_server = schema.record {
  name = schema.required(schema.matching("[%w_.-]+",
    "a name of letters, digits, '_', '.' and '-'")),
  uri = schema.required(schema.string),
  tier = schema.integer { min = 1 },
  weight = count, max_calls = count, max_cps = schema.number { above = 0 },
  reason = text,
}

local only_reason = schema.record { reason = text }

local function read(kind, body)
  for name, value in pairs(body) do
    if null(value) then
      return nil, { status = 400, error = name .. ": a value expected, got null; DELETE "
        .. "/v1/overrides/POOL/SERVER goes back to what the script says" }
    end
    if type(value) == "number" then
      body[name] = math.tointeger(value) or value -- cjson makes floats
    end
  end
  local ok, result = kind.check(body, "")
  if not ok then
    return nil, { status = 400, error = result }
  end
  return result
end

-- ---- who is meant ----

local function find_pool(params)
  return find.pool(params.pool)
end

-- The server as /v1/pools/{pool}/servers/{server} shows it.
local function find_server(params)
  return find.server(params.pool, params.server)
end

local function who(request)
  return "ctl " .. request.who
end

-- ---- what is kept ----

-- Is what was ordered on the disk? Else why it is not: it acts all the same.
local function kept(answer)
  local ok, why = host.call "kept"
  answer.kept = ok ~= nil
  answer.not_kept = why
  return answer
end

local function entry(request, params, what, value)
  return {
    pool = params.pool, server = params.server, what = what, value = value,
    who = who(request), when = os.time(), reason = request.body.reason, is_new = true,
  }
end

local function present()
  return cjson.decode((host.call "overrides")).values or {}
end

-- ---- orders and values of a server ----

local function override(request, params, body)
  local set = {}
  for _, what in ipairs { "weight", "max_calls", "max_cps" } do
    if body[what] then
      set[#set + 1] = entry(request, params, what, body[what])
    end
  end
  if #set == 0 then
    return true
  end
  return host.reload { set = set }
end

local function change(request, params)
  local body, problem = read(patch, request.body)
  if not body then
    return nil, problem
  end
  local server, ok
  server, problem = find_server(params)
  if not server then
    return nil, problem
  end
  ok, problem = override(request, params, body)
  if ok and (body.admin or body.health) then
    ok, problem = host.ask("order", {
      pool = params.pool, server = params.server, admin = body.admin, health = body.health,
      seconds = body["for"], reason = body.reason, who = who(request),
    })
  end
  if not ok then
    return nil, problem
  end
  server, problem = find_server(params)
  return server and kept(server), problem
end

local function failback(request, params)
  local ok, problem
  if params.server then
    ok, problem = find_server(params)
  else
    ok, problem = find_pool(params)
  end
  if ok then
    ok, problem = host.ask("failback", {
      pool = params.pool, server = params.server, who = who(request),
    })
  end
  if not ok then
    return nil, problem
  end
  return find_pool(params)
end

-- ---- servers that come and go ----

-- Is there an override of that kind?
local function is_overridden(pool, server, what)
  for _, item in ipairs(present()) do
    if item.pool == pool and item.server == server and item.what == what then
      return true
    end
  end
  return false
end

-- Why there cannot be one more of that name.
local function clash(pool, name)
  if find.named(pool.servers, name) then
    return ("pool '%s' has a server '%s' already"):format(pool.name, name)
  elseif is_overridden(pool.name, name, "removed") then
    return ("the script has a server '%s' in pool '%s', which an operator has removed; DELETE "
      .. "/v1/overrides/%s/%s (tandem ctl overrides clear %s/%s) brings it back")
      :format(name, pool.name, pool.name, name, pool.name, name)
  end
end

local function add(request, params)
  local pool, problem = find_pool(params)
  local body
  if pool then
    body, problem = read(new_server, request.body)
  end
  if not body then
    return nil, problem
  end
  local trouble = clash(pool, body.name)
  if trouble then
    return nil, { status = 409, error = trouble }
  end
  params.server = body.name
  local item = entry(request, params, "server", {
    uri = body.uri, tier = body.tier, weight = body.weight, max_calls = body.max_calls,
    max_cps = body.max_cps,
  })
  -- What was wanted of one of that name before is over.
  local ok
  ok, problem = host.reload {
    clear = { { pool = params.pool, server = body.name } }, set = { item },
  }
  if not ok then
    return nil, problem
  end
  local server
  server, problem = find_server(params)
  return server and kept(server), problem
end

local function remove(request, params)
  local body, problem = read(only_reason, request.body)
  local server, ok
  if body then
    server, problem = find_server(params)
  end
  if not server then
    return nil, problem
  end
  local one = { pool = params.pool, server = params.server }
  if is_overridden(params.pool, params.server, "server") then
    ok, problem = host.reload { clear = { one } }
  else
    ok, problem = host.reload {
      clear = { one }, set = { entry(request, params, "removed", true) },
    }
  end
  if not ok then
    return nil, problem
  end
  return kept { pool = params.pool, server = params.server, removed = true, calls = server.calls }
end

-- ---- all of them ----

local function by_name(a, b)
  if a.pool ~= b.pool then
    return a.pool < b.pool
  elseif a.server ~= b.server then
    return a.server < b.server
  end
  return a.what < b.what
end

local function all()
  local answer, why = host.ask "orders"
  if not answer then
    return nil, why
  end
  local list = present()
  for _, order in ipairs(answer.orders) do
    order.what = "admin"
    list[#list + 1] = order
  end
  table.sort(list, by_name)
  return list
end

local function show()
  local list, why = all()
  if not list then
    return nil, why
  end
  return kept { overrides = list }
end

-- Those of one server, or all of them; and how many of them are values.
local function chosen(params)
  local list, why = all()
  if not list then
    return nil, why
  end
  local mine, values = {}, 0
  for _, item in ipairs(list) do
    if not params.pool or (item.pool == params.pool and item.server == params.server) then
      mine[#mine + 1] = item
      values = values + (item.what ~= "admin" and 1 or 0)
    end
  end
  return mine, values
end

-- Takes orders back: what the script says counts. How many there were.
local function forget_orders(request, params)
  local list, why = chosen(params)
  local orders = 0
  for _, item in ipairs(list or {}) do
    if item.what == "admin" then
      local ok
      ok, why = host.ask("order", {
        pool = item.pool, server = item.server, admin = item.configured, who = who(request),
        reason = request.body.reason or "override cleared",
      })
      if not ok then
        return nil, why
      end
      orders = orders + 1
    end
  end
  return list and orders, why
end

local function clear(request, params)
  local body, problem = read(only_reason, request.body)
  if not body then
    return nil, problem
  end
  local mine, values = chosen(params)
  if not mine then
    return nil, values
  elseif params.pool and not next(mine) then
    return nil, { status = 404, error = ("there is no override of %s/%s")
      :format(params.pool, params.server) }
  end
  local ok, orders = true, nil
  if values > 0 then
    ok, problem = host.reload(params.pool
      and { clear = { { pool = params.pool, server = params.server } } } or { clear_all = true })
  end
  if ok then -- also of a server that has just come back
    orders, problem = forget_orders(request, params)
  end
  if not orders then
    return nil, problem
  end
  return kept { cleared = values + orders }
end

return function(route)
  route("PATCH", "/v1/pools/{pool}/servers/{server}", "write", change)
  route("POST", "/v1/pools/{pool}/failback", "write", failback)
  route("POST", "/v1/pools/{pool}/servers/{server}/failback", "write", failback)
  route("POST", "/v1/pools/{pool}/servers", "write", add)
  route("DELETE", "/v1/pools/{pool}/servers/{server}", "write", remove)
  route("GET", "/v1/overrides", "read", show)
  route("DELETE", "/v1/overrides", "write", clear)
  route("DELETE", "/v1/overrides/{pool}/{server}", "write", clear)
end
