-- What operators ask of a worker: by the control API in production, by node:ask() in
-- specs. Each subject is answered by a function of plain data; it cannot wait, and
-- says what is wrong with the question as `nil, why`.
local core = require "tandem.core"
local error = error

local _ENV = nil

local answers = {}

local known = {}

---@param what string "pools"
---@param answer fun(args: table, now: number): any, string?
function answers.on(what, answer)
  if known[what] then
    error("answers: '" .. what .. "' is answered already")
  end
  known[what] = answer
end

---@param what string
---@param args? table
---@return any value plain data; nil: there is no answer
---@return string? why
function answers.give(what, args)
  if not known[what] then
    return nil, "nobody answers '" .. what .. "'"
  end
  return known[what](args or {}, core.now())
end

-- The same as text, for the host.
---@param what string
---@param args? string JSON
---@return string? json
---@return string? why
function answers.text(what, args)
  local value, why = answers.give(what, args and core.json_decode(args))
  if value == nil then
    return nil, why or "there is no answer"
  end
  return core.json_encode(value)
end

return answers
