-- What the decision trace says of a choice: which servers there were, and which of
-- them nobody could have, by which rule. What depends on their state only is one text
-- for all choices that see it (view.lua); it is made when the first of them asks.
-- tandem/why.lua reads these texts again.
local core = require "tandem.core"
local cut = require "tandem.cut"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local slow_start = require "tandem.choice.slow_start"
local ipairs, math, pairs, string, table = ipairs, math, pairs, string, table
local tostring = tostring

local _ENV = nil

local told = {}

local most = 12 -- servers in a text; of the others only how many they are
local rest_least = 4 -- of them, if there are any, who is in order
local text_most = 480 -- bytes: what a step has room for
local detail_most = 60

-- Wall time of a time as core.now() counts, to a tenth of a second.
local function wall(time, now)
  return string.format("%.1f", core.wall() + time - now)
end

local function plain(text)
  return (cut(tostring(text or ""), detail_most):gsub("%c", " "))
end

local function ordered(server, now)
  local admin = record.load(server).admin
  local who = plain(admin.who)
  local detail = ("%s (%s)"):format(cut(plain(admin.why), detail_most - #who), who)
  return detail, admin.ends and wall(admin.ends, now) or nil
end

-- The hold that ends last, and when that is.
local function longest_hold(server, now)
  local ends, why = now, ""
  for reason, finish in pairs(record.load(server).holds) do
    if finish > ends then
      ends, why = finish, reason
    end
  end
  return plain(why), wall(ends, now)
end

local function failback(server, now)
  if pool_state.is_endless(server) then
    return "until it is released"
  end
  local _, ends = pool_state.held_until(server)
  return nil, wall(ends, now)
end

local function down(server, now)
  local health = record.load(server).health
  local since = core.seconds(server.facts:get "since")
  local coming = pool_state.health(server) == "rising" and "coming up, " or ""
  return coming .. plain(health.why), wall(since, now)
end

-- Who could be had, if it was its turn: what there is to say.
local function usable(server, now)
  local ends = slow_start.ends(server, now)
  if #server.places == 0 then
    return "nowhere"
  elseif ends then
    local share = slow_start.share(server, now)
    return "slow_start", ("takes %d %%"):format(math.floor(share * 100 + 0.5)), wall(ends, now)
  elseif server.weight == 0 then
    return "spare"
  elseif server.check and server.check.when == "always"
    and pool_state.health(server) == "unknown" then
    return "unknown"
  end
  return "up"
end

-- The rule, a detail and a time: since when it is down, else until when it lasts.
local function rule(server, now)
  local status, failback_only, on_trial = pool_state.status(server, now)
  if pool_state.left(server) and pool_state.admin(server) == "ready" then
    return "left", nil, wall(pool_state.left(server), now)
  elseif status == "maint" or status == "drain" then
    return status, ordered(server, now)
  elseif status == "down" then
    return "down", down(server, now)
  elseif on_trial then
    return "trial"
  elseif status == "held" and failback_only then
    return "failback", failback(server, now)
  elseif status == "held" then
    return "held", longest_hold(server, now)
  end
  return usable(server, now)
end

local function line(server, now)
  local word, detail, time = rule(server, now)
  return ("%s\t%d\t%s\t%s\t%s"):format(server.name, server.tier, word, detail or "", time or ""),
    word
end

-- Which servers are told of when there are too many: those that are out of the order
-- first, then the others, in the order of their tiers.
local function pick(pool, now)
  local odd, rest = {}, {}
  for _, tier in ipairs(pool.tiers) do
    for _, server in ipairs(tier) do
      local is_up = #server.places > 0 and pool_state.usable(server, now)
      local list = is_up and rest or odd
      if #list < most then
        list[#list + 1] = server
      end
    end
  end
  local n_odd = math.min(#odd, math.max(most - rest_least, most - #rest))
  local list = table.move(odd, 1, n_odd, 1, {})
  return table.move(rest, 1, math.min(#rest, most - n_odd), n_odd + 1, list)
end

local function text_of(pool, now)
  local list, size, n = {}, 0, 0
  local servers = #pool.servers <= most and pool.servers or pick(pool, now)
  for _, server in ipairs(servers) do
    local text = line(server, now)
    size = size + #text + 1
    if size > text_most then
      break
    end
    n = n + 1
    list[n] = text
  end
  if n < #pool.servers then
    list[#list + 1] = ("+%d"):format(#pool.servers - n)
  end
  return table.concat(list, "\n")
end

-- What a choice was made from; "=" when the trace has that already.
---@param cursor table of select.lua
---@param now number
---@return string
function told.of(cursor, now)
  local seen = cursor.seen
  local text = seen.told
  if not text then
    text = text_of(cursor.pool, now)
    seen.told = text
  end
  if text == cursor.told then
    return "="
  end
  cursor.told = text
  return text
end

-- ---- what of it is about one request ----

told.refused_most = 8

-- A server that cannot take this request: noted here, and made text only if somebody
-- is chosen instead.
---@param cursor table
---@param server table
---@param word "full"|"lacks"|"slow_start"
---@param which string
function told.refuse(cursor, server, word, which)
  local list, n = cursor.refused, cursor.n_refused
  if not list then
    list = {}
    cursor.refused = list
  end
  cursor.n_refused = n + 1
  list[3 * n + 1], list[3 * n + 2], list[3 * n + 3] = server, word, which
end

local is_limit = { max_calls = true, max_cps = true }

-- The line about it, which stays the same until the limit is changed.
local function refusal(server, word, which)
  local limit = server.resources[which] or (is_limit[which] and server[which]) or ""
  local lines = server.refusals
  if not lines then
    lines = {}
    server.refusals = lines
  end
  local kept = lines[which]
  if not kept or kept.word ~= word or kept.limit ~= limit then
    kept = { word = word, limit = limit, text = ("%s\t%d\t%s\t%s\t"):format(server.name,
      server.tier, word, word == "full" and ("%s %s"):format(which, limit) or which) }
    lines[which] = kept
  end
  return kept.text
end

---@param cursor table
---@return string
function told.refused(cursor)
  local list, lines = cursor.refused, {}
  for i = 1, cursor.n_refused do
    lines[i] = refusal(list[3 * i - 2], list[3 * i - 1], list[3 * i])
  end
  if cursor.n_refused == told.refused_most then
    lines[#lines + 1] = "+"
  end
  return table.concat(lines, "\n")
end

return told
