-- A server that asks for a password, and knows by its own means (support.md) whether
-- the answer is right.
local md = require "support.md"
local string = string

local _ENV = nil

local guard = {}

local challenges = { [401] = "WWW-Authenticate", [407] = "Proxy-Authenticate" }
local answers = { [401] = "Authorization", [407] = "Proxy-Authorization" }

local function field(text, name)
  return string.match(text, name .. '="([^"]*)"') or string.match(text, name .. "=([^,]*)")
end

-- Is the answer of this request the right one for `opts`?
local function is_right(request, opts)
  local text = request:header(answers[opts.code])
  if not text or field(text, "nonce") ~= opts.nonce then
    return false
  end
  local algorithm = string.lower(opts.algorithm)
  local function hash(...)
    local parts = { ... }
    local joined = parts[1]
    for i = 2, #parts do
      joined = joined .. ":" .. parts[i]
    end
    return md(algorithm, joined)
  end
  local secret = hash(opts.user, opts.realm, opts.password)
  local what = hash(request.method, request.uri)
  local expected = hash(secret, opts.nonce, field(text, "nc"), field(text, "cnonce"), "auth", what)
  return field(text, "uri") == request.uri and field(text, "response") == expected
end

-- From now on `ua` challenges this method. opts: code (401), algorithm ("MD5"), user,
-- password, realm, nonce; accept(request, reply): what it does with those who know the
-- password (200). Returns opts, whose `nonce` may be changed: an old one is then stale.
---@param ua tandem.sim.Endpoint
---@param method string
---@param opts table
function guard.set(ua, method, opts)
  opts.code, opts.algorithm = opts.code or 401, opts.algorithm or "MD5"
  opts.realm, opts.nonce = opts.realm or "example.com", opts.nonce or "n1"
  ua:on(method, function(request, reply)
    if is_right(request, opts) then
      if opts.accept then
        return opts.accept(request, reply)
      end
      return reply(200)
    end
    local given = request:header(answers[opts.code])
    local is_stale = given and field(given, "nonce") ~= opts.nonce
    reply(opts.code, { headers = { [challenges[opts.code]] = string.format(
      'Digest realm="%s", nonce="%s", algorithm=%s, qop="auth"%s', opts.realm, opts.nonce,
      opts.algorithm, is_stale and ", stale=true" or "") } })
  end)
  return opts
end

return guard
