-- Loading the script again, and what came of it.
local changes = require "tandem.config.changes"
local cjson = require "cjson"
local host = require "tandem.control.host"
local tonumber, type = tonumber, type

local _ENV = nil

-- What the present generation has changed; nil when it is another one by now.
local function changes_of(generation)
  local found = host.ask "changes"
  return found and found.generation == generation and found or nil
end

local function reload()
  local outcome, problem = host.reload()
  if not outcome then
    return nil, problem
  end
  return changes_of(outcome.generation) or { generation = outcome.generation }
end

-- Loads a script, here and only for looking: what would it change?
local function check(request)
  local file = request.body.file
  if file ~= nil and type(file) ~= "string" then
    return nil, { status = 400, error = "file: the path of a script expected" }
  end
  local text, why = host.call("look", file or "")
  if not text then
    return nil, why
  end
  local dump = cjson.decode(text)
  if dump.ok == false then
    return nil, host.refusal(dump)
  end
  local found = changes.find(cjson.decode(host.dump()), dump)
  found.generation = tonumber(host.info().generation)
  return found
end

return function(route)
  route("POST", "/v1/reload", "write", reload)
  route("POST", "/v1/check", "write", check)
end
