-- The script of fuzz_core: what a user can do with a request, one way per user name of
-- the Request-URI. It raises for nothing that a caller or a server may say.
local sip = require "tandem"

sip.listen {
  "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" }, "udp:[::]:5060",
}

sip.settings {
  workers = 2, trust = { "10.0.0.9" }, domains = { "example.com" }, why_memory = 262144,
  dns = { servers = { "10.0.0.53" }, ttl_max = 60, negative = 1, stale = 0 },
}

local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1, max_calls = 20 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  },
  check = false, path = "always", shared_dialogs = true, attempt = { timeout = 2 },
})

local far = sip.pool("far", {
  servers = {
    { name = "c", uri = "sip:10.0.0.3;transport=tcp", rewrite = "host" },
    { name = "d", uri = "sip:10.0.0.4:5061;transport=tls", rewrite = "uri" },
  },
  check = false, policy = "hash",
})

local a, b = pbx:server "a", pbx:server "b"
local ways = {}

function ways.far(req)
  return req:relay(far, { progress_timeout = 3, ring_timeout = 20 })
end

function ways.each(req)
  for server in pbx:each(req) do
    local res, err = req:try(server, { timeout = 1 })
    if err == "cancelled" then
      return
    elseif res and res.code ~= 503 then
      return res:forward()
    elseif res and res.retry_after then
      server:hold(math.min(res.retry_after, 60))
    end
  end
  return req:reply(500, "No PBX available")
end

function ways.fork(req)
  local res = req:fork({ a, b, far:server "c" }, { timeout = 3 })
  if res then
    return res:forward { keep_503 = true }
  elseif not req:decided() then
    return req:reply(480)
  end
end

function ways.redirect(req)
  local res, err = req:try(a)
  if res and res.code >= 300 and res.code < 400 then
    res, err = req:fork(res.contacts)
  end
  if res then
    return res:forward()
  elseif err ~= "cancelled" then
    return req:reply(500, err)
  end
end

-- What came in can go out again, whatever it is.
function ways.edit(req)
  req.vars.n = #req:headers()
  for _, field in ipairs(req:headers "Subject") do
    req:add_header("X-Copy", field)
  end
  req:set_header("User-Agent", req:header "User-Agent" or "none")
  req:del_header "Supported"
  req:set_header("X-From", (req.from.display or "") .. req.from.uri)
  for name, value in pairs(req.ruri.params) do
    req:add_header("X-Parameter", name .. "=" .. value)
  end
  req.ruri.user = "edited"
  return req:relay(pbx, {
    on_response = function(res)
      res:set_header("X-Code", tostring(res.code))
      res:del_header "Server"
      for _, contact in ipairs(res.contacts) do
        res:add_header("X-Contact", contact.uri)
      end
    end,
  })
end

function ways.uri(req)
  return req:relay("sip:someone@example.com", { timeout = 3 })
end

function ways.own(req)
  local res, err = sip.request {
    method = "OPTIONS", uri = "sip:10.0.0.1", timeout = 3, user = "u", password = "p",
  }
  if not req:decided() then
    return req:reply(res and 200 or 480, err)
  end
end

function ways.call(req)
  local res = sip.request { method = "INVITE", uri = "sip:10.0.0.2", timeout = 5 }
  if res and res.code < 300 then
    pcall(res.request, res, "BYE", { timeout = 2 }) -- raises when there is no Contact
  end
  if not req:decided() then
    return req:reply(486)
  end
end

function ways.answer(req)
  if req.method == "INVITE" then
    req:reply(180)
    sip.sleep(0.5)
  end
  if not req:decided() then
    return req:reply(200, "Fine", { headers = { Contact = "<sip:10.0.0.100>" } })
  end
end

function ways.task(req)
  local task = sip.spawn(function()
    sip.sleep(1)
    return sip.shared("seen"):incr(req.call_id, 1, 0, 5)
  end)
  local n = task:wait()
  if n and n > 2 then
    return req:drop "seen"
  end
  return req:relay(pbx, { key = req.from.text, attempts = 1 })
end

sip.route(function(req)
  local way = ways[req.ruri.user]
  if way then
    return way(req)
  end
  return req:relay(pbx)
end)
