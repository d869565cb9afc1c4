-- Messages that are nearly SIP, out of the grammar of RFC 3261: one element of a sound message
-- at a time is replaced, or gets something before or behind it, that parsers are known to
-- stumble over. There is a fixed number of them and each has a number, so a run can be a
-- sample, or all, and what fails can be had again: hostile.message(n).
local assert, ipairs, next, string, table, tostring = assert, ipairs, next, string, table, tostring

local _ENV = nil

local hostile = {}

-- ---- what there is to break: %{name} in a message, and what stands there in a sound one ----

local elements = {
  method = "INVITE", cseq_method = "INVITE", version = "SIP/2.0", sp = " ",
  scheme = "sip", user = "victim", password = "secret", host = "example.com", port = "5060",
  uri_param = "user", uri_value = "phone", uri_header = "",
  via_name = "Via", via_protocol = "SIP/2.0/UDP", via_host = "192.0.2.66", via_port = "5060",
  via_param = "rport", branch = "z9hG4bK%{id}", via_more = "",
  from_display = '"Alice, \\"A\\""', from_uri = "sip:alice@example.com", from_param = "x=y",
  from_tag = "tag%{id}", to_display = "Bob", to_uri = "<sip:bob@example.com;a=b>", to_tag = "",
  call_id = "%{id}@192.0.2.66", cseq = "1", max_forwards = "70",
  contact = "<sip:alice@192.0.2.66>;q=0.5", route = "", record_route = "<sip:192.0.2.66;lr>",
  header_name = "X-Header", header_value = "value", fold = "\r\n ", separator = ": ",
  expires = "3600", content_type = "application/sdp", length_name = "Content-Length",
  length = "%{length}", eol = "\r\n", ending = "\r\n", body = "v=0\r\n",
  digest = 'Digest username="u", realm="r", nonce="n", uri="sip:x", response="0"',
  require = "", proxy_require = "", list = "a, b;c=d",
}

local request = table.concat {
  "%{method}%{sp}%{scheme}:%{user}:%{password}@%{host}:%{port};%{uri_param}=%{uri_value}",
  "%{uri_header} %{version}%{eol}",
  "%{via_name}: %{via_protocol} %{via_host}:%{via_port};%{via_param};branch=%{branch}",
  "%{via_more}\r\n",
  "Max-Forwards: %{max_forwards}\r\n",
  "From: %{from_display} <%{from_uri}>;%{from_param};tag=%{from_tag}\r\n",
  "To: %{to_display} %{to_uri}%{to_tag}\r\n",
  "Call-ID: %{call_id}\r\n", "CSeq: %{cseq} %{cseq_method}\r\n", "Contact: %{contact}\r\n",
  "%{route}Record-Route: %{record_route}\r\n",
  "%{header_name}%{separator}%{header_value}%{fold}more\r\n", "Expires: %{expires}\r\n",
  "%{require}%{proxy_require}Accept: %{list}\r\nSupported: %{list}\r\n",
  "Authorization: %{digest}\r\n", "Content-Type: %{content_type}\r\n",
  "%{length_name}: %{length}%{eol}%{ending}%{body}",
}

local response = table.concat {
  "%{version}%{sp}%{code} %{reason}%{eol}", "%{vias}",
  "From: %{from_display} <%{from_uri}>;%{from_param};tag=%{from_tag}\r\n",
  "To: %{to_display} %{to_uri};tag=%{to_tag}\r\n",
  "Call-ID: %{call_id}\r\n", "CSeq: %{cseq} %{cseq_method}\r\n", "Contact: %{contact}\r\n",
  "Record-Route: %{record_route}\r\n", "%{header_name}%{separator}%{header_value}%{fold}more\r\n",
  "Retry-After: %{retry_after}\r\nWWW-Authenticate: %{digest}\r\nRSeq: %{rseq}\r\n",
  "Content-Type: %{content_type}\r\n", "%{length_name}: %{length}%{eol}%{ending}%{body}",
}

-- ---- what is put there ----

local fillers = {}

