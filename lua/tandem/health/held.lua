-- What holds a server back at the moment, as it is shown to people.
local pool_state = require "tandem.health.state"
local pairs, table = pairs, table

local _ENV = nil

-- Each hold that has not ended with the seconds that are left; a failback hold may have
-- no end, then it has none.
---@param server table
---@param ends table<string, number> by reason, as record.lua keeps them
---@param now number
---@return { reason: string, left: number? }[] in the order of the reasons
return function(server, ends, now)
  local list, _, failback = {}, pool_state.held_until(server)
  for reason, finish in pairs(ends) do
    if finish > now then
      list[#list + 1] = { reason = reason, left = finish - now }
    end
  end
  if failback > now then
    list[#list + 1] = {
      reason = "failback", left = not pool_state.is_endless(server) and failback - now or nil,
    }
  end
  table.sort(list, function(a, b)
    return a.reason < b.reason
  end)
  return list
end
