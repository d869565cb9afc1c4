-- A request that failed, from its trace (tandem/why.lua) to what fits into one entry of the
-- live page: who it was, and in one line what went wrong.
local explain = require "tandem.control.explain"
local ipairs, table = ipairs, table

local _ENV = nil

local says = {}

function says.attempt(step, who)
  who[step.number] = step.server or step.address or step.uri or "?"
end

function says.failed(step, who)
  return ("%s: %s"):format(who[step.number] or "?", explain.cause(step.cause))
end

function says.answer(step, who)
  return ("%s: %d"):format(who[step.number] or "?", step.code)
end

-- Only what was said before the first attempt: after it there is nobody left, of course.
function says.choice(step, who)
  return step.none and #who == 0 and explain.step(step) or nil
end

function says.error(step)
  return explain.step(step)
end

function says.refused(step, _, record)
  return explain.step(step, record)
end

---@param record table
---@return table
return function(record)
  local who, parts = {}, {}
  for _, step in ipairs(record.steps) do
    local say = says[step.what]
    parts[#parts + 1] = say and say(step, who, record) or nil
  end
  return {
    call_id = record.call_id, time = record.time, total = record.total, method = record.method,
    uri = record.uri, caller = record.caller, from = record.from, code = record.code,
    at = record.at, why = table.concat(parts, "; "),
  }
end
