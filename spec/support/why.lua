-- Decision traces in specs: asked of all workers, as the control API does.
local explain = require "tandem.control.explain"
local error, ipairs, next = error, ipairs, next

local _ENV = nil

local why = {}

-- All records for that question, of each worker newest first.
---@param net tandem.sim.Net
---@param args table?
---@param node tandem.sim.Node? the first
---@return table[]
function why.all(net, args, node)
  node = node or net.nodes[1]
  local list = {}
  for worker = 1, node.workers or 1 do
    local answer, reason = node:ask("why", args, worker)
    for _, record in ipairs(answer or error(reason, 2)) do
      list[#list + 1] = record
    end
  end
  return list
end

-- The newest of a call, of that method if one is named.
---@param net tandem.sim.Net
---@param call_id string
---@param method string?
---@return table
function why.of(net, call_id, method)
  for _, record in ipairs(why.all(net, { call_id = call_id })) do
    if not method or record.method == method then
      return record
    end
  end
  error("nothing is known of " .. call_id, 2)
end

-- The steps of a kind.
---@param record table
---@param what string
---@return table[]
function why.steps(record, what)
  local list = {}
  for _, step in ipairs(record.steps) do
    if step.what == what then
      list[#list + 1] = step
    end
  end
  return list
end

-- The steps in order, in words; those of a word that is not wanted left out.
---@param record table
---@return string[]
function why.words(record)
  local list = {}
  for _, step in ipairs(record.steps) do
    local word = step.what
    for _, name in ipairs { "method", "pool", "server", "number", "code", "cause", "verb", "rule",
      "word", "became", "reason" } do
      local value = step[name]
      word = value ~= nil and ("%s %s"):format(word, value) or word
    end
    list[#list + 1] = word
  end
  return list
end

-- What is said of each candidate of a choice: { a = "chosen", b = "out: drain, ..." }
---@param choice table
---@return table<string, string>
function why.verdicts(choice)
  local list = {}
  for _, candidate in ipairs(choice.candidates) do
    list[candidate.name] = explain.candidate(candidate)
  end
  return list
end

-- The same of the first choice of a call.
function why.candidates(net, call_id)
  local first = why.steps(why.of(net, call_id), "choice")[1]
  return next(first.candidates) and why.verdicts(first) or {}, first
end

return why
