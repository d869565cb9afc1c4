-- The control API (docs/reference/api.md) as `tandem ctl` asks it: HTTP on the UNIX
-- socket of the proxy, or by TCP. Nothing waits longer than its time. What goes wrong is
-- raised as { code = exit code, text = }.
local cjson = require "cjson"
local io, os, pcall, require, string = io, os, pcall, require, string
local error, pairs, setmetatable, table, type = error, pairs, setmetatable, table, type

local _ENV = nil

local client = {}
local Client = {}
Client.__index = Client

client.default = "/run/tandem/ctl.sock"

local patience = 10 -- seconds for an answer; the proxy waits 5 for a worker

client.failed, client.usage, client.unreachable = 1, 2, 3

local function fail(code, text, ...)
  error({ code = code, text = string.format(text, ...) }, 0)
end

client.fail = fail

-- ---- libraries ----

local function library(name)
  local ok, found = pcall(require, name)
  if not ok then
    fail(client.failed, "this needs LuaSocket for Lua 5.4: apt-get install lua-socket")
  end
  return found
end

-- ---- where ----

-- `where`: the path of a socket, or http://HOST:PORT.
---@param where string
---@param token? string
---@param seconds? number for any answer, instead of what is usual
function client.new(where, token, seconds)
  local url = where:match "^http://[^/?#]+"
  if where:find "^%a[%w+.-]*://" and not (url and where:find("^/?$", #url + 1)) then
    fail(client.usage, "-s is the path of a socket or http://HOST:PORT, not '%s'", where)
  end
  return setmetatable({
    where = where, url = url or "http://tandem", path = not url and where or nil,
    token = token, seconds = seconds,
    http = library "socket.http", wire = library "tandem.command.ctl.wire",
  }, Client)
end

-- ---- what goes wrong ----

local function group_of(path)
  local quoted = "'" .. path:gsub("'", "'\\''") .. "'"
  local pipe = io.popen("stat -c %G -- " .. quoted .. " 2>/dev/null")
  local name = pipe and pipe:read "l"
  if pipe then
    pipe:close()
  end
  return name
end

local function denied(path)
  local group = group_of(path)
  if not group then
    return "its directory is not open to you: use sudo"
  elseif group == "root" then
    return "it is for root: use sudo"
  end
  return ("it is for root and for members of the group '%s': use sudo, or join it: "
    .. "usermod -aG %s %s"):format(group, group, os.getenv "USER" or "NAME")
end

local help = {
  ["No such file or directory"] = function()
    return "there is no such socket. Is the proxy running, and with --ctl at another "
      .. "path? Then say -s PATH, or set TANDEM_CTL"
  end,
  ["connection refused"] = function(where)
    return where:find "^http:" and "nobody listens there. Is the proxy running with --http?"
      or "the socket is there, but the proxy that made it has ended"
  end,
  ["permission denied"] = denied,
  ["path too long"] = function()
    return "a path of a socket has 107 characters at most"
  end,
}

function Client:lost(conn, why)
  if not conn or not conn.is_connected then
    if why == "timeout" and self.path then
      fail(client.failed, "the proxy at %s does not answer: its queue is full", self.where)
    end
    local more = help[why]
    fail(client.unreachable, "cannot reach the proxy at %s: %s", self.where,
      more and more(self.where) or why)
  elseif why == "timeout" then
    fail(client.failed, "the proxy at %s does not answer within %g s: it is stopped or "
      .. "stuck", self.where, self.patience)
  end
  fail(client.failed, "the proxy at %s broke off: %s", self.where, why)
end

-- ---- asking ----

local function escape(s)
  return (s:gsub("[^%w_.~-]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

client.escape = escape

local function query_of(query)
  local list = {}
  for name, value in pairs(query or {}) do
    list[#list + 1] = escape(name) .. "=" .. escape(("%s"):format(value))
  end
  table.sort(list)
  return #list > 0 and "?" .. table.concat(list, "&") or ""
end

-- Asks and gives what came. options: query, body (a table), patience (seconds).
---@param method string
---@param path string
---@param options? { query: table?, body: table?, patience: number? }
---@return integer status
---@return string text
---@return string content_type
function Client:ask(method, path, options)
  options = options or {}
  self.patience = self.seconds or options.patience or patience
  local body = options.body and cjson.encode(options.body)
  local parts, sent = {}, false
  local conn, problem
  local headers = { connection = "close", te = "", accept = "application/json" }
  if self.token then
    headers.authorization = "Bearer " .. self.token
  end
  if body then
    headers["content-length"] = #body
    headers["content-type"] = "application/json"
  end
  local ok, status, got = self.http.request {
    method = method, url = self.url .. path .. query_of(options.query), redirect = false,
    headers = headers,
    source = body and function()
      sent = not sent
      return sent and body or nil
    end,
    sink = function(chunk)
      parts[#parts + 1] = chunk
      return 1
    end,
    create = function()
      conn, problem = self.wire.open(self.path, self.patience)
      return conn, problem
    end,
  }
  if not ok or not got then
    self:lost(conn, status)
  end
  return status, table.concat(parts), got["content-type"] or ""
end

local function decode(text)
  local ok, value = pcall(cjson.decode, text)
  return ok and value or nil
end

-- What an answer that is no success says.
local function explain(status, text)
  local value = decode(text)
  if type(value) == "table" and type(value.error) == "string" then
    return value.error .. (status == 401 and "; to send it: --token-file FILE" or "")
  end
  return ("the proxy answered %d %s"):format(status, (text:gsub("%s+$", "")))
end

-- The same, decoded; anything but success is raised with what the proxy says.
---@return any value
---@return string text as it came
function Client:get(path, query)
  return self:order("GET", path, nil, query)
end

---@param method string
---@param path string
---@param body? table
---@param query? table
---@param seconds? number patience
function Client:order(method, path, body, query, seconds)
  local status, text, kind = self:ask(method, path, {
    body = body, query = query, patience = seconds,
  })
  if status >= 300 then
    error({ code = client.failed, text = explain(status, text), status = status,
      answer = decode(text), raw = text }, 0)
  end
  if not kind:find "^application/json" then
    return text, text
  end
  local value = decode(text)
  if value == nil then
    fail(client.failed, "the proxy at %s does not answer in JSON", self.where)
  end
  return value, text
end

function Client:sleep(seconds)
  self.wire.sleep(seconds)
end

function Client:now()
  return self.wire.now()
end

return client
