-- SIP messages as the endpoints of a simulation read and write them. A second
-- opinion on purpose: nothing here is shared with the parser of the core.
local ipairs, next, setmetatable = ipairs, next, setmetatable
local table, tonumber, type = table, tonumber, type

local _ENV = nil

local message = {}

local compact = {
  i = "call-id", m = "contact", e = "content-encoding", l = "content-length",
  c = "content-type", f = "from", s = "subject", k = "supported", t = "to", v = "via",
}

local function key_of(name)
  name = name:lower()
  return compact[name] or name
end

-- Cuts at the commas that are in no quotes and no angle brackets.
local function split(value)
  local parts, from, quoted, angle = {}, 1, false, false
  local at = 1
  while at <= #value do
    local c = value:sub(at, at)
    if quoted and c == "\\" then
      at = at + 1
    elseif c == '"' then
      quoted = not quoted
    elseif not quoted and (c == "<" or c == ">") then
      angle = c == "<"
    elseif c == "," and not quoted and not angle then
      parts[#parts + 1] = value:sub(from, at - 1):match "^%s*(.-)%s*$"
      from = at + 1
    end
    at = at + 1
  end
  parts[#parts + 1] = value:sub(from):match "^%s*(.-)%s*$"
  return parts
end

-- A parameter of a Via, From, To or the like: "" when it has no value, nil when
-- it is not there. What is in angle brackets belongs to the URI.
---@param value string?
---@param name string
---@return string?
function message.param(value, name)
  if not value then
    return nil
  end
  local rest = value:gsub('"[^"]*"', ""):gsub("<[^>]*>", "")
  for key, text in rest:gmatch ";%s*([^%s;=]+)%s*=?%s*([^;]*)" do
    if key:lower() == name then
      return (text:match "^(.-)%s*$")
    end
  end
end

---@class tandem.sim.Message
local methods = {}
methods.__index = methods

-- Every value of a header, one per line of the message.
---@param name string
---@return string[]
function methods:all(name)
  local values, key = {}, key_of(name)
  for _, header in ipairs(self.fields) do
    if header.key == key then
      values[#values + 1] = header.value
    end
  end
  return values
end

-- The first value of a header.
---@param name string
---@return string?
function methods:header(name)
  local key = key_of(name)
  for _, header in ipairs(self.fields) do
    if header.key == key then
      return header.value
    end
  end
end

-- The values of a header, those in one line cut at the commas.
---@param name string
---@return string[]
function methods:list(name)
  local values = {}
  for _, line in ipairs(self:all(name)) do
    for _, value in ipairs(split(line)) do
      values[#values + 1] = value
    end
  end
  return values
end

local function parse_start(msg, line)
  local method, uri = line:match "^(%S+) (%S+) SIP/2%.0$"
  if method and not method:find "/" then
    msg.method, msg.uri = method, uri
    return true
  end
  local code, reason = line:match "^SIP/2%.0 (%d%d%d) ?(.*)$"
  msg.code, msg.reason = tonumber(code), reason
  return code ~= nil
end

local function parse_fields(msg, head)
  for line in head:gmatch "[^\r\n]+" do
    local name, value = line:match "^([^%s:]+)%s*:%s*(.-)%s*$"
    if not name then
      return nil, "not a header: " .. line
    end
    table.insert(msg.fields, { key = key_of(name), name = name, value = value })
  end
  return true
end

-- What matching needs.
local function read_keys(msg)
  local number, method = (msg:header "CSeq" or ""):match "^(%d+)%s+(%S+)$"
  local via = msg:list("Via")[1]
  msg.call_id = msg:header "Call-ID"
  msg.cseq, msg.cseq_method = tonumber(number), method
  msg.from_tag = message.param(msg:header "From", "tag")
  msg.to_tag = message.param(msg:header "To", "tag")
  msg.branch = message.param(via, "branch")
  msg.sent_by = via and via:match "^SIP/2%.0/%u+%s+([^%s;]+)"
  return msg.call_id and msg.cseq and via and true
end

---@param bytes string
---@return tandem.sim.Message? message
---@return string? why
function message.parse(bytes)
  local head, body = bytes:match "^(.-\r\n)\r\n(.*)$"
  if not head then
    return nil, "no empty line"
  end
  local start, rest = head:gsub("\r\n[ \t]+", " "):match "^([^\r\n]*)\r\n(.*)$"
  local msg = setmetatable({ bytes = bytes, body = body, fields = {} }, methods)
  if not parse_start(msg, start) then
    return nil, "not a start line: " .. start
  end
  local ok, why = parse_fields(msg, rest)
  if not ok then
    return nil, why
  end
  if not read_keys(msg) then
    return nil, "no usable Via, CSeq or Call-ID"
  end
  return msg
end

-- Writes a message. `fields` is a list of { name, value }.
---@param start string the first line
---@param fields string[][]
---@param body string?
---@return string bytes
function message.write(start, fields, body)
  local lines = { start }
  for _, field in ipairs(fields) do
    lines[#lines + 1] = field[1] .. ": " .. field[2]
  end
  lines[#lines + 1] = "Content-Length: " .. #(body or "")
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

-- Headers as a test gives them: a list of { name, value }, or a table by name
-- whose values may be lists. In alphabetical order, since a table by name has
-- none.
---@param headers table?
---@return string[][]
function message.fields(headers)
  local names, list = {}, {}
  if headers and type(headers[1]) == "table" then
    return headers
  end
  for name in message.sorted(headers or {}) do
    names[#names + 1] = name
  end
  for _, name in ipairs(names) do
    local value = headers[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      list[#list + 1] = { name, one }
    end
  end
  return list
end

-- The keys of a table of strings, in order: nothing may depend on pairs().
---@param set table<string, any>
---@return fun(): string?
function message.sorted(set)
  local keys, at = {}, 0
  local key = next(set)
  while key ~= nil do
    keys[#keys + 1] = key
    key = next(set, key)
  end
  table.sort(keys)
  return function()
    at = at + 1
    return keys[at]
  end
end

-- A shallow copy; of nil an empty table.
function message.copy(set)
  local copy = {}
  for key, value in next, set or {} do
    copy[key] = value
  end
  return copy
end

-- The metatable is set here, so that the other files need not.
function message.class(object, class)
  return setmetatable(object, class)
end

---@class tandem.sim.Uri
---@field text string
---@field user string?
---@field host string
---@field port integer?
---@field lr boolean
---@field transport string? lower case; "tls" for sips:

-- The URI of "sip:...", "<sip:...>" or "Name <sip:...>;tag=1".
---@param text string?
---@return tandem.sim.Uri?
function message.uri(text)
  local inner = text and (text:match "<([^>]*)>" or text:match "^%s*([^;%s]+)")
  local scheme, rest = (inner or ""):match "^(sips?):(.*)$"
  if not rest then
    return nil
  end
  local user, after = rest:match "^([^@]*)@(.*)$"
  after = after or rest
  local host, port = after:match "^(%[[^%]]*%]):?(%d*)"
  if not host then
    host, port = after:match "^([^:;?]*):?(%d*)"
  end
  after = after:lower()
  return {
    text = inner, user = user, host = host, port = tonumber(port),
    lr = after:find ";lr" ~= nil,
    transport = scheme == "sips" and "tls" or after:match ";transport=(%w+)",
  }
end

return message
