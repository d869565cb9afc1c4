-- When a server that came back takes new calls again. It has to prove itself first,
-- for `hold` seconds, doubled for every fall but one within the last hold_max seconds:
-- a quiet window forgets one fall after the other, and so halves it again. And if
-- taking calls means to take them back from the server that has them now, the pool
-- may want somebody to say so.
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local failback = {}

local remembered = 32 -- falls; more doublings than any hold_max allows

-- The falls that still count, oldest first.
---@param falls number[] times
---@param window number seconds
---@param now number
---@return number[]
function failback.recent(falls, window, now)
  local recent = {}
  for _, time in ipairs(falls) do
    if time > now - window then
      recent[#recent + 1] = time
    end
  end
  while #recent > remembered do
    table.remove(recent, 1)
  end
  return recent
end

-- The hold after `count` recent falls.
---@param count integer
---@param hold number
---@param hold_max number
---@return number seconds
function failback.duration(count, hold, hold_max)
  return math.min(hold * 2 ^ (math.max(count, 1) - 1), hold_max)
end

-- Would it take the calls from `serving`? That is one of a later tier, or one further
-- down in a pool whose order is the one of the list.
---@param server table
---@param serving table
---@return boolean
function failback.takes_from(server, serving)
  if server.tier ~= serving.tier then
    return server.tier < serving.tier
  end
  return server.pool.is_ordered and server.index < serving.index
end

-- May a failback hold of such a pool have no end of its own?
---@param conf table the failback options
---@return boolean
function failback.is_endless(conf)
  return not conf.enabled or conf.manual or conf.ask ~= nil
end

-- What has to happen before it takes the calls from `serving`, beside the time: nil
-- for nothing.
---@param server table
---@param serving table
---@return "disabled"|"manual"|"asked"|nil
function failback.waits_for(server, serving)
  local conf = server.pool.failback
  if not failback.takes_from(server, serving) then
    return nil
  elseif not conf.enabled then
    return "disabled" -- what serves now would have to fall
  elseif conf.manual then
    return "manual"
  end
  return conf.ask and "asked" or nil
end

return failback
