-- What an operator wants otherwise than the script says: the weight of a server, one
-- more server, one less. Each override remembers what the script said; when the script
-- says something else, that counts and the override is dropped. They are part of what is
-- loaded: a change of them is a reload, which all workers take or none.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local dump = require "tandem.config.dump"
local options = require "tandem.config.options"
local schema = require "tandem.config.schema"
local error, ipairs, pairs, pcall, table = error, ipairs, pairs, pcall, table

local _ENV = nil

local overrides = {}

-- Options of a server, whose defaults are in options.lua.
local settable = { weight = true, max_calls = true, max_cps = true }

local stamp = schema.number { min = 0, max = 1e11 } -- seconds since 1970
local word = schema.word { "weight", "max_calls", "max_cps", "server", "removed" }
local entry = schema.record {
  pool = schema.required(schema.string),
  server = schema.required(schema.string),
  what = schema.required(word),
  value = { check = function(value)
    return true, value
  end, required = true },
  configured = { check = function(value)
    return true, value
  end },
  who = schema.string, reason = schema.string, when = stamp,
  is_new = schema.boolean, -- nobody has looked at what the script says
}
local order = schema.record {
  pool = schema.required(schema.string),
  server = schema.required(schema.string),
  value = schema.required(schema.word { "ready", "drain", "maint" }),
  configured = schema.required(schema.word { "ready", "drain", "maint" }),
  who = schema.string, reason = schema.string, when = stamp,
  ends = stamp,
}
local named = schema.record {
  pool = schema.required(schema.string),
  server = schema.required(schema.string),
  what = word,
}
local document = schema.record {
  values = schema.default(schema.list(entry), {}),
  orders = schema.default(schema.list(order), {}),
}
local edits = schema.record {
  set = schema.default(schema.list(entry), {}),
  clear = schema.default(schema.list(named), {}),
  clear_all = schema.default(schema.boolean, false),
}

-- ---- reading ----

local function decode(title, kind, text)
  local ok, value = pcall(core.json_decode, text)
  if not ok then
    error(("%s: %s"):format(title, value), 0)
  end
  local wrong
  value, wrong = schema.validate(title, kind, value)
  if wrong then
    error(wrong, 0)
  end
  return value
end

local function is_same(a, b)
  return a.pool == b.pool and a.server == b.server
    and (not b.what or a.what == b.what)
end

