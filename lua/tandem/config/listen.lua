-- sip.listen { "udp:0.0.0.0:5060", { "udp:[::]:5060", advertise = "sip.example.com" } }
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local misuse = require "tandem.config.misuse"
local options = require "tandem.config.options"
local ipairs, pairs, tostring, type = ipairs, pairs, tostring, type

local _ENV = nil

local of_tls = { "cert", "key", "ca", "verify" }

local function check_tls(item, address, title)
  if address.transport ~= "tls" then
    for _, name in ipairs(of_tls) do
      if item[name] ~= nil then
        misuse("%s: %s is an option of tls: listeners", title, name)
      end
    end
    return
  elseif not item.cert then
    misuse("%s: a TLS listener needs a certificate: { \"%s\", cert = \"chain.pem\", "
      .. "key = \"key.pem\" }", title, item.address)
  end
  local wrong = core.check_tls(item, "listener")
  if wrong then
    misuse("%s: %s", title, wrong)
  end
end

local function add(given, title)
  if type(given) == "string" then
    given = { given }
  elseif type(given) ~= "table" then
    misuse("%s: an address such as 'udp:0.0.0.0:5060' expected, got %s", title, type(given))
  end
  local named = {}
  for key, value in pairs(given) do
    named[key == 1 and "address" or key] = value
  end
  local item = declare.check(title, options.listener, named)
  local address, why = core.parse_addr(item.address)
  if not address then
    misuse("%s: '%s': %s", title, item.address, why)
  end
  check_tls(item, address, title)
  declare.once(("listener '%s'"):format(item.address))
  declare.keep("listen", {
    transport = address.transport, host = address.host, port = address.port,
    advertise = item.advertise,
    cert = item.cert, key = item.key, ca = item.ca, verify = item.verify,
  })
end

---@param list (string|tandem.Listener)[]
return function(list)
  declare.loading "sip.listen"
  if type(list) == "string" then
    list = { list }
  elseif type(list) ~= "table" then
    misuse("sip.listen: a list of addresses expected, got %s", type(list))
  end
  for key in pairs(list) do
    if type(key) ~= "number" then
      misuse("sip.listen: unknown option '%s'; it goes with its address: "
        .. "{ { \"udp:0.0.0.0:5060\", %s = ... } }", tostring(key), tostring(key))
    end
  end
  for i, item in ipairs(list) do
    add(item, ("sip.listen: item %d"):format(i))
  end
end