local function add(text)
  fillers[#fillers + 1] = text
end

for _, text in ipairs {
  "", " ", "\t", "\0", "\r", "\n", "\r\n", "\r\n\r\n", "\r\n ", "\127", "\255", "\27[2J",
  "%", "%0", "%00", "%zz", "%25%30%30", "\\", "\\\0", '"', '""', '"\\', "'", "<", ">", "<>", "<<",
  ",", ";", ":", "@", "/", "?", "=", "&", "*", "..", ";;", ",,", "::", "@@", "=;", ";=", "?&",
    "://",
  "-1", "0", "00", "1", "65535", "65536", "99999", "2147483647", "2147483648", "4294967295",
  "4294967296", "9223372036854775808", "18446744073709551616", "1e9", "0x10", "+1", "1.5", "1 2",
  "%s%s%s%s%s%s", "%n%n%n%n", "%x%d%u%p", "%99999999d", "%.4096x",
  "[", "]", "[]", "[:", "[::", "[::1", "[::1]", "[:::1]", "[::1]]", "[1:2:3:4:5:6:7:8:9]", "::1",
  "[2001:db8:::1.2.3.4]", "256.256.256.256", "1.2.3", "0.0.0.0", "255.255.255.255", "224.0.1.75",
  "localhost", "a..b", "-a", "a-", "xn--a", "\195\40", "\192\128", "\237\160\128", "\239\191\190",
  "sip:", "sips:a@b", "tel:+1", "tel:", "urn:x", "sip:@", "sip:a@b@c", "<sip:a@b", "sip:a@b>",
  "<sip:a@b>;tag", "<sip:a@b>;tag=", "<sip:a@b>;tag=1;tag=2", "<sip:a@b?c=d>", "sip:a?b", "*, *",
  "INVITE", "CANCEL", "ACK", "BYE", "SIP/2.0", "sip/2.0", "SIP/2", "SIP/2.0/UDP", "SIP/2.0/WSS",
  "SIP / 2.0 / TCP", "TRUE", "nil", "../../etc/passwd", "' OR 1=1 --", "$(id)", "${x}",
  "X: y\r\nZ: w", "X: y\rZ: w", "X: y\nZ: w", "Route: <sip:192.0.2.99;lr>\r\n",
  "Content-Length: 5\r\n", "l: 0\r\nl: 1\r\n", "Require: x\r\n", "Proxy-Require: x\r\n",
  "Via: SIP/2.0/UDP 10.0.0.100;branch=z9hG4bK1\r\n", "Route: <sip:10.0.0.100;lr;t=1n00>\r\n",
  ", SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2", ";received=10.0.0.1;rport=1", ";maddr=224.0.0.1",
  ";tag=x", ";ttl=999",
} do
  add(text)
end
for k = 1, 15 do -- around the powers of two
  add(("A"):rep((1 << k) - 1))
  add(("A"):rep(1 << k))
end
for _, text in ipairs { ";", ",", ":", "@", " ", "\t", "<", '"', "\\", "%41", "a,", ";a=b", "\r\n ",
  "(",
  "%n", "\0", "..", "[", "\255", "=" } do
  for _, n in ipairs { 3, 17, 33, 100, 1000, 4000 } do
    add(text:rep(n))
  end
end

local ways = {
  function(_, filler) return filler end,
  function(value, filler) return filler .. value end,
  function(value, filler) return value .. filler end,
}

-- Names in one order, whatever the order of next() is.
local function sorted(set, text)
  local list = {}
  for name in next, set do
    if text:find("%{" .. name .. "}", 1, true) then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

local answers = { code = "200", reason = "OK", retry_after = "1", rseq = "1" }
for name, value in next, elements do
  answers[name] = answers[name] or value
end
answers.vias, answers.to_tag = nil, "there"

local places = { request = sorted(elements, request), response = sorted(answers, response) }

-- How many there are of a kind.
---@param kind "request"|"response"
function hostile.count(kind)
  return #places[kind] * #fillers * #ways
end

local methods = { "INVITE", "OPTIONS", "REGISTER", "BYE", "CANCEL", "ACK", "MESSAGE", "SUBSCRIBE",
  "INFO", "PRACK" }

-- The n-th (from 1), spread over elements first. `over`: other sound values, by element.
local function build(kind, text, values, n, over)
  local at = n - 1
  local names = places[kind]
  local name = names[at % #names + 1]
  local filler = fillers[at // #names % #fillers + 1]
  local way = ways[at // (#names * #fillers) % #ways + 1]
  local function value(key)
    if over[key] ~= nil then
      return over[key]
    end
    return assert(values[key], key)
  end
  local function fill(key)
    local v = value(key)
    return key == name and way(v, filler) or v
  end
  local bytes = text:gsub("%%{([%l_]+)}", fill)
  local body = fill "body"
  return (bytes:gsub("%%{id}", over.id):gsub("%%{length}", tostring(#body))), name
end

-- A request, and the element that is broken in it. `id` makes it one of its own.
---@param n integer
---@param id string?
---@return string, string
function hostile.message(n, id)
  local method = methods[n * 7 // 3 % #methods + 1]
  return build("request", request, elements, n,
    { id = id or tostring(n), method = method, cseq_method = method })
end

-- A response with these Via lines, and more sound values of the request it is to.
---@param n integer
---@param over table<string, string>
---@return string, string
function hostile.response(n, over)
  over.id = over.id or tostring(n)
  return build("response", response, answers, n, over)
end

-- Numbers 1 to `count` in an order that goes all over them, `many` of them: a sample that is
-- the same each time.
---@param count integer
---@param many integer
---@param seed integer
---@return integer[]
function hostile.sample(count, many, seed)
  local list, step = {}, 0x9e3779b1 % count
  local function gcd(a, b)
    return b == 0 and a or gcd(b, a % b)
  end
  while gcd(step, count) ~= 1 do
    step = step + 1
  end
  for i = 1, many < count and many or count do
    list[i] = (seed * 7919 + i * step) % count + 1
  end
  return list
end

-- What scanners send, as they do.
---@param n integer
---@return string
function hostile.scan(n)
  local method = ({ "OPTIONS", "REGISTER", "INVITE" })[n % 3 + 1]
  return string.format(table.concat({
    "%s sip:%d@10.0.0.100 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-%d;rport",
    "Content-Length: 0", 'From: "sipvicious"<sip:100@1.1.1.1>;tag=%d',
    "Accept: application/sdp", "User-Agent: friendly-scanner",
    'To: "sipvicious"<sip:100@1.1.1.1>', "Contact: sip:100@127.0.0.1:5060", "CSeq: 1 %s",
    "Call-ID: %d", "Max-Forwards: 70", "", "",
  }, "\r\n"), method, 100 + n % 9900, n, n, method, n)
end

return hostile
