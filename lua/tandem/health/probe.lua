-- What a check sends, and what the answer says: true, false, or nil for nothing, and
-- in a word why. An answer is any final response the server sent; what we made
-- ourselves is none, and a fault of ours (no address to send from, an error in a
-- function) says nothing about the server.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local misuse = require "tandem.config.misuse"
local request = require "tandem.verbs.request"
local ipairs, tostring, type = ipairs, tostring, type

local _ENV = nil

local probe = {}

-- Did the server say what we want to hear?
---@param expect "any"|integer[]|fun(res: tandem.Response): boolean
---@param res tandem.Response
---@return boolean
function probe.is_good(expect, res)
  if expect == "any" then
    return res.code < 500 or res.code > 599
  elseif type(expect) == "function" then
    return core.steady("expect", expect, res) and true or false
  end
  for _, code in ipairs(expect) do
    if res.code == code then
      return true
    end
  end
  return false
end

-- Have we been late ourselves meanwhile? Then an answer may have waited for us, and
-- silence says nothing of the server.
local late_share = 4 -- of its time

local function were_late(conf)
  return core.lagged(conf.timeout, conf.timeout / late_share)
end

local function verdict(conf, res, err, detail)
  if res and not res.is_local then
    return probe.is_good(conf.expect, res), ("%d"):format(res.code)
  end
  local cause = detail and detail.cause
  if cause == "no_source" then -- we have no address to send from
    return nil, cause
  elseif cause and cause ~= "silent" then
    return false, cause
  elseif were_late(conf) then
    return nil, "late"
  end
  return false, err or "timeout"
end

-- ---- who asks whom ----

-- HOST in a URI of the script is the server's.
local function place(uri, server)
  return uri and uri:gsub("HOST", function()
    return server.host
  end)
end

local function own_domain()
  local domains = declare.setting "domains"
  return domains and domains[1]
end

-- From, of our own domain. A peer that asks for a password knows us by the user.
local function from_of(server, conf)
  local domain = own_domain()
  if conf.from then
    return (place(conf.from, server))
  elseif domain or conf.user then
    return ("sip:%s@%s"):format(conf.user or "tandem", domain or server.host)
  end
  return nil
end

-- A REGISTER names the domain in its Request-URI, and who it is about in To (RFC 3261
-- 10.2).
local function parties(server, conf)
  if conf.method ~= "REGISTER" then
    local to = place(conf.to, server)
    return to or server.known_as, from_of(server, conf), to
  end
  local to = place(conf.to or conf.from, server)
    or ("sip:%s@%s"):format(conf.user or "tandem", own_domain() or server.host)
  local domain = core.parse_uri(to).host
  if domain:find(":", 1, true) and domain:sub(1, 1) ~= "[" then
    domain = "[" .. domain .. "]"
  end
  return "sip:" .. domain, place(conf.from, server) or to, to
end

local function credentials_of(conf)
  return conf.password and { user = conf.user, password = conf.password }
end

-- ---- the call that is none ----

-- An offer of no media: nobody hears anything (RFC 3264 5.1).
local function offer(server)
  local address = server.host:find(":", 1, true) and "IP6 ::" or "IP4 0.0.0.0"
  return ("v=0\r\no=- 1 1 IN %s\r\ns=-\r\nc=IN %s\r\nt=0 0\r\n"
    .. "m=audio 9 RTP/AVP 0 8\r\na=inactive\r\n"):format(address, address)
end

-- It was answered, the core has acknowledged that: end it. Whoever waits for the
-- verdict need not wait for the BYE, but may.
---@return table task that gives the answer, as request.send does
local function hang_up(res, credentials, timeout)
  return core.spawn(function()
    return request.within(res, "BYE", { timeout = timeout }, credentials)
  end)
end

-- ---- asking ----

-- Sends what a check sends, and ends the call that it may have made. Waits.
---@param server { host: string, facts: table? }
---@param conf { method: string, timeout: number, user: string?, password: string?,
---  socket: string?, contact: string?, bye_timeout: number? }
---@param party { uri: string, from: string?, to: string? }
---@param addr? string which of its addresses
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
---@return table? hanging_up the task that does
function probe.send(server, conf, party, addr)
  local spec = {
    method = conf.method, uri = party.uri, from = party.from, to = party.to,
    facts = server.facts, addr = addr, timeout = conf.timeout, source = conf.socket,
    headers = {},
  }
  if conf.method == "INVITE" then
    spec.body = offer(server)
    spec.headers[1] = { "Content-Type", "application/sdp" }
  elseif conf.contact then
    spec.headers[1] = { "Contact", conf.contact }
  end
  local credentials = credentials_of(conf)
  local res, err, detail = request.send(spec, credentials, party.uri)
  -- Without a Contact there is no dialog: nothing can be sent in it.
  if res and conf.method == "INVITE" and res.code < 300 and res.contacts[1] then
    return res, err, detail, hang_up(res, credentials, conf.bye_timeout)
  end
  return res, err, detail
end

local function ask_server(server, conf, addr)
  local uri, from, to = parties(server, conf)
  local res, err, detail = probe.send(server, conf, { uri = uri, from = from, to = to }, addr)
  local good, why = verdict(conf, res, err, detail)
  return good, why, res ~= nil and not res.is_local
end

local words = { [true] = "true", [false] = "false" }

-- A function of the script has as long as any other check. When it raises, the task
-- gives nil; so it does when `on_task` has let somebody else end it.
local function ask_function(server, conf, on_task)
  local is_late = false
  local task = core.spawn(function()
    local good, why = conf.method(server.handle)
    if good ~= nil and not words[good] then
      misuse("the check of '%s' returned %s: true, false or nil expected", server.full,
        type(good))
    end
    return good, why
  end)
  local limit = core.after(conf.timeout, function()
    is_late = true
    task:cancel()
  end)
  on_task(task)
  local good, why = task:wait()
  on_task(nil)
  limit:cancel()
  if is_late then
    if were_late(conf) then
      return nil, "late", false
    end
    return false, "timeout", false
  end
  return good, why ~= nil and tostring(why) or words[good] or "nothing", false
end

-- Asks a server once. Waits.
---@param server table
---@param conf table the options of its check
---@param addr? string which of its addresses
---@param on_task fun(task: table?) told of the task of a function of the script
---@return boolean? good
---@return string why
---@return boolean answered by the server itself
function probe.ask(server, conf, addr, on_task)
  if type(conf.method) == "function" then
    return ask_function(server, conf, on_task)
  end
  return ask_server(server, conf, addr)
end

return probe
