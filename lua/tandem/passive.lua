-- What requests tell of a server: local failures in a row (no answer in time, no
-- way there) are evidence, any answer is an alibi. Counted by every worker.
local link = require "tandem.link"

local _ENV = nil

local passive = {}

-- What is not the server's doing.
local ours = { no_source = true, too_big = true }

-- It answered.
---@param server table
---@param was_trial boolean
function passive.answered(server, was_trial)
  local facts = server.facts
  if facts:get "failures" ~= 0 then
    facts:set("failures", 0)
  end
  if was_trial then
    facts:set("trial", 0)
  end
end

-- It did not. A trial that fails is enough.
---@param server table
---@param cause string
---@param was_trial boolean
function passive.failed(server, cause, was_trial)
  local conf = server.pool.passive
  if not conf or ours[cause] then
    return
  end
  local failures = server.facts:add("failures", 1)
  if failures >= conf.fall or was_trial then
    link.send("fall", server, { why = cause, failures = failures })
  end
end

return passive
