-- req:fork(targets[, opts]): several at once. The first 2xx wins, otherwise the best
-- final when all have ended.
local misuse = require "tandem.misuse"
local options = require "tandem.options"
local try = require "tandem.try"
local ipairs, setmetatable, type = ipairs, setmetatable, type

local _ENV = nil

local max_targets = 8
local max_depth = 3 -- redirections of redirections

local depths = setmetatable({}, { __mode = "k" }) -- request -> redirections followed

local busy = {
  __close = function(servers)
    for _, server in ipairs(servers) do
      server.facts:add("inflight", -1)
    end
  end,
}

-- What the targets mean to the core, which of them are servers, and whether they
-- are the contacts of a redirection.
local function resolve(targets)
  local raws, servers, is_redirect = {}, {}, false
  for i, target in ipairs(targets) do
    local raw, server = try.target("req:fork", target)
    raws[i] = raw
    servers[#servers + 1] = server
    is_redirect = is_redirect or (type(target) == "table" and not server)
  end
  return raws, servers, is_redirect
end

local function checked(targets)
  if type(targets) ~= "table" then
    misuse("req:fork: a list of servers or SIP URIs expected, got %s", type(targets))
  end
  local raws, servers, is_redirect = resolve(targets)
  if #raws == 0 then
    misuse "req:fork: the list of targets is empty"
  elseif #raws > max_targets then
    misuse("req:fork: at most %d targets, got %d", max_targets, #raws)
  end
  return raws, servers, is_redirect
end

local function in_parallel(req, raws, servers, limits)
  for _, server in ipairs(servers) do
    server.facts:add("inflight", 1)
  end
  local _ <close> = setmetatable(servers, busy)
  return req:_try(raws, limits)
end

---@param req tandem.Request
---@param targets (tandem.Server|tandem.Contact|string)[]
---@param opts? tandem.TryOptions
---@return tandem.Response?
---@return "timeout"|"transport"|"cancelled"|"depth"|nil
---@return tandem.Detail?
return function(req, targets, opts)
  opts = try.options("req:fork", options.try, opts)
  local raws, servers, is_redirect = checked(targets)
  if is_redirect then
    local depth = (depths[req] or 0) + 1
    if depth > max_depth then
      return nil, "depth"
    end
    depths[req] = depth
  end
  local limits = try.limits(opts, servers[1] and servers[1].pool)
  local res, err, detail = in_parallel(req, raws, servers, limits)
  if res then
    try.answered(req, res, opts.key)
    return res
  end
  for _, server in ipairs(servers) do
    try.failed(req, server, err, detail)
  end
  return nil, err, detail
end
