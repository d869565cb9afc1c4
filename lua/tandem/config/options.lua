-- The options of every declaration and of the verbs, with their defaults.
local check_options = require "tandem.config.check_options"
local core = require "tandem.core"
local headers = require "tandem.verbs.headers"
local netset = require "tandem.config.netset"
local schema = require "tandem.config.schema"
local ipairs, math, pairs = ipairs, math, pairs
local tostring, type = tostring, type

local _ENV = nil

local options = {}

local seconds, integer, word = schema.seconds, schema.integer, schema.word
local default, required, record = schema.default, schema.required, schema.record
local duration = seconds { above = 0 }

-- What servers and pools are called: part of log lines, metrics and paths.
options.name = schema.matching("[%w_.-]+", "a name of letters, digits, '_', '.' and '-'")

options.uri = schema.custom(function(value)
  if type(value) ~= "string" then
    return false, ("a SIP URI expected, got %s"):format(type(value))
  end
  local uri, why = core.parse_uri(value)
  if not uri then
    return false, ("'%s' is no SIP URI: %s"):format(value, why)
  end
  return true, value
end)

-- A policy by name, a function (req, servers) -> server or list, or a module like
-- those in policy/.
options.policies = { "ordered", "round_robin", "weighted", "least_calls", "latency", "hash" }
local policy_name = word(options.policies)
local policy = schema.custom(function(value)
  if type(value) == "function" or (type(value) == "table" and type(value.new) == "function") then
    return true, value
  end
  return policy_name.check(value, "")
end)

options.check, options.server_check = check_options.types(options.uri)

options.failback = record({
  hold = default(seconds(), 30),
  hold_max = seconds(),
  enabled = default(schema.boolean, true),
  manual = default(schema.boolean, false),
}, function(out)
  out.hold_max = out.hold_max or math.max(600, out.hold)
  if out.hold_max < out.hold then
    return ("hold_max (%s) must not be less than hold (%s)"):format(out.hold_max, out.hold)
  end
end)

-- Or a function(pool, server) -> boolean, which then decides alone.
local failback = {
  check = function(value, path)
    if type(value) == "function" then
      return true, { hold = 0, hold_max = 600, enabled = true, manual = false, ask = value }
    end
    return options.failback.check(value, path)
  end,
}

options.passive = record {
  fall = default(integer { min = 1 }, 3),
  hold = default(seconds(), 30),
  codes = schema.list(integer { min = 300, max = 699 }),
}

-- "local": no usable answer (timeout, transport); numbers: answers.
local retry_code = integer { min = 300, max = 699 }
local retry_on = schema.list(schema.custom(function(value)
  if value == "local" then
    return true, value
  elseif type(value) == "number" then
    return retry_code.check(value, "")
  end
  return false, "\"local\" or a response code expected"
end))

local function one_limit(out)
  if out.timeout and out.retransmits then
    return "timeout and retransmits exclude each other"
  end
end

-- The limits of one attempt, and what else a verb takes.
local function attempt(more)
  local fields = {
    timeout = duration,
    retransmits = integer { min = 0, max = 10 },
    progress_timeout = duration,
    ring_timeout = duration,
  }
  for name, item in pairs(more) do
    fields[name] = item
  end
  return record(fields, one_limit)
end

local resource_name = schema.custom(function(value)
  if type(value) == "string" and #value > 31 then
    return false, ("'%s' is longer than 31 characters"):format(value)
  end
  return options.name.check(value, "")
end)

-- What a call takes of its server: { "pstn" } or { pstn = 2 }; the latter comes out.
local units = integer { min = 1, max = 255 }
options.resources = schema.custom(function(value)
  if type(value) ~= "table" then
    return false, ("a list of names or { name = units } expected, got %s"):format(type(value))
  end
  local out = {}
  for key, item in pairs(value) do
    local name = math.type(key) == "integer" and item or key
    local ok, why = resource_name.check(name, "")
    if not ok then
      return false, why
    end
    ok, why = units.check(name == key and item or 1, name)
    if not ok then
      return false, why
    end
    out[name] = (out[name] or 0) + (name == key and item or 1)
  end
  return true, out
end)

options.attempt = attempt {
  last_timeout = duration,
  attempts = integer { min = 1 },
  budget = duration,
}

options.try = attempt {
  key = schema.string,
  resources = options.resources,
  on_response = schema.func,
}

options.relay = attempt {
  key = schema.string,
  resources = options.resources,
  on_response = schema.func,
  last_timeout = duration,
  attempts = integer { min = 1 },
  budget = duration,
  retry_on = retry_on,
}

options.each = record { key = schema.string, resources = options.resources }
options.forward = record { keep_503 = default(schema.boolean, false) }

