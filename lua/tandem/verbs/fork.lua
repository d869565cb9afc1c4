-- req:fork(targets[, opts]): several at once. The first 2xx wins, otherwise the best
-- final when all have ended.
local core = require "tandem.core"
local misuse = require "tandem.config.misuse"
local options = require "tandem.config.options"
local try = require "tandem.verbs.try"
local ipairs, table, type = ipairs, table, type

local _ENV = nil

local max_targets = 8
local max_depth = 3 -- redirections of redirections

-- What the targets mean to the core, which of them are servers, and how many are
-- contacts of a redirection (RFC 3261 8.1.3.4, 16.7 step 4; their headers, 19.1.5, are
-- left out). Of those only the ones that this caller may reach.
local function resolve(req, targets)
  local raws, servers, contacts = {}, {}, 0
  for _, target in ipairs(targets) do
    local raw, server = try.target("req:fork", target)
    local is_contact = type(target) == "table" and not server
    contacts = contacts + (is_contact and 1 or 0)
    if not is_contact or req:_may_reach(raw.uri) then
      raws[#raws + 1] = raw
      servers[#servers + 1] = server
    end
  end
  return raws, servers, contacts
end

local function check(targets)
  if type(targets) ~= "table" then
    misuse("req:fork: a list of servers or SIP URIs expected, got %s", type(targets))
  end
end

local function by_preference(one, other)
  return (one.q or 1) > (other.q or 1)
end

-- What a server redirects to may be more than we try: the best of it. A list of the
-- script's own must not be.
local function at_most(targets)
  if #targets <= max_targets then
    return targets
  end
  local best = {}
  for i, target in ipairs(targets) do
    local _, server = try.target("req:fork", target)
    if type(target) ~= "table" or server then
      misuse("req:fork: at most %d targets, got %d", max_targets, #targets)
    end
    best[i] = target
  end
  table.sort(best, by_preference)
  return table.move(best, 1, max_targets, 1, {})
end

---@param req tandem.Request
---@param targets (tandem.Server|tandem.Contact|string)[]
---@param opts? tandem.TryOptions
---@return tandem.Response?
---@return "timeout"|"transport"|"cancelled"|"depth"|"forbidden"|"empty"|nil
---@return tandem.Detail?
return function(req, targets, opts)
  opts = try.options("req:fork", options.try, opts)
  check(targets)
  targets = at_most(targets)
  if #targets == 0 then
    return nil, "empty" -- a redirection without a Contact
  end
  local raws, servers, contacts = resolve(req, targets)
  if #raws < #targets then
    core.note(req, "fork", "forbidden", #targets - #raws)
  end
  if #raws == 0 then
    return nil, "forbidden"
  elseif contacts > 0 then
    local depth = (req._state.depth or 0) + 1
    if depth > max_depth then
      core.note(req, "fork", "depth", contacts)
      return nil, "depth"
    end
    req._state.depth = depth
  end
  local limits = try.limits(opts, servers[1] and servers[1].pool)
  local res, err, detail = req:_try(raws, limits)
  if res then
    try.answered(req, res, opts.key)
    return res
  end
  try.failed(req, servers[1], err, detail)
  return nil, err, detail
end
