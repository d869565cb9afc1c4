-- req:reply(code[, reason][, { headers =, body = }]) and res:forward([opts]): the
-- arguments of the verbs, checked.
local misuse = require "tandem.config.misuse"
local options = require "tandem.config.options"
local try = require "tandem.verbs.try"
local math, type = math, type

local forward = require("tandem.core").Response._forward

local _ENV = nil

local verbs = {}

---@param req tandem.Request
---@param code integer
---@param reason? string
---@param opts? tandem.ReplyOptions
function verbs.reply(req, code, reason, opts)
  if math.type(code) ~= "integer" or code < 100 or code > 699 then
    misuse("req:reply: a response code from 100 to 699 expected, got %s", code)
  elseif code == 408 and req.method ~= "INVITE" then
    -- RFC 4320: it would come too late, and make others retry
    misuse("req:reply: 408 is no answer to %s; end without a reply: req:drop(why)", req.method)
  elseif reason ~= nil and type(reason) ~= "string" then
    misuse("req:reply: reason: a string expected, got %s", type(reason))
  elseif reason and reason:find "[%c]" then
    misuse "req:reply: the reason cannot contain control characters"
  end
  local more = try.options("req:reply", options.reply, opts)
  return req:_reply(code, reason, more.headers or {}, more.body)
end

---@param res tandem.Response
---@param opts? tandem.ForwardOptions
function verbs.forward(res, opts)
  local checked = opts ~= nil and try.options("res:forward", options.forward, opts)
  return forward(res, checked and checked.keep_503)
end

return verbs
