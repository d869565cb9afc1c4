-- The messages of RFC 4475 and 5118 (spec/fixtures), and what a proxy may change in one.
local page = require "support.page"
local assert, io, ipairs, string, table = assert, io, ipairs, string, table

local _ENV = nil

local torture = {}

torture.page = "docs/reference/torture.md"

-- What that page says of each: { message, section, outcome, ["counted as"], why }.
---@param title string
---@return table<string, string>[]
function torture.rows(title)
  return page.rows(torture.page, "| message | section | outcome | counted as | why |", title)
end

-- The bytes of a message: "torture/wsinv".
---@param name string
---@return string
function torture.read(name)
  local file = assert(io.open("spec/fixtures/" .. name .. ".dat", "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

-- The fields of a header section with their folds and line ends, and what follows it.
local function fields_of(bytes)
  local list, at = {}, 1
  while true do
    local ending = at
    repeat
      ending = string.find(bytes, "\r\n", ending, true)
      ending = ending and ending + 2
    until not ending or not string.find(bytes, "^[ \t]", ending)
    if not ending or ending == at + 2 then
      return list, string.sub(bytes, at)
    end
    list[#list + 1] = string.sub(bytes, at, ending - 1)
    at = ending
  end
end

local function is_via(field)
  local name = string.lower(string.match(field, "^([^%s:]+)%s*:") or "")
  return name == "via" or name == "v"
end

-- A message in a form in which what a proxy changes is equal: the first Via on one line,
-- Max-Forwards as a number, at its place, and what is behind the body cut off. Second: the
-- number, nil without one.
local function normal(bytes, less)
  local fields, rest = fields_of(bytes)
  local length, hops = nil, nil
  local seen = false
  for i, field in ipairs(fields) do
    local name, value = string.match(field, "^([%w-]+)%s*:%s*(.-)%s*\r\n$")
    name = string.lower(name or "")
    if is_via(field) and not seen then
      seen = true
      -- folds become spaces, rport is filled in, and received is ours to say
      field = string.gsub(field, "\r\n([ \t])", "  %1")
      fields[i] = string.gsub(string.gsub(field, ";rport%f[;\r]", ""), ";received=[^;\r]*", "")
    elseif name == "max-forwards" then
      hops = string.match(value, "%d+") + less
      fields[i] = "Max-Forwards: " .. hops .. "\r\n"
    elseif name == "content-length" or name == "l" then
      length = string.match(value, "%d+") + 0
    end
  end
  if not hops and less < 0 then
    fields[#fields + 1] = "Max-Forwards: 70\r\n"
  end
  return table.concat(fields) .. string.sub(rest, 1, length and length + 2 or -1)
end

-- What a server must get of these bytes, without the Via on top, and what it got in the same
-- form. `ours`: a pattern for the value of that Via; `marks`: what was put into the one below.
---@param sent string
---@param got string
---@param ours string
---@param marks string
function torture.compare(sent, got, ours, marks)
  local first, via, rest = string.match(got, "^([^\r]*\r\n)Via: ([^\r]*)\r\n(.*)$")
  assert(first and string.find(via, ours), "no Via of ours on top of\n" .. got)
  local from, to = string.find(rest, marks, 1, true)
  assert(from, "the Via below does not say where it came from:\n" .. got)
  return normal(sent, -1), normal(first .. string.sub(rest, 1, from - 1)
    .. string.sub(rest, to + 1), 0)
end

-- A response of the RFC as the answer to this request: its Via lines are those of the request.
---@param bytes string
---@param request string
---@return string
function torture.answer(bytes, request)
  local fields, rest = fields_of(bytes)
  local list, vias = {}, {}
  for _, field in ipairs((fields_of(request))) do
    vias[#vias + 1] = is_via(field) and field or nil
  end
  for _, field in ipairs(fields) do
    list[#list + 1] = not is_via(field) and field or table.concat(vias)
    vias = is_via(field) and {} or vias
  end
  return table.concat(list) .. rest
end

-- A request to which this response of the RFC would be one.
---@param bytes string
---@param via string
---@return string
function torture.request(bytes, via)
  local function field(name)
    return assert(string.match(bytes, "\r\n" .. name .. ": ([^\r]*)"), name)
  end
  local method = string.match(field "CSeq", "%a+$")
  return table.concat({
    method .. " sip:user@example.edu SIP/2.0", "Via: " .. via, "Max-Forwards: 70",
    "From: " .. field "From", "To: " .. string.gsub(field "To", ";tag=.*", ""),
    "Call-ID: " .. field "Call%-ID",
    "CSeq: " .. (#field "CSeq" < 20 and field "CSeq" or "1 " .. method),
    "Contact: <sip:user@192.0.2.7>", "Content-Length: 0", "", "",
  }, "\r\n")
end

-- The metric of a reason in that table.
local invalid = { scheme = true, max_forwards = true, proxy_require = true }

---@param reason string
---@return string
function torture.metric(reason)
  return invalid[reason] and "tandem_invalid_requests_total" or "tandem_parse_errors_total"
end

return torture
