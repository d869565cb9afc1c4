-- The control API: what is at which path. It runs in a state of its own on the control
-- thread, answers over HTTP, and asks workers for what only they know. The paths are in
-- control/routes; `tandem ctl`, the live page and Prometheus are its users.
local cjson = require "cjson"
local error, ipairs, pairs, pcall = error, ipairs, pairs, pcall
local table, type, utf8 = table, type, utf8

local json = cjson.new()
json.encode_number_precision(14)

local modules = {
  "status", "pools", "metrics", "drain", "page", "events", "observe", "reload", "admin",
  "why",
}

local loaders = {}
for i, name in ipairs(modules) do
  loaders[i] = require("tandem.control.routes." .. name)
end

local _ENV = nil

local api = {}

local routes = {} -- { method, parts, access, fn }

local function parts_of(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    parts[#parts + 1] = part
  end
  return parts
end

-- Adds a path. In the pattern "{name}" stands for one part of it. The handler gives a
-- value, which is answered as JSON, or `nil, { status =, error = }`; or what api.text
-- makes.
---@param method "GET"|"POST"|"PATCH"|"PUT"|"DELETE"
---@param pattern string "/v1/pools/{pool}"
---@param access "read"|"write"
---@param fn fun(request: table, params: table): any, table?
function api.route(method, pattern, access, fn)
  routes[#routes + 1] = { method = method, parts = parts_of(pattern), access = access, fn = fn }
end

-- A reply that is not JSON.
---@param content_type string
---@param body string
---@param status? integer 200
function api.text(content_type, body, status)
  return { [api] = true, type = content_type, body = body, status = status or 200 }
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return ("%c"):format(("0x" .. hex) // 1)
  end))
end

local function unescaped(query)
  local plain = {}
  for name, value in pairs(query) do
    plain[unescape(name)] = unescape(value)
  end
  return plain
end

local function match(route, parts)
  if #route.parts ~= #parts then
    return nil
  end
  local params = {}
  for i, wanted in ipairs(route.parts) do
    local name = wanted:match "^{(.*)}$"
    if name then
      params[name] = unescape(parts[i])
    elseif wanted ~= parts[i] then
      return nil
    end
  end
  return params
end

-- The route, its parameters; or nil and which methods there would be.
local function find(method, path)
  local parts, methods = parts_of(path), {}
  for _, route in ipairs(routes) do
    local params = match(route, parts)
    if params and route.method == method then
      return route, params
    elseif params then
      methods[#methods + 1] = route.method
    end
  end
  return nil, methods
end

-- Which members are lists: an empty table says nothing of that, and {} is no list to
-- whoever reads the answer.
local lists = {}
for name in ([[servers addresses holds history pools requests steps candidates attempts
  added removed changed overrides events records failed]]):gmatch "%S+" do
  lists[name] = true
end

-- A list that may be empty as the whole answer.
---@param list any[]
function api.list(list)
  return #list > 0 and list or api.text("application/json", "[]\n")
end

-- JSON is UTF-8, but what was sent to us need not be.
local function utf8_only(text)
  local parts, from = {}, 1
  repeat
    local length, wrong = utf8.len(text, from)
    parts[#parts + 1] = text:sub(from, length and -1 or wrong - 1)
    from = (wrong or #text) + 1
  until length
  return table.concat(parts, "\u{FFFD}")
end

-- Anybody may read, by TCP: no password of a URI is for everybody.
local function redacted(text)
  return (text:gsub('([sS][iI][pP][sS]?:[^@:/?,;<>%s"]*):[^@/?,;<>%s"]*@', "%1:*@"))
end

local function encode(status, value)
  local text = json.encode(value):gsub('"([%w_]+)":{}', function(name)
    return lists[name] and ('"%s":[]'):format(name)
  end):gsub("\\(.)", { ["/"] = "/" }) -- cjson escapes what need not be
  return status, "application/json", utf8_only(redacted(text)) .. "\n"
end

local function refuse(status, text)
  return encode(status, { error = text })
end

local function no_route(request, methods)
  if #methods > 0 then
    return refuse(405, ("%s takes %s"):format(request.path, table.concat(methods, ", ")))
  end
  return refuse(404, ("there is no %s"):format(request.path))
end

-- The body as a table; false and why when it is none.
local function decode(body)
  if body == "" then
    return {}
  end
  local ok, value = pcall(json.decode, body)
  if not ok or type(value) ~= "table" then
    return false, "the body is no JSON object" .. (ok and "" or ": " .. value)
  end
  return value
end

local function reply(value, problem)
  if type(value) == "table" and value[api] then
    return value.status, value.type, value.body
  elseif value ~= nil then
    return encode(200, value)
  elseif type(problem) == "string" then
    return refuse(503, problem) -- a worker could not be asked
  end
  local out = {}
  for name, item in pairs(problem) do
    out[name] = name ~= "status" and item or nil
  end
  return encode(problem.status or 400, out)
end

-- The entry: C calls it for every request, in a coroutine.
---@param request { method: string, path: string, body: string, who: string,
---  may_write: boolean, query: table } path and query as they were sent
---@return integer status
---@return string content_type
---@return string body
function api.handle(request)
  local route, params = find(request.method == "HEAD" and "GET" or request.method, request.path)
  if not route then
    return no_route(request, params)
  elseif route.access == "write" and not request.may_write then
    return refuse(request.who == "http" and 401 or 403, "changes go over the control socket, or "
      .. "with the token of --http-token: Authorization: Bearer ...")
  end
  local body, why = decode(request.body)
  if not body then
    return refuse(400, why)
  end
  request.body, request.query = body, unescaped(request.query)
  return reply(route.fn(request, params))
end

for i, load in ipairs(loaders) do
  if type(load) ~= "function" then
    error("routes/" .. modules[i] .. ".lua gives no function")
  end
  load(api.route, api)
end

return api
