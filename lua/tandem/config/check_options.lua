-- The options of checks: what a pool says, what a server says otherwise, and the
-- defaults that depend on the method.
local schema = require "tandem.config.schema"
local ipairs, math, pairs, type = ipairs, math, pairs, type

local _ENV = nil

local check_options = {}

local default, duration = schema.default, schema.seconds { above = 0 }
local positive = schema.integer { min = 1 }

-- A call may take its time, a registrar may ask another one (semantics 23).
local timeouts = { OPTIONS = 1, REGISTER = 32, INVITE = 32 }
local intervals = { OPTIONS = 2, REGISTER = 60, INVITE = 60 }

local method_name = schema.word { "OPTIONS", "REGISTER", "INVITE" }
local method = schema.custom(function(value)
  if type(value) == "function" then
    return true, value
  end
  return method_name.check(value, "")
end)

-- Which answers are good: "any" but 5xx, a list of codes, or a function(res) ->
-- boolean.
local codes = schema.list(schema.integer { min = 200, max = 699 }, { min = 1 })
local expect = schema.custom(function(value)
  if value == "any" or type(value) == "function" then
    return true, value
  elseif type(value) == "table" then
    return codes.check(value, "")
  end
  return false, "\"any\", a list of response codes or a function expected"
end)

-- A number of seconds, or { first, longest }: doubled from one to the other.
local steps = schema.list(duration, { min = 2, max = 2 })
local down_interval = schema.custom(function(value)
  if type(value) ~= "table" then
    return duration.check(value, "")
  end
  local ok, result = steps.check(value, "")
  if ok and result[1] > result[2] then
    return false, ("{ first, longest } expected, got { %s, %s }"):format(result[1], result[2])
  end
  return ok, result
end)

-- The shortest time between the beginnings of two checks.
local function shortest(conf)
  local down = conf.down_interval
  return type(down) == "table" and down[1] or down
end

-- Never two in flight: a check is not repeated before the last one had its time.
local function wrong_times(conf)
  local down = shortest(conf)
  if conf.timeout >= conf.interval then
    return ("timeout (%s) must be shorter than interval (%s)")
      :format(conf.timeout, conf.interval)
  elseif conf.fast_interval > conf.interval then
    return ("fast_interval (%s) must not be longer than interval (%s)")
      :format(conf.fast_interval, conf.interval)
  elseif conf.fast_interval < conf.timeout then
    return ("timeout (%s) must not be longer than fast_interval (%s)")
      :format(conf.timeout, conf.fast_interval)
  elseif down and down < conf.timeout then
    return ("timeout (%s) must not be longer than down_interval (%s)")
      :format(conf.timeout, down)
  end
end

-- Credentials of a request; what is wrong is not repeated in the message.
check_options.user = schema.matching('[^%c"\\]+', "a user name without quotes")
check_options.password = schema.custom(function(value)
  if type(value) ~= "string" or value:find "%c" then
    return false, "a string without control characters expected"
  end
  return true, value
end)

---@param out { user: string?, password: string? }
---@return string?
function check_options.wrong_credentials(out)
  if (out.user == nil) ~= (out.password == nil) then
    return "user and password go together"
  end
end

-- What a server may say otherwise; `uri` is the type of a SIP URI.
local function fields_of(uri)
  return {
    method = method,
    when = schema.word { "always", "down", "backup" },
    interval = duration, fast_interval = duration, down_interval = down_interval,
    timeout = duration,
    fall = positive, rise = positive,
    jitter = schema.number { min = 0, max = 0.5 },
    expect = expect,
    from = uri, to = uri,
    user = check_options.user, password = check_options.password,
    contact = schema.matching("[^%c]+", "the value of a Contact header"),
    socket = schema.string,
  }
end

-- The types of a pool's `check` and of a server's.
---@param uri table a type of schema.lua
---@return table of_pool
---@return table of_server
function check_options.types(uri)
  local fields, own = fields_of(uri), fields_of(uri)
  for name, value in pairs {
    method = "OPTIONS", when = "always", fall = 3, rise = 2, jitter = 0.1, expect = "any",
  } do
    fields[name] = default(own[name], value)
  end
  return schema.record(fields), schema.record(own)
end

local needs_request = { "from", "to", "user", "password", "contact", "socket" }

local function wrong_mixture(conf)
  if type(conf.method) == "function" then
    for _, name in ipairs(needs_request) do
      if conf[name] then
        return ("%s: a function sends what it likes; this is for requests"):format(name)
      end
    end
  elseif conf.contact and conf.method ~= "REGISTER" then
    return "contact: only a REGISTER has one"
  elseif conf.password and not conf.user then
    return "password: a user is missing"
  end
end

-- Fills in what depends on the method. Nil and what is wrong with it.
---@param given table checked
---@return table? conf
---@return string? why
function check_options.complete(given)
  local conf, kind = {}, type(given.method) == "function" and "OPTIONS" or given.method
  for name, value in pairs(given) do
    conf[name] = value
  end
  conf.timeout = conf.timeout or timeouts[kind]
  conf.interval = conf.interval or intervals[kind]
  conf.fast_interval = conf.fast_interval
    or math.min(conf.interval, math.max(1, conf.timeout))
  local wrong = wrong_times(conf) or wrong_mixture(conf)
  if wrong then
    return nil, wrong
  end
  return conf
end

-- What a server's own options make of its pool's.
---@param of_pool table|false
---@param of_server table|false|nil
---@param defaults table those of a pool without options
---@return table|false|nil conf
---@return string? why
function check_options.merge(of_pool, of_server, defaults)
  if of_server == false or (of_server == nil and not of_pool) then
    return false
  end
  local merged = {}
  for _, part in ipairs { of_pool or defaults, of_server or {} } do
    for name, value in pairs(part) do
      merged[name] = value
    end
  end
  return check_options.complete(merged)
end

return check_options
