-- examples/answer.lua: not a proxy but an answering server, to try a proxy with. It
-- answers checks, registrations, calls and what comes within them.
local sip = require "tandem"

sip.listen { "udp:127.0.0.1:5080" }

-- Where callers reach us: the address this request came to.
local function contact(req)
  local here = req.listener
  local host = here.ip:find(":", 1, true) and "[" .. here.ip .. "]" or here.ip
  return ("<sip:answer@%s:%d;transport=%s>"):format(host, here.port, here.transport)
end

-- A session in which nothing is sent: held, for there is no media here.
local function sdp(req)
  local ip = req.listener.ip
  local family = ip:find(":", 1, true) and "IP6" or "IP4"
  return table.concat({
    "v=0", ("o=- 1 1 IN %s %s"):format(family, ip), "s=-", ("c=IN %s %s"):format(family, ip),
    "t=0 0", "m=audio 9 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=inactive", "",
  }, "\r\n")
end

local function answer(req)
  return req:reply(200, nil, {
    headers = { Contact = contact(req), ["Content-Type"] = "application/sdp" },
    body = sdp(req),
  })
end

sip.route("INVITE", answer)

sip.route("OPTIONS", function(req)
  return req:reply(200, nil, { headers = { Accept = "application/sdp" } })
end)

sip.route("REGISTER", function(req)
  local bindings = req:headers "Contact"
  local expires = req:header "Expires" or "3600"
  return req:reply(200, nil, { headers = { Contact = bindings, Expires = expires } })
end)

sip.route("*in_dialog", function(req)
  if req.method == "INVITE" or (req.method == "UPDATE" and req.body ~= "") then
    return answer(req)
  end
  return req:reply(200) -- BYE, INFO, ...
end)