local function without(list, which)
  local kept = {}
  for _, item in ipairs(list) do
    if not is_same(item, which) then
      kept[#kept + 1] = item
    end
  end
  return kept
end

local function apply(list, edit)
  if edit.clear_all then
    list = {}
  end
  for _, which in ipairs(edit.clear) do
    list = without(list, which)
  end
  for _, item in ipairs(edit.set) do
    list = without(list, { pool = item.pool, server = item.server, what = item.what })
    list[#list + 1] = item
  end
  return list
end

local list, orders -- those of before, with the edit

local function read()
  if list then
    return
  end
  local text, edit = core.overrides()
  local doc = text and decode("overrides", document, text) or { values = {}, orders = {} }
  list, orders = doc.values, doc.orders
  if edit then
    list = apply(list, decode("overrides: edit", edits, edit))
  end
end

-- ---- merging ----

local kept, dropped = {}, {}

-- The script wins. `now`: what it says.
local function drop(item, now)
  dropped[#dropped + 1] = { item = item, now = now }
end

local function keep(item, configured)
  item.configured, item.is_new = configured, nil
  kept[#kept + 1] = item
end

-- Nobody has seen what the script says, or it still says that.
local function holds(item, configured)
  return item.is_new or dump(item.configured) == dump(configured)
end

local function find(servers, name)
  for i, server in ipairs(servers) do
    if server.name == name then
      return i, server
    end
  end
end

local function refuse(item, format, ...)
  error(("override of %s/%s: " .. format):format(item.pool, item.server, ...), 0)
end

-- Who is not declared cannot be changed: an error for whoever wants that now.
local function no_server(item)
  if item.is_new then
    refuse(item, "there is no such server")
  end
  drop(item, nil)
end

local function copy(map)
  local out = {}
  for key, value in pairs(map) do
    out[key] = value
  end
  return out
end

local act = {}

function act.server(servers, item)
  local _, declared = find(servers, item.server)
  if declared and item.is_new then
    refuse(item, "there is a server of that name already")
  elseif declared then
    return drop(item, dump(declared))
  end
  local added = copy(item.value)
  added.name = item.server
  servers[#servers + 1] = added
  keep(item, nil)
end

local function set(servers, item)
  local i, declared = find(servers, item.server)
  if not declared then
    return no_server(item)
  end
  local configured = declared[item.what]
  if configured == nil then
    configured = options.server.fields[item.what].default
  end
  if not holds(item, configured) then
    return drop(item, configured)
  elseif dump(item.value) == dump(configured) then
    return -- as the script says anyway
  end
  servers[i] = copy(declared)
  servers[i][item.what] = item.value
  keep(item, configured)
end

for what in pairs(settable) do
  act[what] = set
end

function act.removed(servers, item)
  local i, declared = find(servers, item.server)
  if not declared then
    return no_server(item)
  end
  local configured = dump(declared)
  if not holds(item, configured) then
    return drop(item, configured)
  end
  table.remove(servers, i)
  keep(item, configured)
end

-- Added, changed, removed: in this order.
local ranks = { server = 1, removed = 3 }

local function of_pool(name)
  local found = { {}, {}, {} }
  for _, item in ipairs(list) do
    if item.pool == name then
      local rank = found[ranks[item.what] or 2]
      rank[#rank + 1] = item
    end
  end
  return found
end

local function merge(opts, found)
  local merged, servers = copy(opts), {}
  for i, server in ipairs(opts.servers) do
    servers[i] = server
  end
  merged.servers = servers
  for _, rank in ipairs(found) do
    for _, item in ipairs(rank) do
      act[item.what](servers, item)
    end
  end
  return merged
end

local seen = {} -- pools

-- The checked options of a pool, with the overrides of its servers. Raises for those of
-- the script that are wrong, and for what an override makes of them.
---@param name string
---@param what string "pool 'pbx'"
---@param opts any
---@return table
function overrides.pool(name, what, opts)
  local conf = declare.check(what, options.pool, opts)
  read()
  seen[name] = true
  local found = of_pool(name)
  if #found[1] + #found[2] + #found[3] == 0 then
    return conf
  elseif conf.discover then
    for _, rank in ipairs(found) do
      for _, item in ipairs(rank) do
        if item.is_new then
          refuse(item, "the servers of this pool are those that DNS names")
        end
        drop(item, nil)
      end
    end
    return conf
  end
  local changed, wrong = schema.validate("overrides: " .. what, options.pool, merge(opts, found))
  if wrong then
    error(wrong, 0)
  end
  return changed
end

-- What counts from now on, for the next load; nil: nothing.
---@return string? json
function overrides.plan()
  read()
  for _, item in ipairs(list) do
    if not seen[item.pool] and item.is_new then
      error(("override of %s/%s: there is no pool '%s'"):format(item.pool, item.server,
        item.pool), 0)
    elseif not seen[item.pool] then
      drop(item, nil)
    end
  end
  return #kept > 0 and core.json_encode { values = kept } or nil
end

-- ---- afterwards ----

local file = "overrides.json"

-- Keeps them, with the orders of operators, for the next process, if there is a place.
---@param kept_orders table[]
function overrides.save(kept_orders)
  if #kept == 0 and #kept_orders == 0 then
    core.keep(file, "")
  else
    core.keep(file, core.json_encode { values = kept, orders = kept_orders })
  end
end

-- Those that count.
---@return table[] entries
function overrides.values()
  return kept
end

-- Orders of operators from before the process began, by "pool/server".
---@return table<string, table>
function overrides.orders()
  local by_name = {}
  for _, item in ipairs(orders or {}) do
    by_name[item.pool .. "/" .. item.server] = item
  end
  return by_name
end

-- Says which ones the script has overruled.
function overrides.tell()
  for _, it in ipairs(dropped) do
    overrides.say_dropped(it.item.pool, it.item.server, it.item.what, it.item, it.now)
  end
end

-- A value as one word of a log line.
local function show(value)
  return value == nil and "none" or schema.string.check(value, "") and value or dump(value)
end

---@param pool string
---@param server string
---@param what string
---@param item { value: any, configured: any, who: string? }
---@param now any what the script says
function overrides.say_dropped(pool, server, what, item, now)
  core.event("warn", "override.dropped", {
    { "pool", pool }, { "server", server }, { "what", what },
    { "value", show(item.value) }, { "configured", show(item.configured) },
    { "now", show(now) }, { "who", item.who or "?" },
  })
end

return overrides
