-- What the environment says, with defaults.
local peers = require "bench.peers"
local sections = require "bench.sections"
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

local function count(word)
  local n = math.tointeger(tonumber(word))
  return n and n > 0 and n or refuse("that is no number: " .. word)
end

local function peer(word)
  return peers.exists(word) and word or refuse("there is no peer " .. word)
end

local function section(word)
  return sections.exists(word) and word or refuse("there is no section " .. word)
end

-- Ports from PORT on: the proxy's, then those of two servers and of the caller.
local function ports(first)
  return { proxy = first, servers = { first + 21, first + 22 }, caller = first + 39 }
end

local settings = {
  sections = words("SECTIONS", sections.default, section),
  rates = os.getenv "RATES" and words("RATES", "", rate), -- else those of each section
  peers = words("PEERS", "tandem kamailio relay", peer),
  runs = number("RUNS", 5),
  seconds = number("SECONDS_PER_RUN", 4),
  delay_runs = number("DELAY_RUNS", 1),
  highest = { from = number("SEARCH_FROM", 2000), limit = number("SEARCH_LIMIT", 32000),
    steps = number("SEARCH_STEPS", 3) },
  held = number("HELD", 10000),
  absorbing = number("ABSORBING", 100000),
  ramp = number("RAMP", 1000),
  ringing = number("RINGING", 20000),
  sustained = { rate = number("SUSTAINED_RATE", 3000),
    seconds = number("SUSTAINED_SECONDS", 60) },
  growth = { calls = words("GROWTH", "200000 1000000", count),
    rate = number("GROWTH_RATE", 3000) },
  workers = { numbers = words("WORKERS", "1 2 4", count), rate = number("WORKERS_RATE", 2000) },
  syscalls = { rates = words("SYSCALL_RATES", "50 2000", count),
    seconds = number("SYSCALL_SECONDS", 5) },
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
    sections = join(settings.sections), rates = join(settings.rates or { "default" }),
    peers = join(settings.peers), runs = settings.runs, seconds_per_run = settings.seconds,
    delay_runs = settings.delay_runs, held = settings.held, absorbing = settings.absorbing,
    ramp = settings.ramp, ringing = settings.ringing,
    sustained = settings.sustained, growth_rate = settings.growth.rate,
    growth = join(settings.growth.calls), workers = join(settings.workers.numbers),
    workers_rate = settings.workers.rate,
  }
end

return settings
