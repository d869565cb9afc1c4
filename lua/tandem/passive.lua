-- What requests tell of a server: local failures in a row (no answer in time, no
-- way there) are evidence, any answer is an alibi, unless the pool says that some codes
-- are none. Every worker counts, for every attempt the core has ended, in-dialog ones
-- included.
local core = require "tandem.core"
local link = require "tandem.link"
local registry = require "tandem.registry"
local ipairs = ipairs

local _ENV = nil

local passive = {}

-- What is not the server's doing: ours, or nothing failed (a phone that rang for
-- too long).
local innocent = { no_source = true, too_big = true, none = true }

-- It answered. A trial is over with that, whatever the answer.
---@param server table
function passive.answered(server)
  local facts = server.facts
  local failures, trial = facts:get("failures", "trial")
  if failures ~= 0 then
    facts:set("failures", 0)
  end
  if trial > 1 then
    facts:set("returned", core.us(core.now()))
    facts:set("trial", 0)
  end
end

-- It did not, or with what counts as little. A trial that fails is enough.
---@param server table
---@param cause string a cause, or a code
function passive.failed(server, cause)
  local conf, facts = server.pool.passive, server.facts
  if not conf or innocent[cause] then
    return
  end
  local failures = facts:add("failures", 1)
  if failures >= conf.fall or facts:get "trial" > 1 then
    link.send("fall", server, { why = cause, failures = failures })
  end
end

-- Does the pool take this answer for a failure of the server?
local function is_failure(server, code)
  local conf = server.pool.passive
  for _, bad in ipairs(conf and conf.codes or {}) do
    if code == bad then
      return true
    end
  end
  return false
end

-- An attempt has ended: `code` of the answer, or the cause why there is none. With
-- `moved` it was about one address of the server, and another one is tried now.
---@param facts? table nil for what is no server
---@param code? integer
---@param cause? string
---@param took? number seconds
---@param place? string "10.0.0.1:5060;transport=udp", when the server has several
---@param moved? boolean
function passive.on_attempt(facts, code, cause, took, place, moved) -- luacheck: no unused
  local server = registry.of(facts)
  if not server or moved then
    return
  elseif code and not is_failure(server, code) then
    passive.answered(server)
  else
    passive.failed(server, code and ("%d"):format(code) or cause)
  end
end

return passive
