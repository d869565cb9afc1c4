-- What is right in a script, and yet probably not meant: for `tandem check`.
local core = require "tandem.core"
local ipairs, next, pairs, pcall, table = ipairs, next, pairs, pcall, table

local _ENV = nil

local review = {}

local function sorted(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

-- Calls and their servers are in the messages, but only with a key that stays. Without
-- a pool there are no calls to lose.
local function judge_settings(settings, pools, say)
  if next(pools) == nil then
    return
  elseif not settings.state_dir and not settings.key_file then
    say "no state_dir and no key_file: calls that are up do not survive a restart"
  elseif not settings.state_dir then
    say "no state_dir: calls are not counted any more after a restart"
  end
end

local function is_checked(pool)
  for _, server in ipairs(pool.servers or {}) do
    if server.check then
      return true
    end
  end
  return pool.discover ~= nil and pool.check ~= false
end

-- The tiers in which no server takes anything under policy "weighted".
local function empty_tiers(pool)
  local weights, list = {}, {}
  for _, server in ipairs(pool.policy == "weighted" and pool.servers or {}) do
    weights[server.tier] = (weights[server.tier] or 0) + server.weight
  end
  for _, tier in ipairs(sorted(weights)) do
    list[#list + 1] = weights[tier] == 0 and tier or nil
  end
  return list
end

local function judge_pool(name, pool, say)
  if not is_checked(pool) then
    say("pool '%s' has no checks: a dead server is found by the calls that fail on it", name)
  end
  for _, tier in ipairs(empty_tiers(pool)) do
    say("pool '%s': every server of tier %d has weight 0: none of them takes a call", name, tier)
  end
end

---@param declared table as declare.lua keeps it
---@return string[]
function review.findings(declared)
  local list = {}
  local function say(format, ...)
    list[#list + 1] = format:format(...)
  end
  judge_settings(declared.settings or {}, declared.pools, say)
  for _, name in ipairs(sorted(declared.pools)) do
    judge_pool(name, declared.pools[name], say)
  end
  if #declared.routes == 0 then
    say "no sip.route: every call is answered with 405"
  end
  return list
end

local function passwords(declared)
  local found = {}
  local function note(check)
    if check and check.password then
      found[check.password] = true
    end
  end
  for _, pool in pairs(declared.pools) do
    note(pool.check)
    for _, server in ipairs(pool.servers or {}) do
      note(server.check)
    end
  end
  return sorted(found)
end

-- The data files that hold a password of a check; "" stands for the script, when one
-- is in none of them.
---@param declared table
---@return string[]
function review.secrets(declared)
  local files = {}
  for _, password in ipairs(passwords(declared)) do
    local seen = false
    for path in pairs(declared.data) do
      local ok, bytes = pcall(core.load_data, path)
      if ok and bytes:find(password, 1, true) then
        files[path], seen = true, true
      end
    end
    files[""] = files[""] or not seen or nil
  end
  return sorted(files)
end

return review
