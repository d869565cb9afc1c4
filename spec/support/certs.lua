-- Certificates for specs of TLS, made by openssl in the folder of the test.
--
--   local ca = certs.authority "ca"
--   local pbx = ca:issue("pbx", { names = { "pbx.example.com" } })
--   sip.listen { { "tls:...", cert = "pbx.pem", key = "pbx.key" } }  -- beside the script
local process = require "support.process"
local sh = require "support.sh"
local error, ipairs, os, setmetatable = error, ipairs, os, setmetatable
local string, table = string, table

local _ENV = nil

local certs = {}
local Authority = {}
Authority.__index = Authority

local function openssl(...)
  local ok, output = sh.run("openssl " .. string.format(...))
  if not ok then
    error(output, 2)
  end
end

-- The name of a file that is right from every folder.
local function file(name)
  return os.getenv "PWD" .. "/" .. process.path(name)
end

-- Names, addresses and URIs as the subjectAltName extension has them.
local function alternatives(options)
  local list = {}
  for kind, values in ipairs { options.names or {}, options.ips or {}, options.uris or {} } do
    for _, value in ipairs(values) do
      list[#list + 1] = ({ "DNS:", "IP:", "URI:" })[kind] .. value
    end
  end
  return list[1] and "subjectAltName=" .. table.concat(list, ",")
end

-- One that signs itself, with a key of its own: { cert = PATH, key = PATH, name = }.
-- options: names, ips, uris (lists, of what it is for), subject ("/CN=<name>").
function certs.self_signed(name, options)
  local self = { name = name, cert = file(name .. ".pem"),
    key = file(name .. ".key") }
  local san = alternatives(options or {})
  openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
    .. "-subj '%s' -keyout %s -out %s %s", options and options.subject or "/CN=" .. name,
    self.key, self.cert, san and "-addext '" .. san .. "'" or "")
  return self
end

-- Somebody who signs others.
function certs.authority(name)
  return setmetatable(certs.self_signed(name), Authority)
end

-- A certificate for somebody. options as above, and `expired`: it was valid until
-- yesterday. A name that is used again gets new files in the place of the old ones.
function Authority:issue(name, options)
  local made = { name = name, cert = file(name .. ".pem"),
    key = file(name .. ".key") }
  local request = process.path(name .. ".csr")
  local san = alternatives(options)
  local extensions = process.write(name .. ".ext", (san or "") .. "\n")
  openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '%s' "
    .. "-keyout %s -out %s", options.subject or "/CN=" .. name, made.key, request)
  openssl("x509 -req -in %s -CA %s -CAkey %s -CAcreateserial -days %d -extfile %s -out %s",
    request, self.cert, self.key, options.expired and -1 or 30, extensions, made.cert)
  return made
end

return certs
