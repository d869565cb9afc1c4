-- What the environment says, with defaults.
local peers = require "bench.peers"
local workload = require "bench.workload"
local io, ipairs, math, os = io, ipairs, math, os
local string, table, tonumber, tostring = string, table, tonumber, tostring

local _ENV = nil

local function refuse(text)
  io.stderr:write("bench: ", text, "\n")
  os.exit(2)
end

local function number(name, default)
  local text = os.getenv(name)
  local value = text and (tonumber(text) or refuse(name .. " is no number: " .. text))
  return value or default
end

local function words(name, default, check)
  local list = {}
  for word in string.gmatch(os.getenv(name) or default, "%S+") do
    list[#list + 1] = check(word)
  end
  return list
end

-- A rate is a number of calls per second, or "max": the highest that is carried.
local function rate(word)
  return word == "max" and word or math.tointeger(tonumber(word))
    or refuse("RATES has no such rate: " .. word)
end

local function peer(word)
  return peers.exists(word) and word or refuse("there is no peer " .. word)
end

local function section(word)
  return (word == "memory" or workload.kinds[word]) and word
    or refuse("there is no section " .. word)
end

-- Ports from PORT on: the proxy's, then those of two servers and of the caller.
local function ports(first)
  return { proxy = first, servers = { first + 21, first + 22 }, caller = first + 39 }
end

local settings = {
  sections = words("SECTIONS", "udp tcp pool register memory", section),
  rates = words("RATES", "500 1000 2000 max", rate),
  peers = words("PEERS", "tandem kamailio relay", peer),
  runs = number("RUNS", 5),
  seconds = number("SECONDS_PER_RUN", 10),
  delay_runs = number("DELAY_RUNS", 1),
  highest = { from = number("SEARCH_FROM", 1000), limit = number("SEARCH_LIMIT", 32000),
    steps = number("SEARCH_STEPS", 4) },
  held = number("HELD", 10000),
  absorbing = number("ABSORBING", 100000),
  ramp = number("RAMP", 1000),
  ports = ports(number("PORT", 15060)),
}

-- For the results: the same, flat.
function settings.describe()
  local function join(list)
    local text = {}
    for i, word in ipairs(list) do
      text[i] = tostring(word)
    end
    return table.concat(text, " ")
  end
  return {
    sections = join(settings.sections), rates = join(settings.rates),
    peers = join(settings.peers), runs = settings.runs, seconds_per_run = settings.seconds,
    delay_runs = settings.delay_runs, held = settings.held, absorbing = settings.absorbing,
  }
end

return settings
