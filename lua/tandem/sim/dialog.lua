-- A dialog as one endpoint sees it (RFC 3261 section 12): tags, targets, route
-- set and sequence numbers.
local message = require "tandem.sim.message"
local ipairs, table = ipairs, table

local _ENV = nil

local dialog = {}

---@class tandem.sim.Dialog
local methods = {}
methods.__index = methods

local function target_of(msg)
  local contact = message.uri(msg:list("Contact")[1])
  return contact and contact.text
end

-- 12.1.1: from the request we answer, with the tag we gave it.
function dialog.of_request(request, tag)
  return message.class({
    call_id = request.call_id, local_tag = tag, remote_tag = request.from_tag,
    local_party = request:header "To", remote_party = request:header "From",
    target = target_of(request), routes = request:list "Record-Route",
    cseq = 0, remote_cseq = request.cseq, state = "early",
  }, methods)
end

-- 12.1.2: from the response to our request.
function dialog.of_response(response, cseq)
  local routes = {}
  for _, route in ipairs(response:list "Record-Route") do
    table.insert(routes, 1, route)
  end
  return message.class({
    call_id = response.call_id, local_tag = response.from_tag,
    remote_tag = response.to_tag, local_party = response:header "From",
    remote_party = response:header "To", target = target_of(response),
    routes = routes, cseq = cseq, state = "early",
  }, methods)
end

function dialog.key(call_id, local_tag, remote_tag)
  return table.concat({ call_id, local_tag or "", remote_tag or "" }, "|")
end

function methods:key()
  return dialog.key(self.call_id, self.local_tag, self.remote_tag)
end

local function with_tag(party, tag)
  if not tag or message.param(party, "tag") then
    return party
  end
  return party .. ";tag=" .. tag
end

-- 12.2.1.1: the headers of a request in this dialog, but CSeq and Via.
function methods:headers()
  local fields = {}
  for _, route in ipairs(self.routes) do
    fields[#fields + 1] = { "Route", route }
  end
  fields[#fields + 1] = { "From", with_tag(self.local_party, self.local_tag) }
  fields[#fields + 1] = { "To", with_tag(self.remote_party, self.remote_tag) }
  fields[#fields + 1] = { "Call-ID", self.call_id }
  return fields
end

-- The next hop's URI: the first route, else the remote target.
function methods:hop()
  return self.routes[1] or self.target
end

function methods:next_cseq()
  self.cseq = self.cseq + 1
  return self.cseq
end

-- A target refresh (12.2.1.2, 12.2.2).
function methods:refresh(msg)
  self.target = target_of(msg) or self.target
end

return dialog
