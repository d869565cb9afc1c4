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

-- How many of the list would be called like this.
local function count(list, name, detail, room)
  local n = 0
  for _, place in ipairs(list) do
    n = n + (name_of(place, detail, room) == name and 1 or 0)
  end
  return n
end

-- A name for one of a list; nil when all that it could have are taken.
---@param pool string
---@param list { addr: string, target: string }[]
---@param place table one of the list
---@param taken table<string, true>
---@return string?
function naming.find(pool, list, place, taken)
  local room = math.max(most - 1 - #pool - longest_end, 1)
  for _, detail in ipairs(details) do
    local name = name_of(place, detail, room)
    if not taken[name] and count(list, name, detail, room) == 1 then
      return name
    end
  end
end

return naming
