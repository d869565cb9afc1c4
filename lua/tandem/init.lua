-- What `require "tandem"` gives to a script.
local core = require "tandem.core"
local answers = require "tandem.answers"
local data = require "tandem.config.data"
local declare = require "tandem.config.declare"
local events = require "tandem.events"
local fork = require "tandem.verbs.fork"
local _ = require "tandem.inspect" -- for the host: nothing can be loaded later
local _ = require "tandem.glance"
local life = require "tandem.life"
local link = require "tandem.link"
local listen = require "tandem.config.listen"
local log = require "tandem.log"
local _ = require "tandem.measure" -- likewise
local misuse = require "tandem.config.misuse"
local operator = require "tandem.health.operator"
local options = require "tandem.config.options"
local overrides = require "tandem.config.overrides"
local passive = require "tandem.health.passive"
local pool = require "tandem.pool"
local registry = require "tandem.registry"
local relay = require "tandem.verbs.relay"
local request = require "tandem.verbs.request"
local resolve = require "tandem.dns.resolve"
local route = require "tandem.route"
local self_test = require "tandem.config.self_test"
local shared = require "tandem.verbs.shared"
local suggest = require "tandem.config.suggest"
local timers = require "tandem.timers"
local try = require "tandem.verbs.try"
local verbs = require "tandem.verbs.reply"
local _ = require "tandem.why" -- likewise
local ipairs, pairs, setmetatable, table = ipairs, pairs, setmetatable, table
local tostring, type = tostring, type

local _ENV = nil

local sip = {
  listen = listen, netset = data.netset, data = data.data,
  route = route, self_test = self_test.add,
  every = timers.every, after = timers.after,
  now = core.now, sleep = core.sleep,
  request = request.new, resolve = resolve, log = log,
}

function sip.settings(opts)
  declare.loading "sip.settings"
  opts = declare.check("sip.settings", options.settings, opts)
  local wrong = opts.notify and core.check_program(opts.notify.program)
  if wrong then
    misuse("sip.settings: notify: %s", wrong)
  end
  declare.once "sip.settings"
  declare.settings(opts)
end

function sip.pool(name, opts)
  declare.loading "sip.pool"
  declare.check("sip.pool: name", options.name, name)
  local what = ("pool '%s'"):format(name)
  local conf = overrides.pool(name, what, opts)
  declare.once(what)
  declare.keep("pools", conf, name)
  local made = pool.new(name, conf)
  registry.add(made)
  if conf.shared_dialogs then
    shared.serve()
  end
  return made.handle
end

local function is_event(name)
  for _, known in ipairs(events.names) do
    if name == known then
      return true
    end
  end
  return false
end

function sip.on(name, fn, opts)
  if not is_event(name) then
    misuse("sip.on: there is no event '%s'%s", tostring(name), suggest.hint(name, events.names))
  elseif type(fn) ~= "function" then
    misuse("sip.on: a function expected, got %s", type(fn))
  end
  events.on(name, fn, declare.check("sip.on", options.on, opts or {}).per_worker)
end

function sip.spawn(fn)
  if type(fn) ~= "function" then
    misuse("sip.spawn: a function expected, got %s", type(fn))
  elseif core.phase() == "load" then
    misuse "sip.spawn: nothing runs while the script loads; use sip.on(\"start\", fn)"
  end
  return core.spawn(fn)
end

function sip.shared(name)
  declare.check("sip.shared: name", options.name, name)
  if name:find "^tandem%." then
    misuse "sip.shared: names that begin with 'tandem.' are the proxy's own"
  end
  return core.shared(name)
end

function sip.counter(name, help, labels)
  declare.check("sip.counter: name", options.metric, name)
  if type(help) ~= "string" then
    misuse("sip.counter: help: a string expected, got %s", type(help))
  end
  labels = declare.check("sip.counter: labels", options.labels, labels or {})
  return core.counter(name, help, labels)
end

-- All is declared. Gives what the proxy needs to know of it.
local function finish()
  local kept = overrides.plan()
  declare.close()
  self_test.run()
  local plan = declare.plan()
  plan.overrides = kept
  return plan
end

core.Request.try = core.framed(try.method, "req:try")
core.Request.relay = core.framed(relay.method, "req:relay")
core.Request.relay_dialog = core.framed(shared.relay_dialog, "req:relay_dialog")
core.Request.fork = core.framed(fork, "req:fork")
core.Request.reply = core.framed(verbs.reply, "req:reply")
core.Response.forward = core.framed(verbs.forward, "res:forward")
core.Response.request = core.framed(request.in_dialog, "res:request")

core.server_object(function(full)
  local server = registry.server(full)
  return server and server.handle
end)
core.on_attempt(passive.on_attempt)
core.on_post(link.receive)
core.on_ask(answers.text)
operator.serve()
core.finish(finish)
core.start(life.start)
core.stop(life.stop)

local words = {}
for word in pairs(sip) do
  words[#words + 1] = word
end
table.sort(words)

return setmetatable({}, {
  __index = function(_, key)
    if sip[key] == nil then
      misuse("tandem has no '%s'%s", tostring(key), suggest.hint(key, words))
    end
    return sip[key]
  end,
  __newindex = function(_, key)
    misuse("tandem cannot be changed ('%s')", tostring(key))
  end,
  __pairs = function()
    return pairs(sip)
  end,
  __metatable = "tandem",
})