-- What a server has of named things: { pstn = 500, conf = 100 }.
local max_resources = 8
local capacity = integer { min = 0, max = 1000000 }
local capacities = schema.custom(function(value)
  if type(value) ~= "table" then
    return false, ("{ name = how many } expected, got %s"):format(type(value))
  end
  local out, count = {}, 0
  for name, item in pairs(value) do
    local ok, why = resource_name.check(name, "")
    if not ok then
      return false, why
    end
    ok, why = capacity.check(item, name)
    if not ok then
      return false, why
    end
    out[name], count = item, count + 1
  end
  if count > max_resources then
    return false, ("at most %d resources, got %d"):format(max_resources, count)
  end
  return true, out
end)

-- Addresses as in URIs: "10.0.0.1", "10.0.1.1:5070", "[2001:db8::1]:5060".
local address = schema.custom(function(value)
  local uri = type(value) == "string" and value:find "^[%x.:%[%]]+$"
    and core.parse_uri("sip:" .. value)
  if not uri or not uri.ip then
    return false, ("an IP address expected, with or without a port, got '%s'")
      :format(tostring(value))
  end
  return true, value
end)
local max_addresses = 8
local address_list = schema.list(address, { min = 1, max = max_addresses })
local addresses = {
  check = function(value, path)
    local ok, result = address_list.check(value, path)
    local seen = {}
    for _, item in ipairs(ok and result or {}) do
      if seen[item] then
        return false, ("%s: '%s' is there twice"):format(path, item)
      end
      seen[item] = true
    end
    return ok, result
  end,
}

-- How connections to a server are opened, and who it has to be. What a server does
-- not say is as its pool says.
local tls_fields = {
  cert = schema.string,
  key = schema.string,
  ca = schema.string,
  verify = schema.boolean,
  name = schema.matching("[%w.:%[%]-]+", "a host name or an IP address"),
}
options.tls = record(tls_fields)

options.server = record {
  name = required(options.name),
  uri = required(options.uri),
  addresses = addresses,
  tier = default(integer { min = 1 }, 1),
  weight = default(integer { min = 0 }, 1),
  max_calls = integer { min = 0 },
  max_cps = schema.number { above = 0 },
  admin = default(word { "ready", "drain", "maint" }, "ready"),
  resources = capacities,
  rewrite = word { "host", "uri" },
  tls = options.tls,
  check = schema.off_or(options.server_check),
}

-- { "sip:trunk.example.com", stale = 3600 }: names, and how they are looked up.
local names = schema.list(options.uri, { min = 1, max = 8 })
local how_to_discover = record {
  stale = default(seconds(), 3600),
  max = default(integer { min = 1, max = 64 }, 16),
  rewrite = word { "host", "uri" },
}
local discover = {
  check = function(value, path)
    if type(value) ~= "table" then
      return how_to_discover.check(value, path)
    end
    local list, named = {}, {}
    for key, item in pairs(value) do
      local part = math.type(key) == "integer" and list or named
      part[key] = item
    end
    local ok, out = how_to_discover.check(named, path)
    if not ok then
      return false, out
    end
    ok, list = names.check(list, path)
    if not ok then
      return false, list
    end
    out.names = list
    return true, out
  end,
}

local default_check = schema.validate("", options.check, {})

-- Without checks the hold alone ends a passive fall.
local function needs_no_hold(out, check)
  return check or not out.passive or out.passive.hold > 0
end

-- Every server gets the checks that are its own; or what is wrong with them.
local function complete_checks(out)
  local of_pool = out.check
  local merged, wrong = check_options.merge(of_pool, nil, default_check)
  out.check = merged
  if wrong then
    return "check: " .. wrong
  elseif out.discover and not needs_no_hold(out, merged) then
    return "passive.hold: more than 0 expected: nothing else keeps a server away "
      .. "that has no checks"
  end
  for i, item in ipairs(out.servers or {}) do
    item.check, wrong = check_options.merge(of_pool, item.check, default_check)
    if wrong then
      return ("servers[%d].check: %s"):format(i, wrong)
    elseif not needs_no_hold(out, item.check) then
      return ("passive.hold: more than 0 expected: nothing else keeps '%s' away, "
        .. "which has no checks"):format(item.name)
    end
  end
end

local function merged_tls(of_pool, of_server)
  local out = {}
  for name in pairs(tls_fields) do
    local value = of_server and of_server[name]
    if value == nil then
      value = of_pool[name]
    end
    out[name] = value
  end
  if out.verify == nil then
    out.verify = true
  end
  return out
end

local function wrong_tls(tls)
  if (tls.cert == nil) ~= (tls.key == nil) then
    return "cert and key go together"
  elseif not tls.verify and (tls.ca or tls.name) then
    return "ca and name say what to verify; verify is false"
  end
end

