-- Servers as they were declared. A policy is a module with new(opts), which gives
-- an object with order(self, servers, key, now): `servers` are usable ones of one
-- tier, the result is the same servers (or some of them), best first. It may not
-- wait for anything, and must choose by `key` rather than by chance.
local _ENV = nil

local ordered = {}

---@param servers tandem.Server[]
---@return tandem.Server[]
local function order(_, servers)
  return servers
end

---@return tandem.Policy
function ordered.new()
  return { order = order }
end

return ordered
