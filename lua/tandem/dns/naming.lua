-- What servers are called that were found in DNS: as much of target, transport, address
-- and port as tells one from the others. A name once given stays with its address: an
-- order of records says nothing, and one more address of a target renames nobody.
local ipairs, math = ipairs, math

local _ENV = nil

local naming = {}

local most = 127 -- characters of pool/server, as the core has it
local longest_end = #"-0000-0000-0000-0000-0000-0000-000-000-000-000-65535-udp"
local least_base = 16

-- How much of a pool's name leaves room for those of its servers.
naming.pool_most = most - 1 - least_base - longest_end

-- From the shortest to the one that nobody else can have.
local details = {
  {}, { "ip" }, { "transport" }, { "ip", "transport" }, { "ip", "port", "transport" },
}

local function parts_of(place)
  local ip, port, transport = place.addr:match "^(.*):(%d+);transport=(%w+)$"
  return { ip = ip:gsub("[%[%]]", ""):gsub(":", "-"), port = port, transport = transport }
end

local function name_of(place, detail, room)
  local text, parts = "", parts_of(place)
  for _, part in ipairs(detail) do
    text = text .. "-" .. parts[part]
  end
  return place.target:gsub("[^%w_.-]", "_"):sub(1, room) .. text
end

-- What each place of a list would be called with a detail, and how many the same.
local function names_with(detail, list, room)
  local names, count = {}, {}
  for _, place in ipairs(list) do
    local name = name_of(place, detail, room)
    names[place], count[name] = name, (count[name] or 0) + 1
  end
  return { names = names, count = count }
end

-- Names for places of a list: gives a function (place, taken), with the names that others
-- have; it gives nil when all that the place could have are taken.
---@param pool string
---@param list { addr: string, target: string }[]
---@return fun(place: table, taken: table<string, true>): string?
function naming.of(pool, list)
  local room, levels = math.max(most - 1 - #pool - longest_end, 1), {}
  return function(place, taken)
    for i, detail in ipairs(details) do
      local level = levels[i] or names_with(detail, list, room)
      levels[i] = level
      local name = level.names[place]
      if not taken[name] and level.count[name] == 1 then
        return name
      end
    end
  end
end

return naming
