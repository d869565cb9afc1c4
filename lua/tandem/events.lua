-- sip.on: what scripts hear of. Handlers run in worker 0, each in a task of its
-- own, unless they ask for { per_worker = true }.
local core = require "tandem.core"
local link = require "tandem.link"
local registry = require "tandem.registry"
local error, ipairs, pairs, pcall, type = error, ipairs, pairs, pcall, type

local _ENV = nil

local events = {}

events.names = {
  "server.health", "server.admin", "server.hold", "pool.state", "pool.tier",
  "branch.failed", "config.reload", "start", "stop",
}

local topic = "tandem.event"
local again = "tandem.emit" -- what a generation that has ended had to tell
local handlers = {}
local ended = false

---@param name string one of events.names
---@param fn fun(event: table)
---@param per_worker boolean
function events.on(name, fn, per_worker)
  handlers[name] = handlers[name] or {}
  local list = handlers[name]
  list[#list + 1] = { fn = fn, per_worker = per_worker }
end

-- Does anybody listen? The handlers of all workers are the same; whether those of the
-- generation that took over do is for it to say.
---@return boolean
function events.heard(name)
  return ended or handlers[name] ~= nil
end

local function deliver(event, per_worker)
  for _, handler in ipairs(handlers[event.event]) do
    if handler.per_worker == per_worker then
      core.spawn(function()
        handler.fn(event)
      end)
    end
  end
end

-- Objects travel by name.
local function packed(event)
  local out = {}
  for key, value in pairs(event) do
    out[key] = value
  end
  out.pool = event.pool and event.pool.name
  out.server = event.server and event.server.name
  return out
end

local function unpacked(event)
  local pool = event.pool and registry.pool(event.pool)
  local server = pool and event.server and pool.by_name[event.server]
  event.pool = pool and pool.handle
  event.server = server and server.handle
  return event
end

-- Tells the handlers. `event` is plain data, and pool and server as objects.
---@param event table event.event is its name
function events.emit(event)
  if ended then
    core.post(core.worker(), again, core.json_encode(packed(event)))
    return
  elseif not handlers[event.event] then
    return
  end
  deliver(event, true)
  if core.worker() == 0 then
    deliver(event, false)
    return
  end
  for _, handler in ipairs(handlers[event.event]) do
    if not handler.per_worker then
      core.post(0, topic, core.json_encode(packed(event)))
      return
    end
  end
end

link.receiver(topic, function(message)
  if type(message.event) == "string" and handlers[message.event] then
    deliver(unpacked(message), false)
  end
end)

link.receiver(again, function(message)
  if not ended and type(message.event) == "string" then
    events.emit(unpacked(message))
  end
end)

-- The first event: every worker has one of its own.
function events.start()
  if not handlers["start"] then
    return
  end
  deliver({ event = "start" }, true)
  if core.worker() == 0 then
    deliver({ event = "start" }, false)
  end
end

-- The last event: tasks would not run any more, so handlers run now, and each of
-- them whatever the others do.
function events.stop()
  ended = true
  local failed
  for _, handler in ipairs(handlers["stop"] or {}) do
    if handler.per_worker or core.worker() == 0 then
      local ok, why = pcall(handler.fn, { event = "stop" })
      failed = failed or (not ok and { why })
    end
  end
  if failed then
    error(failed[1], 0)
  end
end

return events
