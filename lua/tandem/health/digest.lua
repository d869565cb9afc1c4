-- HTTP digest authentication, the side that answers (RFC 2617, 7616 and 8760; for SIP
-- RFC 3261 22). A challenge is the value of a WWW-Authenticate or Proxy-Authenticate
-- header, an answer that of an Authorization or Proxy-Authorization header. Nothing is
-- remembered: every request asks for a nonce of its own.
local core = require "tandem.core"
local ipairs, setmetatable, table = ipairs, setmetatable, table

local _ENV = nil

local digest = {}

-- What a challenge may name, and the hash that is meant.
local hashes = {
  ["MD5"] = "md5", ["MD5-SESS"] = "md5",
  ["SHA-256"] = "sha-256", ["SHA-256-SESS"] = "sha-256",
  ["SHA-512-256"] = "sha-512-256", ["SHA-512-256-SESS"] = "sha-512-256",
}

-- The headers that challenge, by the response that carries them, and the answers.
local challenged_by = { [401] = "WWW-Authenticate", [407] = "Proxy-Authenticate" }
local answered_with = { [401] = "Authorization", [407] = "Proxy-Authorization" }

-- The value that begins at `at`, without its quotes, and where it ends. What is
-- escaped in quotes stays so: it is hashed and repeated as it came.
local function value_at(text, at)
  if text:sub(at, at) ~= '"' then
    return text:match("^([^%s,]*)()", at)
  end
  local from = at + 1
  at = from
  while true do
    local found = text:find('["\\]', at)
    if not found then
      return nil
    elseif text:sub(found, found) == '"' then
      return text:sub(from, found - 1), found + 1
    end
    at = found + 2
  end
end

local function parameters(text, at)
  local found = {}
  while true do
    local name, begin = text:match("^[%s,]*([%w_-]+)%s*=%s*()", at)
    if not name then
      return found
    end
    local value
    value, at = value_at(text, begin)
    if not value then
      return nil
    end
    name = name:lower()
    found[name] = found[name] or value
  end
end

local function offers_auth(qop)
  for word in qop:gmatch "[%w-]+" do
    if word:lower() == "auth" then
      return true
    end
  end
  return false
end

---@class tandem.Challenge
---@field realm string
---@field nonce string
---@field opaque string?
---@field algorithm string as it was named; "MD5" when it was not
---@field qop boolean may be answered with qop=auth
---@field stale boolean the password was right, only the nonce was too old

-- Reads a challenge; nil when it is none that can be answered: another scheme, an
-- unknown algorithm, or auth-int alone.
---@param text string the value of the header
---@return tandem.Challenge?
function digest.parse(text)
  local at = text:match "^%s*[Dd][Ii][Gg][Ee][Ss][Tt]%s+()"
  local found = at and parameters(text, at)
  if not found or not found.realm or not found.nonce then
    return nil
  end
  local algorithm = found.algorithm or "MD5"
  if not hashes[algorithm:upper()] or (found.qop and not offers_auth(found.qop)) then
    return nil
  end
  return {
    realm = found.realm, nonce = found.nonce, opaque = found.opaque,
    algorithm = algorithm, qop = found.qop ~= nil,
    stale = found.stale ~= nil and found.stale:lower() == "true",
  }
end

-- The first of several challenges that can be answered: they come in the order of
-- the server's preference (RFC 8760 2.4).
---@param values string[]
---@return tandem.Challenge?
function digest.choose(values)
  for _, text in ipairs(values) do
    local challenge = digest.parse(text)
    if challenge and core.digest(hashes[challenge.algorithm:upper()], "") then
      return challenge
    end
  end
  return nil
end

-- The same of a response; nil also when it asks for none.
---@param res { code: integer, headers: fun(self: table, name: string): string[] }
---@return tandem.Challenge?
function digest.of(res)
  local header = challenged_by[res.code]
  return header and digest.choose(res:headers(header)) or nil
end

---@class tandem.DigestRequest
---@field method string
---@field uri string its Request-URI
---@field user string
---@field password string
---@field cnonce string what we add to the nonce
---@field count integer? how often this nonce was answered, with this one; 1

-- RFC 7616 3.4.1 to 3.4.3.
local function response(challenge, request, count)
  local name = challenge.algorithm:upper()
  local function hash(...)
    return core.digest(hashes[name], table.concat({ ... }, ":"))
  end
  local secret = hash(request.user, challenge.realm, request.password)
  if name:find "-SESS$" then
    secret = hash(secret, challenge.nonce, request.cnonce)
  end
  local what = hash(request.method, request.uri)
  if not challenge.qop then -- RFC 2069
    return hash(secret, challenge.nonce, what)
  end
  return hash(secret, challenge.nonce, count, request.cnonce, "auth", what)
end

-- The value of the header that answers a challenge.
---@param challenge tandem.Challenge
---@param request tandem.DigestRequest
---@return string
function digest.answer(challenge, request)
  local count = ("%08x"):format(request.count or 1)
  local parts = {
    ('username="%s"'):format(request.user), ('realm="%s"'):format(challenge.realm),
    ('nonce="%s"'):format(challenge.nonce), ('uri="%s"'):format(request.uri),
    ('response="%s"'):format(response(challenge, request, count)),
    "algorithm=" .. challenge.algorithm,
  }
  if challenge.qop then
    parts[#parts + 1] = "qop=auth"
    parts[#parts + 1] = "nc=" .. count
  end
  if challenge.qop or challenge.algorithm:upper():find "-SESS$" then
    parts[#parts + 1] = ('cnonce="%s"'):format(request.cnonce)
  end
  if challenge.opaque then
    parts[#parts + 1] = ('opaque="%s"'):format(challenge.opaque)
  end
  return "Digest " .. table.concat(parts, ", ")
end

-- What is known of the challenges that one request has met: for each kind (401, 407)
-- the last one, and how often it was answered.
local session = {}
session.__index = session

---@param user string
---@param password string
function digest.session(user, password)
  return setmetatable({ user = user, password = password, challenges = {} }, session)
end

-- Takes in a response. True when the request may be sent again: with a challenge that
-- can be answered, and was not before; a stale nonce is no refusal (RFC 7616 3.3).
---@param res { code: integer, headers: fun(self: table, name: string): string[] }
---@return boolean
function session:take(res)
  local challenge = digest.of(res)
  if not challenge then
    return false
  end
  local before = self.challenges[res.code]
  if before and (not challenge.stale or before.renewed) then
    return false
  end
  self.challenges[res.code] = { challenge = challenge, count = 0, renewed = before ~= nil }
  return true
end

-- The header fields of the request, and those that answer the challenges.
---@param fields { [1]: string, [2]: string }[] as headers.list gives them
---@param method string
---@param uri string
---@return { [1]: string, [2]: string }[]
function session:headers(fields, method, uri)
  local all = table.move(fields, 1, #fields, 1, {})
  for _, code in ipairs { 401, 407 } do
    local known = self.challenges[code]
    if known then
      known.count = known.count + 1
      all[#all + 1] = { answered_with[code], digest.answer(known.challenge, {
        method = method, uri = uri, user = self.user, password = self.password,
        cnonce = ("%016x"):format(core.hash(("%.17g"):format(core.random()))),
        count = known.count,
      }) }
    end
  end
  return all
end

return digest
