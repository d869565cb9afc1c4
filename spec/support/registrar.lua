-- A server that registers phones, as far as specs of Path need it: it remembers the
-- Contact and the Path of each user (RFC 3327 5.3) and calls a phone with them.
local _ENV = nil

local registrar = {}

-- Makes the endpoint one.
---@param server tandem.sim.Endpoint
---@return table bindings by user: contact (URI), path (list)
function registrar.new(server)
  local bindings = {}
  server:on("REGISTER", function(request, reply)
    local contact = request:list("Contact")[1]
    bindings[request:header("To"):match "sip:([^@]+)@"] = {
      contact = contact and contact:match "<(.-)>", path = request:list "Path",
    }
    reply(200)
  end)
  return bindings
end

-- A call from the server to a phone that has registered, along its Path.
---@param server tandem.sim.Endpoint
---@param binding table
---@param opts table?
---@return tandem.sim.Call
function registrar.invite(server, binding, opts)
  opts = opts or {}
  opts.route = binding.path
  return server:invite(binding.contact, opts)
end

return registrar
