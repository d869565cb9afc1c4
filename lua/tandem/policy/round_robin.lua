-- One after the other, for all workers together; weights do not count. The turn is
-- the pool's, so who is asked is no matter of the key: that INVITE, 407, INVITE meet
-- one server is what the pool remembers of the 407.
local core = require "tandem.core"

local _ENV = nil

local round_robin = {}

---@param pool { name: string }
---@return tandem.Policy
function round_robin.new(pool)
  local turns = core.shared "tandem.round_robin"
  return {
    choose = function(_, servers, call)
      -- A request has one turn, however many servers it needs.
      call.turn = call.turn or turns:incr(pool.name, 1, -1)
      return servers[call.turn % #servers + 1]
    end,
  }
end

return round_robin
