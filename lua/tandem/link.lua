-- One writer: what changes the health, the admin state or the holds of a server
-- is a command that worker 0 carries out, and the others send there.
local core = require "tandem.core"
local misuse = require "tandem.config.misuse"
local registry = require "tandem.registry"

local _ENV = nil

local link = {}

local topic = "tandem.server"
local commands = {}
local receivers = {}
local running = false

---@param name string
---@param run fun(server: table, args: table, now: number)
function link.command(name, run)
  commands[name] = run
end

-- Another kind of message between workers.
---@param other_topic string
---@param receive fun(message: table)
function link.receiver(other_topic, receive)
  receivers[other_topic] = receive
end

-- Carries out a command: here in worker 0, otherwise there and a little later.
---@param name string
---@param server table
---@param args table plain data
function link.send(name, server, args)
  if core.phase() == "load" then
    misuse("the state of server '%s' cannot change while the script loads", server.full)
  elseif running and core.worker() == 0 then
    if registry.server(server.full) == server then -- else it has left
      commands[name](server, args, core.now())
    end
  else
    core.post(0, topic, core.json_encode { name, server.full, args })
  end
end

link.receiver(topic, function(message)
  local server = registry.server(message[2])
  if server and running then -- a reload may have taken it away
    commands[message[1]](server, message[3], core.now())
  end
end)

-- A message from another worker.
---@param from_topic string
---@param payload string
function link.receive(from_topic, payload)
  if receivers[from_topic] then
    receivers[from_topic](core.json_decode(payload))
  end
end

-- Worker 0 decides between start and stop.
function link.start()
  running = core.worker() == 0
end

function link.stop()
  running = false
end

return link
