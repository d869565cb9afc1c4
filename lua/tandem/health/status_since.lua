-- Since when a server is what it is. The health has a time of its own, and so have
-- orders and holds; the one word for all of them, the status, began when the last of
-- them began or ended. That is found by going through the history again.
local ipairs, math, pairs = ipairs, math, pairs

local _ENV = nil

local word_of_health = { down = "down", rising = "down" }

-- The end of the holds as they are, and none that is before `time`.
local function held_until(holds, time)
  local latest
  for _, finish in pairs(holds) do
    if finish > time and finish > (latest or 0) then
      latest = finish
    end
  end
  return latest
end

local function word(now)
  if now.admin ~= "ready" then
    return now.admin
  end
  return word_of_health[now.health] or held_until(now.holds, now.time) and "held" or "up"
end

-- A hold that ended between two entries ended then.
local function pass(now, time, tell)
  while true do
    local next_end
    for _, finish in pairs(now.holds) do
      if finish > now.time and finish <= time then
        next_end = math.min(next_end or finish, finish)
      end
    end
    if not next_end then
      break
    end
    now.time = next_end
    tell(false)
  end
  now.time = time
end

-- What one entry of a history changes. That a failback hold began is not written, it did
-- so when the server came up; only its end is.
local function apply(now, change)
  if change.what ~= "hold" then
    now[change.what] = change.to
  elseif change.seconds == 0 then
    local is_failback = not now.holds[change.why]
    now.holds[change.why] = nil
    return is_failback and word(now) == "up"
  else
    now.holds[change.why] = change.time + (change.seconds or math.huge)
  end
  return false
end

-- When the status began, in seconds since 1970; nil when the history does not tell.
---@param status string what it is
---@param history tandem.Change[]
---@param time number now, in seconds since 1970
---@return number?
return function(status, history, time)
  local now = { admin = "ready", health = "unknown", holds = {}, time = 0 }
  local last, since = nil, nil
  local function tell(is_new)
    local new = word(now)
    if new ~= last or is_new then
      last, since = new, now.time
    end
  end
  for _, change in ipairs(history) do
    pass(now, change.time, tell)
    tell(apply(now, change))
  end
  pass(now, time, tell)
  if last == "up" and status == "held" then
    last = "held" -- by the failback hold
  end
  return last == status and since or nil
end
