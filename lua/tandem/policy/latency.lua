-- The fastest, by the smoothed time to a response: of those as good as the fastest
-- the key says which. Who joins them must be within 20 % of the fastest, who is among
-- them stays until it is 40 % behind (and 1 ms and 2 ms, so that servers in one rack
-- are equals), so noise moves nobody. It is looked at once a second. Servers that
-- have not answered anything yet are tried first.
local core = require "tandem.core"
local math = math

local _ENV = nil

local latency = {}

local period = 1 -- seconds
local join, join_us = 1.2, 1000
local stay, stay_us = 1.4, 2000

local function unknown(servers, times)
  local list = {}
  for i = 1, #servers do
    if times[i] == 0 then
      list[#list + 1] = servers[i]
    end
  end
  return list
end

-- server.is_fast: who is among them, and stays so from one look to the next.
local function fastest(servers, times)
  local best = math.huge
  for i = 1, #servers do
    best = math.min(best, times[i])
  end
  local list = {}
  for i = 1, #servers do
    local server = servers[i]
    local most = server.is_fast and best * stay + stay_us or best * join + join_us
    server.is_fast = times[i] <= most
    if server.is_fast then
      list[#list + 1] = server
    end
  end
  return list
end

local function look(servers)
  local times = {}
  for i = 1, #servers do
    times[i] = servers[i].facts:get "latency"
  end
  local new = unknown(servers, times)
  return #new > 0 and new or fastest(servers, times)
end

local function prepare(_, servers)
  return { servers = servers, best = nil, next = nil }
end

---@return tandem.Policy
function latency.new()
  return {
    by_name = true,
    prepare = prepare,
    choose = function(_, view, call)
      if not view.best or call.now >= view.next then
        view.best, view.next = look(view.servers), call.now + period
      end
      return view.best[(core.hash(call.key) >> 1) % #view.best + 1]
    end,
  }
end

return latency
