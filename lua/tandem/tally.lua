-- What is counted of whole pools, by all workers and across reloads, for metrics:
-- "failovers", "retries" and "last_resort".
local core = require "tandem.core"
local pcall = pcall

local _ENV = nil

local tally = {}

local function store()
  return core.shared "tandem.tally"
end

local function incr(pool, what)
  store():incr(pool.name .. " " .. what)
end

-- No request is lost because there is no room for a number.
---@param pool table
---@param what "failovers"|"retries"|"last_resort"
function tally.add(pool, what)
  pcall(incr, pool, what)
end

---@param pool table
---@param what "failovers"|"retries"|"last_resort"
---@return integer
function tally.get(pool, what)
  return store():get(pool.name .. " " .. what) or 0
end

return tally
