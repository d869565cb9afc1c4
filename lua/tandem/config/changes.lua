-- What differs between the declarations of two generations, for the log.
local dump = require "tandem.config.dump"
local ipairs, pairs, table = ipairs, pairs, table

local _ENV = nil

local changes = {}

local function by_name(servers)
  local found = {}
  for _, server in ipairs(servers or {}) do
    found[server.name] = server
  end
  return found
end

-- Adds to the list `prefix` and the key of every value that is not the same on both
-- sides, but for `except`.
local function different(list, prefix, before, after, except)
  local seen = {}
  for _, side in ipairs { before, after } do
    for key in pairs(side) do
      if key ~= except and not seen[key] and dump(before[key]) ~= dump(after[key]) then
        list[#list + 1] = prefix .. key
      end
      seen[key] = true
    end
  end
end

local function servers(found, pool, before, after)
  for name, server in pairs(after) do
    if before[name] then
      different(found.changed, pool .. "/" .. name .. ".", before[name], server)
    else
      found.added[#found.added + 1] = pool .. "/" .. name
    end
  end
  for name in pairs(before) do
    if not after[name] then
      found.removed[#found.removed + 1] = pool .. "/" .. name
    end
  end
end

local function pools(found, before, after)
  local names = {}
  for _, side in ipairs { before, after } do
    for name in pairs(side) do
      names[name] = true
    end
  end
  for name in pairs(names) do
    local old, new = before[name], after[name]
    servers(found, name, by_name(old and old.servers), by_name(new and new.servers))
    if old and new then
      different(found.changed, name .. ".", old, new, "servers")
    end
  end
end

-- The differences by name: servers as "pool/server", options of a server as
-- "pool/server.weight", of a pool as "pool.failback", settings as "settings.domains",
-- files as "data.FILE", anything else by its part ("listen", "routes", "netsets").
---@param before table declarations, as a dump has them
---@param after table
---@return { added: string[], removed: string[], changed: string[] }
function changes.find(before, after)
  local found = { added = {}, removed = {}, changed = {} }
  pools(found, before.pools or {}, after.pools or {})
  for _, part in ipairs { "settings", "data" } do
    different(found.changed, part .. ".", before[part] or {}, after[part] or {})
  end
  for _, part in ipairs { "listen", "routes", "netsets" } do
    if dump(before[part]) ~= dump(after[part]) then
      found.changed[#found.changed + 1] = part
    end
  end
  for _, list in pairs(found) do
    table.sort(list)
  end
  return found
end

-- The fields of a log line; what did not happen is left out.
---@param found table of changes.find
---@return table[] fields
function changes.fields(found)
  local fields = {}
  for _, kind in ipairs { "added", "removed", "changed" } do
    if #found[kind] > 0 then
      fields[#fields + 1] = { kind, table.concat(found[kind], ",") }
    end
  end
  return fields
end

return changes
