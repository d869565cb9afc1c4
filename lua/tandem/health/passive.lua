-- What requests tell of a server: local failures in a row (no answer in time, no
-- way there) are evidence, any answer is an alibi, unless the pool says that some codes
-- are none. Every worker counts, for every attempt the core has ended, in-dialog ones
-- included.
local core = require "tandem.core"
local link = require "tandem.link"
local places = require "tandem.dns.places"
local registry = require "tandem.registry"
local ipairs = ipairs

local _ENV = nil

local passive = {}

-- What is not the server's doing: ours, or nothing failed (a phone that rang for
-- too long), or nobody was asked, because its name is not known.
local innocent = {
  no_source = true, too_big = true, none = true, dns_none = true, dns_timeout = true,
}

-- What takes the time of an attempt.
local silence = { silent = true, connect_timeout = true }
-- But when we have been late ourselves by such a part of that time, its answer may be
-- waiting for us.
local late_share = 4

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

-- The same of one address of several. Each worker has a row of its own: a server that
-- fails everywhere is noticed by its own row.
---@param cause? string nil: it answered
local function at_address(server, addr, cause)
  local conf = server.pool.passive
  if not conf or innocent[cause] or not places.find(server, addr) then
    return
  end
  local rows = server.rows
  local failures = cause and (rows[addr] or 0) + 1 or nil
  rows[addr] = failures
  if cause and failures >= conf.fall then
    rows[addr] = conf.fall - 1 -- the next one is enough
    link.send("address", server, { addr = addr, why = cause, failures = failures })
  end
end

-- An attempt has ended: `code` of the answer, or the cause why there is none. At which
-- address; and whether the same try goes on at another one of the server, whose turn
-- is not over then. The core does not tell of answers that would change nothing here:
-- of a server with one address, no failures and no trial, in a pool without codes.
---@param facts? table nil for what is no server
---@param code? integer
---@param cause? string
---@param took number seconds it took
---@param addr? string as places have it
---@param moved? boolean
function passive.on_attempt(facts, code, cause, took, addr, moved)
  local server = registry.of(facts)
  if not server or (silence[cause] and core.lagged(took, took / late_share)) then
    return
  elseif code and is_failure(server, code) then
    cause = ("%d"):format(code)
  elseif code then
    cause = nil
  end
  if addr and #server.places > 1 then
    at_address(server, addr, cause)
    if silence[cause] then
      places.silent(server, addr)
    end
  end
  if moved then
    return
  elseif cause then
    passive.failed(server, cause)
  else
    passive.answered(server)
  end
end

return passive
