-- The script of `tandem ping`: asks once, says what came of it, and ends the program.
-- Exit codes and the line are those of a monitoring plugin.
local sip = require "tandem"
local core = require "tandem.core"
local digest = require "tandem.health.digest"
local probe = require "tandem.health.probe"
local error, ipairs, math, pcall, tostring = error, ipairs, math, pcall, tostring

local _ENV = nil

local names = { [0] = "OK", "WARNING", "CRITICAL", "UNKNOWN" }
local ok, warning, critical, unknown = 0, 1, 2, 3

local linger = 0.5 -- for the answer to a CANCEL, which has to be acknowledged

-- Why there was no answer, in words; %s is where.
local words = {
  icmp_port = "nobody listens at %s", icmp_host = "%s cannot be reached",
  icmp_net = "the network of %s cannot be reached", refused = "%s refuses the connection",
  connect_timeout = "%s does not take the connection in time",
  reset = "%s has reset the connection", closed = "%s has closed the connection",
  tls_identity = "%s is not who it should be", tls_handshake = "no TLS with %s",
  no_progress = "nothing but 100 from %s", too_big = "too big for the way to %s",
}

-- What came from the network, in a line of ours: no ends of lines, and '|' begins the
-- figures.
local function plain(text)
  return (tostring(text):gsub("[%c|]", "?"))
end

local function milliseconds(seconds)
  local ms = seconds * 1000
  return ms < 10 and ("%.1f ms"):format(ms) or ("%.0f ms"):format(ms)
end

local function host_of(uri)
  return uri.host:find(":", 1, true) and uri.host:sub(1, 1) ~= "[" and "[" .. uri.host .. "]"
    or uri.host
end

-- Whom to ask for what. A REGISTER names the registrar, and in To who it is about (RFC
-- 3261 10.2).
local function party_of(opts, uri)
  local own = opts.user and ("sip:%s@%s"):format(opts.user, host_of(uri))
  if opts.method ~= "REGISTER" then
    return { uri = opts.uri, from = opts.from or own }
  end
  local who = uri.user and ("%s:%s@%s"):format(uri.scheme, uri.user, host_of(uri)) or own
  local registrar = uri.user and opts.uri:gsub("^(%a+:)[^@]*@", "%1") or opts.uri
  return { uri = registrar, from = opts.from or who, to = who }
end

local function is_expected(opts, code)
  if not opts.expect then
    return code >= 200 and code <= 299
  end
  for item in opts.expect:gmatch "%d+" do
    if code == item // 1 then
      return true
    end
  end
  return false
end

local refusals = { [401] = true, [403] = true, [407] = true }

local function judge(opts, res, took)
  local code = res.code
  if is_expected(opts, code) then
    return opts.warn and took > opts.warn and warning or ok
  elseif opts.user and refusals[code] then
    return critical, (code == 403 or digest.of(res)) and "the password is refused"
      or "which is no challenge that can be answered"
  elseif code >= 500 and code <= 599 then
    return critical
  end
  return warning
end

local function bindings(opts, res)
  if opts.method ~= "REGISTER" or res.code > 299 then
    return nil
  end
  local n = #res.contacts
  return ("%d binding%s"):format(n, n == 1 and "" or "s")
end

local function figures(opts, took)
  return (" | time=%.6fs;%s;;0;"):format(took, opts.warn and ("%g"):format(opts.warn) or "")
end

local function answered(opts, res, took)
  local code, note = judge(opts, res, took)
  local text = ("SIP %s - %d %s from %s in %s"):format(names[code], res.code, plain(res.reason),
    tostring(res.address), milliseconds(took))
  for _, more in ipairs { bindings(opts, res) or note } do
    text = text .. ", " .. more
  end
  return code, text
end

local function failed(opts, uri, detail)
  local cause, where = detail and detail.cause or "silent", detail and detail.address or opts.uri
  if cause == "no_source" then
    return unknown, ("SIP UNKNOWN - no address of ours to reach %s from"):format(plain(opts.uri))
  elseif cause == "dns_none" then
    return critical, ("SIP CRITICAL - %s: no such name, or no address"):format(plain(uri.host))
  elseif cause == "dns_timeout" then
    return critical, ("SIP CRITICAL - %s: no name server answers"):format(plain(uri.host))
  elseif words[cause] then
    return critical, "SIP CRITICAL - " .. words[cause]:format(plain(where))
  end
  return critical, ("SIP CRITICAL - no answer from %s within %g s"):format(plain(where),
    opts.timeout)
end

-- What is wrong with the end of the call, or nil: the answer to the BYE. Who does not
-- know the call any more has ended it.
local function trouble_of(hanging_up)
  if not hanging_up then
    return "without a Contact the call cannot be ended"
  end
  local res = hanging_up:wait()
  local is_over = res ~= nil and (res.code <= 299 or res.code == 481)
  return not is_over and "the BYE is not answered" or nil
end

local function ask(opts, uri)
  local before = core.now()
  local res, _, detail, hanging_up = probe.send({ host = uri.host }, {
    method = opts.method, timeout = opts.timeout, user = opts.user, password = opts.password,
    bye_timeout = opts.timeout,
  }, party_of(opts, uri))
  local took = core.now() - before
  if not res or res.is_local then
    if opts.method == "INVITE" then
      core.sleep(linger)
    end
    local code, text = failed(opts, uri, detail)
    return core.quit(code, text)
  end
  local code, text = answered(opts, res, took)
  local trouble = opts.method == "INVITE" and res.code <= 299 and trouble_of(hanging_up)
  if trouble then
    code, text = math.max(code, warning), text .. ", but " .. trouble
    text = text:gsub("^SIP %u+", "SIP " .. names[code])
  end
  core.quit(code, text .. figures(opts, took))
end

---@class tandem.built_in.Ping
---@field uri string
---@field method "OPTIONS"|"REGISTER"|"INVITE"
---@field timeout number
---@field warn number?
---@field expect string? "200,404"
---@field user string?
---@field password string?
---@field from string?
---@field dns string?

---@param opts tandem.built_in.Ping
return function(opts)
  local uri, why = core.parse_uri(opts.uri)
  if not uri then
    error(("'%s' is no SIP URI: %s"):format(opts.uri, why), 0)
  end
  sip.settings { dns = opts.dns and { servers = { opts.dns } } or nil }
  sip.route(function(req) -- nobody has anything to ask of us
    return req:reply(403)
  end)
  sip.on("start", function()
    local fine, trace = pcall(ask, opts, uri)
    if not fine then
      core.quit(unknown, "SIP UNKNOWN - " .. plain(trace))
    end
  end)
end