-- Every server gets what is said of TLS for it; or what is wrong with it.
local function complete_tls(out)
  local of_pool = out.tls or {}
  for i, item in ipairs(out.servers or {}) do
    item.tls = (item.tls or out.tls) and merged_tls(of_pool, item.tls)
    local wrong = item.tls and wrong_tls(item.tls)
    if wrong then
      return ("servers[%d].tls: %s"):format(i, wrong)
    end
  end
  out.tls = out.tls and merged_tls(of_pool, nil)
  local wrong = out.tls and wrong_tls(out.tls)
  return wrong and "tls: " .. wrong
end

-- Who is not in the path of a call does not see its end.
local function counts_calls(server)
  return (server.max_calls and "max_calls") or (server.resources and "resources")
end

-- Declared or found, not both.
local function choose_source(out)
  if (out.servers == nil) == (out.discover == nil) then
    return out.servers and "servers and discover exclude each other" or "'servers' is missing"
  end
  out.policy = out.policy or (out.discover and "weighted" or "ordered")
end

options.pool = record({
  servers = schema.list(options.server),
  discover = discover,
  policy = policy,
  tls = options.tls,
  check = default(schema.off_or(options.check), {}),
  passive = default(schema.off_or(options.passive), {}),
  failback = default(failback, {}),
  keep = default(integer { min = 0 }, 1),
  all_down = default(word { "try", "fail" }, "try"),
  attempt = default(options.attempt, {}),
  retry_on = default(retry_on, { "local", 503 }),
  record_route = default(schema.boolean, true),
  shared_dialogs = default(schema.boolean, false),
  path = default(schema.off_or(word { "supported", "always" }), false),
  bound = schema.number { min = 1 },
  slow_start = duration,
  max_duration = default(seconds { min = 1 }, 12 * 3600),
}, function(out)
  local wrong = choose_source(out)
  if wrong then
    return wrong
  elseif out.path and not out.record_route then
    return "path needs record_route: calls of its phones have to come through here"
  elseif out.shared_dialogs and not out.record_route then
    return "shared_dialogs needs record_route: calls have to come through here"
  end
  local seen = {}
  for i, item in ipairs(out.servers or {}) do
    if seen[item.name] then
      return ("servers[%d]: there is a server '%s' already"):format(i, item.name)
    elseif not out.record_route and counts_calls(item) then
      return ("servers[%d]: %s needs record_route = true: the end of a call is not seen "
        .. "otherwise"):format(i, counts_calls(item))
    end
    seen[item.name] = true
  end
  if out.bound and out.policy ~= "hash" then
    return "bound is an option of policy = \"hash\""
  end
  return complete_tls(out) or complete_checks(out)
end)

local host = schema.matching("[%w.:%[%]-]+", "a host name or an IP address")

options.listener = record({
  address = required(schema.string),
  advertise = host,
  cert = schema.string,
  key = schema.string,
  ca = schema.string,
  verify = schema.boolean,
}, function(out)
  return ((out.cert == nil) ~= (out.key == nil) and "cert and key go together")
    or (out.verify and not out.ca and "verify needs ca: who vouches for the clients")
    or (out.ca and not out.verify and "ca is for verify = true") or nil
end)

-- Of connections: how long, how many, how much.
options.tcp = record {
  connect_timeout = duration,
  handshake_timeout = duration,
  header_timeout = duration,
  idle_timeout = duration,
  per_source = integer { min = 1, max = 1000000 },
  connections = integer { min = 1, max = 1000000 },
  max_message = integer { min = 1024, max = 65535 },
  max_queue = integer { min = 65535, max = 16777216 },
}

options.udp = record { gso = default(schema.boolean, true) }

local most_dns_servers = 4
local dns = record({
  servers = schema.list(address, { min = 1, max = most_dns_servers }),
  timeout = seconds { min = 0.1, max = 10 },
  ttl_min = seconds { min = 1, max = 86400 },
  ttl_max = seconds { min = 1, max = 86400 },
  negative = seconds { min = 1, max = 3600 },
  stale = seconds { max = 7 * 86400 },
  names = integer { min = 64, max = 1000000 },
}, function(out)
  if (out.ttl_min or 1) > (out.ttl_max or 3600) then
    return ("dns.ttl_min: more than ttl_max (%s)"):format(out.ttl_max or 3600)
  end
end)

-- "udp:192.0.2.9:9060"; comes out as an address with a port.
local collector = schema.custom(function(value)
  local rest = type(value) == "string" and value:match "^udp:(.*)$"
  local ok = rest and address.check(rest, "")
  if not ok then
    return false, ("udp:IP[:PORT] expected, got '%s'"):format(tostring(value))
  end
  local uri = core.parse_uri("sip:" .. rest)
  return true, ("%s:%d"):format(uri.host, uri.port or 9060)
end)

