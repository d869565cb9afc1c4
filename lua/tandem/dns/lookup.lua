-- Keeps looking up where a SIP URI leads: at start, when what was found has run out, and
-- again when nothing was. For what is resolved ahead of the calls, in worker 0; what to
-- make of it is the caller's.
local core = require "tandem.core"
local ipairs, math = ipairs, math

local _ENV = nil

local lookup = {}

local first_retry, last_retry = 2, 30 -- seconds; doubled from one to the other
local grace = 60 -- longer than any look-up; then its task has died
local least, most = 1, 86400 -- seconds between two look-ups, whatever DNS says

local look

local function arm(self, seconds)
  if self.timer then
    self.timer:cancel()
  end
  self.due = core.now() + seconds
  self.timer = core.after(seconds, function()
    self.timer = nil
    look(self)
  end)
end

-- Seconds until the next attempt.
local function failed(self, why)
  local before = self.failures
  self.failures = before + 1
  self.lost(why, before == 0, core.now())
  return math.min(first_retry * 2 ^ math.min(before, 16), last_retry)
end

-- Is there a place of which DNS speaks still?
local function is_all_stale(list)
  for _, place in ipairs(list) do
    if not place.stale then
      return false
    end
  end
  return true
end

-- What is stale is better than nothing, and no sign that somebody answers.
function look(self)
  arm(self, grace) -- so that nothing that happens here can be the end
  local list, why = core.locate(self.uri)
  if self.stopped then
    return
  elseif list then
    list.ttl = math.floor(math.min(math.max(list.ttl, least), most))
    list.all_stale = is_all_stale(list)
  end
  if list and not list.stale then
    self.found(list, self.failures > 0, core.now())
    self.failures = 0
    return arm(self, list.ttl)
  elseif list then
    self.found(list, false, core.now())
  end
  arm(self, failed(self, why or "stale"))
end

-- Begins at once. `found(list, is_news, now)`: list is core.locate's, its ttl the time
-- until the next look, all_stale when nothing in it is new; is_news when it is the first
-- after a failure. `lost(why, is_news, now)`: after each failure, why is "stale" when an
-- old answer had to do for something.
---@param uri string
---@param found fun(list: table, is_news: boolean, now: number)
---@param lost fun(why: string, is_news: boolean, now: number)
---@return table lookup
function lookup.start(uri, found, lost)
  local self = {
    uri = uri, found = found, lost = lost, failures = 0, stopped = false, timer = nil, due = 0,
  }
  arm(self, 0)
  return self
end

-- Where memory ran out the timer may be missing, or have lost its function.
---@param self table
---@param now number
function lookup.tend(self, now)
  if not self.timer or self.due + 1 < now then
    arm(self, 0)
  end
end

---@param self table
function lookup.stop(self)
  self.stopped = true
  if self.timer then
    self.timer:cancel()
  end
end

return lookup
