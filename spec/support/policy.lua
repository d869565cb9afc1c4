-- For specs of what policies do on the wire: a proxy with some servers and a caller,
-- a script in short, and what that script said.
local sim = require "support.sim"
local ipairs, next, pcall, string, table = ipairs, next, pcall, string, table

local _ENV = nil

local policy = {}

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", { servers = { %s }, check = false, passive = { fall = 1000 }, %s })
local a, b, c = pbx:server "a", pbx:server "b", pbx:server "c"
local function say(...) -- for the spec: w.said()
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  sip.log.info(table.concat(words, " "))
end
local _ = { a, b, c, say }
sip.route(function(req)
%s
end)
%s
]]

-- What may be said of a script in short.
local words = { handler = true, before = true, pool = true, after = true, servers = true }
local names = { "a", "b", "c" }

local function server_list(servers)
  local list = {}
  for i = 1, servers or 2 do
    list[i] = ('{ name = "%s", uri = "sip:10.0.0.%d", tier = %d }'):format(names[i], i, i)
  end
  return table.concat(list, ", ")
end

-- A script whose handler is opts.handler. opts.before comes before the pool,
-- opts.after at the end, opts.pool among the options of the pool, whose
-- opts.servers (2) servers are `a`, `b` and `c` there.
---@param opts table
---@return string
function policy.script(opts)
  return frame:format(opts.before or "", server_list(opts.servers), opts.pool or "",
    opts.handler or "return req:relay(pbx)", opts.after or "")
end

-- The messages of the script so far.
---@param net tandem.sim.Net
---@return string[]
function policy.said(net)
  local list = {}
  for _, event in ipairs(net.events) do
    if event.event == "script" then
      list[#list + 1] = event.message
    end
  end
  return list
end

-- net, a, b, c (servers 10.0.0.1 to 3), alice, and said().
---@param opts table? of policy.script and of sim.new
function policy.world(opts)
  local conf = {}
  for name, value in next, opts or {} do
    conf[name] = not words[name] and value or nil
  end
  if not conf.script then
    conf.source = conf.source or policy.script(opts or {})
  end
  local net = sim.new(conf)
  local w = {
    net = net, alice = net:uac("192.0.2.7", "alice"),
    said = function() return policy.said(net) end,
  }
  for i, name in ipairs(names) do
    w[name] = net:uas("10.0.0." .. i, name)
  end
  return w
end

-- Sends a request as bytes, whatever that does to a call. opts: to_tag, from_tag,
-- call_id, cseq, route (a list), to (address, the proxy).
---@param ua tandem.sim.Endpoint
---@param method string
---@param uri string
---@param opts table?
function policy.send(ua, method, uri, opts)
  opts = opts or {}
  local lines = {
    ("%s %s SIP/2.0"):format(method, uri),
    ("Via: SIP/2.0/UDP %s;branch=z9hG4bK%s"):format(ua.addr, ua.net:token(12)),
  }
  for _, route in ipairs(opts.route or {}) do
    lines[#lines + 1] = "Route: " .. route
  end
  local tail = {
    "Max-Forwards: 70", "From: <sip:x@example.com>;tag=" .. (opts.from_tag or "from"),
    "To: <sip:y@example.com>" .. (opts.to_tag and ";tag=" .. opts.to_tag or ""),
    "Call-ID: " .. (opts.call_id or ua.net:token(12)),
    ("CSeq: %d %s"):format(opts.cseq or 1, method), ("Contact: <sip:x@%s>"):format(ua.addr),
    "Content-Length: 0", "", "",
  }
  lines[#lines + 1] = table.concat(tail, "\r\n")
  ua:send(table.concat(lines, "\r\n"), opts.to)
end

-- The last error event of a script: its fields.
---@param net tandem.sim.Net
---@return table?
function policy.failure(net)
  local found
  for _, event in ipairs(net.events) do
    if event.event == "lua.error" then
      found = event
    end
  end
  return found
end

-- The values of a header in each of these messages.
---@param list tandem.sim.Message[]
---@param name string
---@return string[]
function policy.headers(list, name)
  local values = {}
  for i, message in ipairs(list) do
    values[i] = message:header(name) or "none"
  end
  return values
end

-- What loading this script says is wrong; nil when nothing is.
---@param source string
---@param opts table? more for sim.new
---@return string?
function policy.load_error(source, opts)
  local conf = { source = source }
  for name, value in next, opts or {} do
    conf[name] = value
  end
  local ok, why = pcall(sim.new, conf)
  return not ok and string.gsub(why, "\n%(seed %d+%)$", "") or nil
end

return policy
