-- sip.request { method =, uri =, ... }: a request of our own; and
-- res:request(method[, opts]): the next one in the dialog that such an INVITE made.
-- With user and password a challenge (401, 407) is answered, and what comes then is
-- the result.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local digest = require "tandem.health.digest"
local options = require "tandem.config.options"
local pairs = pairs

local _ENV = nil

local request = {}

-- The same request once more, with credentials: Call-ID, From and To as before, the
-- next CSeq (RFC 3261 8.1.3.5).
local function repeated(spec, res, headers, timeout)
  local again = {}
  for name, value in pairs(spec) do
    again[name] = value
  end
  again.headers, again.timeout = headers, timeout
  if not spec.dialog then -- there the core goes on counting
    again.call_id = res:header "Call-ID"
    again.from_tag = res:header "From":match ";%s*tag%s*=%s*([^;%s]+)"
    again.cseq = (res:header "CSeq":match "^%s*(%d+)" or 1) // 1 + 1
  end
  return again
end

-- Sends a request for core.request, and answers what challenges it. `timeout` counts
-- for all of it.
---@param spec table
---@param credentials? { user: string, password: string }
---@param uri string its Request-URI
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function request.send(spec, credentials, uri)
  if not credentials then
    return core.request(spec)
  end
  local session = digest.session(credentials.user, credentials.password)
  local given, deadline = spec.headers or {}, spec.timeout and core.now() + spec.timeout
  while true do
    local res, err, detail = core.request(spec)
    local left = deadline and deadline - core.now()
    if not res or res.is_local or (left and left <= 0) or not session:take(res) then
      return res, err, detail
    end
    spec = repeated(spec, res, session:headers(given, spec.method, uri), left)
  end
end

-- As the core writes a URI into a request: without headers (19.1.5).
local function without_headers(uri)
  return uri:match "^[^@]*@[^?]*" or uri:match "^[^?]*"
end

local function credentials_of(opts)
  return opts.user and { user = opts.user, password = opts.password }
end

---@param opts tandem.OwnRequest
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function request.new(opts)
  opts = declare.check("sip.request", options.request, opts)
  return request.send({
    method = opts.method, uri = opts.uri, from = opts.from, to = opts.to,
    headers = opts.headers, body = opts.body, timeout = opts.timeout,
  }, credentials_of(opts), without_headers(opts.uri))
end

-- A request within the dialog of a 2xx. Its Request-URI is the Contact of that.
---@param res tandem.Response
---@param method string
---@param opts { headers: table?, body: string?, timeout: number? }
---@param credentials? { user: string, password: string }
function request.within(res, method, opts, credentials)
  local contact = credentials and res.contacts[1]
  return request.send({
    method = method, dialog = res,
    headers = opts.headers, body = opts.body, timeout = opts.timeout,
  }, credentials, contact and without_headers(contact.uri) or "")
end

---@param res tandem.Response a 2xx to an INVITE of our own
---@param method string "BYE"
---@param opts? tandem.InDialogRequest
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function request.in_dialog(res, method, opts)
  declare.check("res:request: method", options.method, method)
  local item = declare.check("res:request", options.in_dialog, opts or {})
  return request.within(res, method, item, credentials_of(item))
end

return request
