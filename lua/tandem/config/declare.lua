-- The declaring half of a script: what is declared while it loads, where, and all
-- of it as the plan and the canonical dump for the proxy.
local core = require "tandem.core"
local dump = require "tandem.config.dump"
local misuse = require "tandem.config.misuse"
local review = require "tandem.config.review"
local schema = require "tandem.config.schema"
local ipairs, table = ipairs, table

local _ENV = nil

local declare = {}

local declared = { listen = {}, pools = {}, netsets = {}, data = {}, routes = {} }
local places = {} -- what -> where it was declared
local verifiers = {}
local closed = false

-- Raises when the script has been loaded.
---@param verb string "sip.pool"
function declare.loading(verb)
  if core.phase() ~= "load" then
    misuse("%s declares, which is only possible while the script loads", verb)
  elseif closed then
    misuse("%s declares, and a self-test looks at what is declared already", verb)
  end
end

-- Raises with the message of the schema.
---@param title string
---@param item table a type of schema.lua
---@param value any
---@return any
function declare.check(title, item, value)
  local result, message = schema.validate(title, item, value)
  if message then
    misuse("%s", message)
  end
  return result
end

-- Raises when this was declared before.
---@param what string "pool 'pbx'"
function declare.once(what)
  if places[what] then
    misuse("%s has been declared before, at %s", what, places[what])
  end
  places[what] = core.where() or "?"
end

-- Keeps a declaration for the dump: `key` in the part `part`, or the next of it.
---@param part "listen"|"pools"|"netsets"|"data"|"routes"
---@param value any plain data
---@param key? string
function declare.keep(part, value, key)
  local list = declared[part]
  list[key or #list + 1] = value
end

---@param settings table
function declare.settings(settings)
  declared.settings = settings
end

-- One of the settings; nil when it was not given.
---@param name string
function declare.setting(name)
  return declared.settings and declared.settings[name]
end

local function flat_overload(conf)
  if not conf then
    return conf == false and { delay = 0 } or nil
  end
  return {
    delay = conf.delay, exempt = conf.exempt,
    retry_after = conf.retry_after == false and 0 or conf.retry_after,
  }
end

local function flat(settings)
  local timers, lua = settings.timers or {}, settings.lua or {}
  return {
    workers = settings.workers,
    log_level = settings.log_level,
    stop_timeout = settings.stop_timeout,
    drain_notice = settings.drain_notice,
    watchdog = settings.watchdog == false and 0 or settings.watchdog,
    state_dir = settings.state_dir,
    key_file = settings.key_file,
    t1 = timers.t1, t2 = timers.t2, t4 = timers.t4,
    trying = settings.trying,
    late_answer = settings.late_answer,
    nodes = settings.nodes,
    stateless_relay = settings.stateless_relay == false and "none" or settings.stateless_relay,
    tcp = settings.tcp,
    udp = settings.udp,
    udp_max = settings.udp_max == false and 0 or settings.udp_max,
    why_memory = settings.why_memory == false and 0 or settings.why_memory,
    overload = flat_overload(settings.overload),
    max_memory = settings.max_memory == false and 0 or settings.max_memory,
    domains = settings.domains,
    trust = settings.trust,
    dns = settings.dns,
    trace = settings.trace,
    notify = settings.notify,
    lua_memory = lua.memory,
    lua_burst = lua.burst,
  }
end

-- Something that can be checked only when all is declared.
---@param verify fun()
function declare.at_end(verify)
  verifiers[#verifiers + 1] = verify
end

-- Will we listen there?
---@param address { transport: string, host: string, port: integer? } of core.parse_addr
---@return boolean
function declare.listens(address)
  for _, item in ipairs(declared.listen) do
    if item.transport == address.transport and item.host == address.host
      and (item.port or 0) == (address.port or 0) then
      return true
    end
  end
  return #declared.listen == 0 -- then the command line says where
end

-- Is there a listener of this transport?
---@param transport "udp"|"tcp"|"tls"
---@return boolean
function declare.speaks(transport)
  for _, item in ipairs(declared.listen) do
    if item.transport == transport then
      return true
    end
  end
  return #declared.listen == 0 -- then the command line says where
end

-- All declarations as canonical JSON.
---@return string
function declare.dump()
  return dump(declared)
end

local function lines(list)
  return table.concat(list, "\n") .. (#list > 0 and "\n" or "")
end

-- Nothing more is declared: is it right as a whole?
function declare.close()
  for _, verify in ipairs(verifiers) do
    verify()
  end
  closed = true
end

-- What the proxy needs to know once the script is loaded.
function declare.plan()
  local listen = {}
  for i, item in ipairs(declared.listen) do
    listen[i] = item
  end
  return {
    listen = listen, settings = flat(declared.settings or {}), dump = declare.dump(),
    findings = lines(review.findings(declared)), secrets = lines(review.secrets(declared)),
  }
end

return declare
