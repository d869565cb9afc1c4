-- What a file may say of a server that was known to the process before: whatever is not
-- of the right kind is refused here, before anything of the server has been taken over.
local core = require "tandem.core"
local pool_state = require "tandem.health.state"
local schema = require "tandem.config.schema"
local error, ipairs, math, pairs = error, ipairs, math, pairs

local _ENV = nil

local kept = {}

-- Seconds since 1970; and of the clock that timers are set by.
local time = schema.number { min = 0, max = 1e11 }
local farthest = 1e9
local clock = schema.number { min = -farthest, max = farthest }
local whole = schema.integer()

local function words(codes)
  local list = {}
  for word in pairs(codes) do
    list[#list + 1] = word
  end
  return schema.word(list)
end

local history = schema.list(schema.record {
  what = schema.required(schema.word { "health", "admin", "hold" }),
  time = schema.required(time),
  from = schema.string, to = schema.string, seconds = schema.number(),
  why = schema.required(schema.string), who = schema.string,
})

local places = schema.record {
  at = schema.string,
  list = schema.required(schema.list(schema.record {
    addr = schema.required(schema.string), rank = whole, weight = whole,
    target = schema.string, health = words(pool_state.health_code), streak = whole,
    ends = clock,
  })),
}

local said = schema.record { why = schema.string, who = schema.string, when = time }

-- The admin order in it is passed over: orders are kept elsewhere.
local record = schema.record {
  holds = { check = function(holds, path)
    local ok, result = schema.table.check(holds, path)
    for reason, ends in pairs(ok and holds or {}) do
      ok, result = clock.check(ends, path .. "." .. reason)
      if not ok then
        break
      end
    end
    return ok, ok and holds or result
  end },
  falls = schema.list(clock), health = said,
  admin = { check = function()
    return true, nil
  end },
}

local function must(kind, value, path)
  local ok, result = kind.check(value, path)
  if not ok then
    error(result, 0)
  end
  return result
end

local function decode(kind, text, path)
  return text ~= nil and must(kind, core.json_decode(must(schema.string, text, path)), path) or nil
end

local tops = { health = pool_state.health_code.rising, trial = 1e6 }

local function fact(name, value, path)
  value = must(whole, value, path)
  local top = tops[name] or core.us(farthest)
  if value ~= pool_state.endless and math.abs(value) > top or name == "health" and value < 0 then
    error(path .. ": out of range", 0)
  end
  return value
end

-- Checked, and with its texts decoded; raises with what is wrong.
---@param full string "pool/server"
---@param one any
---@param names string[] the facts, in order
---@return { facts: integer[], server: table?, places: table?, history: table? }
function kept.server(full, one, names)
  one = must(schema.table, one, full)
  local values, facts = must(schema.table, one.facts, full .. ".facts"), {}
  for i, name in ipairs(names) do
    facts[i] = fact(name, values[i], full .. "." .. name)
  end
  return {
    facts = facts, server = decode(record, one.server, full .. ".server"),
    places = decode(places, one.places, full .. ".places"),
    history = decode(history, one.history, full .. ".history"),
  }
end

local function has(item, fields, path)
  must(schema.table, item, path)
  for name, kind in pairs(fields) do
    must(kind, item[name], path .. "." .. name)
  end
end

local place = { addr = schema.string, at = clock, rank = whole, weight = whole }
local entry = {
  addr = schema.string, name = schema.string, uri = schema.string, tier = whole, weight = whole,
}

-- The servers that DNS has named (dns/roster.lua), likewise.
---@param pool string
---@param text any
---@return table
function kept.roster(pool, text)
  local path = pool .. ".roster"
  local roster = core.json_decode(must(schema.string, text, path))
  has(roster, { found = schema.table, list = schema.table }, path)
  for _, found in pairs(roster.found) do
    has(found, { list = schema.table }, path .. ".found")
    for _, item in ipairs(found.list) do
      has(item, place, path .. ".found")
    end
  end
  for _, item in ipairs(roster.list) do
    has(item, entry, path .. ".list")
  end
  return roster
end

-- The whole, all of whose servers are still to be checked.
---@param text string
---@param version integer
---@return table? document nil: of another version
function kept.document(text, version)
  local doc = must(schema.table, core.json_decode(text), "the whole")
  if doc.version ~= version then
    return nil
  end
  must(time, doc.wall, "wall")
  must(clock, doc.now, "now")
  must(schema.table, doc.servers, "servers")
  must(schema.table, doc.rosters, "rosters")
  return doc
end

return kept
