-- The control API as a client sees it, by curl.
local cjson = require "cjson"
local sh = require "support.sh"
local error, ipairs, string, table, tonumber = error, ipairs, string, table, tonumber

local _ENV = nil

local http = {}

-- Asks. `at`: the path of a UNIX socket, or "IP:PORT". options: method, body (a table),
-- token, raw (a body as it is), host (the Host header). Returns the status, the body,
-- decoded if it is JSON, and the content type.
function http.ask(at, path, options)
  options = options or {}
  local is_tcp = string.find(at, "^[%d.]+:%d+$")
  local words = { "curl", "-sS", "-m", "20", "-w", "\\n%{http_code} %{content_type}" }
  local function add(...)
    for _, word in ipairs { ... } do
      words[#words + 1] = word
    end
  end
  if not is_tcp then
    add("--unix-socket", at)
  end
  if options.method == "HEAD" then
    add "-I"
  elseif options.method then
    add("-X", options.method)
  end
  if options.token then
    add("-H", "Authorization: Bearer " .. options.token)
  end
  if options.host then
    add("-H", "Host: " .. options.host)
  end
  local body = options.raw or options.body and cjson.encode(options.body)
  if body then
    add("--data-binary", body)
  end
  add("http://" .. (is_tcp and at or "tandem") .. path)
  for i, word in ipairs(words) do
    words[i] = sh.quote(word)
  end
  local ok, output = sh.run(table.concat(words, " "))
  local text, status, kind = string.match(output, "^(.*)\n(%d%d%d) ?(%S*)[^\n]*\n?$")
  if not ok or not status then
    error("no answer from " .. at .. path .. ": " .. output, 2)
  end
  local is_json = kind == "application/json" and text ~= "" and options.method ~= "HEAD"
  return tonumber(status), is_json and cjson.decode(text) or text, kind
end

return http