-- "10.0.0.101" or "10.0.0.101:5070": an address with a port.
local node = schema.custom(function(value)
  local ok = type(value) == "string" and address.check(value, "")
  if not ok then
    return false, ("IP[:PORT] expected, got '%s'"):format(tostring(value))
  end
  local uri = core.parse_uri("sip:" .. value)
  return true, ("%s:%d"):format(uri.host, uri.port or 5060)
end)

-- Whom one may call in an overload too: the user part of a Request-URI.
local number = schema.custom(function(value)
  if type(value) == "string" and value:find "^[%w+*#._-]+$" and #value <= 32 then
    return true, value
  end
  return false, ("a number expected, as \"112\", got '%s'"):format(tostring(value))
end)

options.overload = record {
  delay = default(seconds { min = 0.005, max = 1 }, 0.05),
  retry_after = schema.off_or(integer { min = 1, max = 3600 }),
  exempt = schema.list(number, { max = 16 }),
}

-- A text of a HEP packet.
local short = schema.custom(function(value)
  if type(value) == "string" and value:find "^[\32-\126]+$" and #value < 256 then
    return true, value
  end
  return false, "1 to 255 printable ASCII characters expected"
end)

options.trace = record {
  hep = collector,
  id = default(integer { min = 0, max = 4294967295 }, 2001),
  name = short,
  password = short,
  share = default(schema.number { min = 0, max = 1 }, 1),
  redact = default(schema.boolean, true),
}

-- A path, or a table with more; the latter comes out.
local notify = record {
  program = required(schema.string),
  per_minute = default(integer { min = 1, max = 6000 }, 60),
  timeout = default(seconds { min = 1, max = 3600 }, 30),
}
options.notify = notify
local notify_or_path = {
  check = function(value, path)
    return notify.check(type(value) == "string" and { program = value } or value, path)
  end,
}

options.settings = record {
  workers = integer { min = 1, max = 64 },
  log_level = word { "debug", "info", "warn", "error" },
  stop_timeout = seconds { max = 86400 },
  drain_notice = seconds { max = 3600 },
  watchdog = schema.off_or(seconds { min = 3, max = 3600 }),
  state_dir = schema.string,
  key_file = schema.string,
  timers = record { t1 = duration, t2 = duration, t4 = duration },
  domains = schema.list(host),
  trust = netset.type,
  dns = dns,
  trying = word { "commit", "rfc" },
  late_answer = word { "bye", "forward" },
  stateless_relay = schema.off_or(word { "all", "invite" }),
  nodes = schema.list(node),
  tcp = options.tcp,
  udp = options.udp,
  udp_max = schema.off_or(integer { min = 512, max = 65535 }),
  trace = options.trace,
  notify = notify_or_path,
  overload = schema.off_or(options.overload),
  max_memory = schema.off_or(integer { min = 8388608 }),
  why_memory = schema.off_or(integer { min = 262144, max = 1073741824 }),
  lua = record {
    memory = schema.number { min = 1e6 },
    burst = seconds { min = 0.001, max = 10 },
  },
}

options.every = record {
  jitter = default(schema.number { min = 0, max = 0.5 }, 0),
  per_worker = default(schema.boolean, false),
}
options.resolve = record { key = schema.string }
options.on = record { per_worker = default(schema.boolean, false) }

-- Names as Prometheus wants them.
options.metric = schema.matching("[%l_][%l%d_]*", "a name of small letters, digits and '_'")
options.labels = schema.custom(function(given)
  if type(given) ~= "table" then
    return false, ("a table { label = \"value\" } expected, got %s"):format(type(given))
  end
  local out = {}
  for name, value in pairs(given) do
    if type(name) ~= "string" or not name:find "^[%l_][%l%d_]*$" or name:find "^__"
      or name == "le" or name == "quantile" then -- which Prometheus keeps for itself
      return false, ("'%s' is no label name"):format(name)
    elseif type(value) ~= "string" then
      return false, ("%s: a string expected, got %s"):format(name, type(value))
    end
    out[name] = value
  end
  return true, out
end)

options.method = schema.matching("[%w%-.!%%*_+`'~]+", "a method")

options.request = record({
  method = required(options.method),
  uri = required(options.uri),
  from = options.uri,
  to = options.uri,
  headers = headers.type,
  body = schema.string,
  timeout = duration,
  user = check_options.user,
  password = check_options.password,
}, check_options.wrong_credentials)

options.in_dialog = record({
  headers = headers.type,
  body = schema.string,
  timeout = duration,
  user = check_options.user,
  password = check_options.password,
}, check_options.wrong_credentials)

options.reply = record({
  headers = headers.type,
  body = schema.string,
}, function(out)
  if out.body and not headers.has(out.headers, "Content-Type") then
    return "a body needs a Content-Type header"
  end
end)

return options
