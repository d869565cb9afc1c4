-- What the control API may have the process do: the verbs of src/control/verbs.c. Only
-- inside a handler, which waits for the answer.
local call = require "tandem.control.call"
local cjson = require "cjson"
local tonumber, tostring = tonumber, tostring

local _ENV = nil

local host = { call = call }

-- A question to a worker (lua/tandem/answers.lua).
---@param what string
---@param args? table
---@param worker? integer 0, which decides for all
---@return any value
---@return string? why there is none
function host.ask(what, args, worker)
  local text, why = call("ask", tostring(worker or 0), what, args and cjson.encode(args) or "")
  if not text then
    return nil, why
  end
  return cjson.decode(text)
end

-- What this process is: version, script, pid, workers, generation, started, ...
---@return table
function host.info()
  return cjson.decode((call "info"))
end

-- The same question to every worker: all answers in order, or none.
---@param what string
---@param args? table
---@return any[]? answers
---@return string? why
function host.ask_all(what, args)
  local answers = {}
  for worker = 1, host.info().workers do
    local answer, why = host.ask(what, args, worker - 1)
    if answer == nil then
      return nil, why
    end
    answers[worker] = answer
  end
  return answers
end

-- All declarations of the present script.
---@return string canonical JSON
function host.dump()
  return (call "dump")
end

-- Why a load was refused, as an answer: with file and line, and which generation goes on.
---@param outcome table of the verbs "reload" and "look"
---@return table
function host.refusal(outcome)
  local file, line = outcome.error:match "^([^\n:]+):(%d+): "
  return {
    status = outcome.busy and 409 or 422, error = outcome.error, file = file,
    line = tonumber(line), generation = outcome.generation,
  }
end

-- Loads the script again, and waits for what comes of it. `edit` changes the overrides
-- (lua/tandem/config/overrides.lua), if the script loads with that.
---@param edit? table
---@return table? outcome
---@return string|table? problem
function host.reload(edit)
  local text, why = call("reload", edit and cjson.encode(edit) or "")
  if not text then
    return nil, why
  end
  local outcome = cjson.decode(text)
  if not outcome.ok then
    return nil, host.refusal(outcome)
  end
  return outcome
end

return host
