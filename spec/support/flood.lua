-- Calls at a rate, from many callers, under virtual time: who got through?
local ipairs, setmetatable = ipairs, setmetatable

local _ENV = nil

local flood = {}
local Flood = {}
Flood.__index = Flood

-- opts.hold: seconds until a call that is up ends with BYE (1). opts.callers (20): the kernel
-- spreads them over the sockets of the workers. opts.uri, opts.transport.
---@param net tandem.sim.Net
---@param opts { hold: number?, callers: integer?, uri: string?, transport: string? }?
function flood.new(net, opts)
  opts = opts or {}
  local self = setmetatable({
    net = net, hold = opts.hold or 1, uri = opts.uri or "sip:bob@example.com",
    callers = {}, calls = {}, byes = {}, offered = 0,
  }, Flood)
  for i = 1, opts.callers or 20 do
    self.callers[i] = net:uac((opts.transport or "udp") .. ":198.51.100." .. i, "caller" .. i)
  end
  return self
end

local function call(self)
  self.offered = self.offered + 1
  local caller = self.callers[self.offered % #self.callers + 1]
  local made = caller:invite(self.uri)
  made.began = self.net.now
  self.calls[#self.calls + 1] = made
  local function hang_up()
    if made.code == 200 then
      self.byes[#self.byes + 1] = caller:bye(made)
    elseif not made.code and not made.error then
      self.net:after(self.hold, hang_up)
    end
  end
  self.net:after(self.hold, hang_up)
end

-- So many calls a second, for so long. Runs the network meanwhile. What became of them
-- after so many seconds (0): ok, refused, other and open, each per second of the time
-- that is left; and the longest of those that were answered.
---@param rate number
---@param seconds number
---@param after number?
function Flood:offer(rate, seconds, after)
  local net, left = self.net, rate * seconds
  local function next_one()
    if left >= 1 then
      left = left - 1
      call(self)
      net:after(1 / rate, next_one)
    end
  end
  next_one()
  local began = net.now
  net:run(seconds)
  return self:count(began + (after or 0), net.now)
end

-- By when they were answered.
function Flood:count(from, to)
  local out = { ok = 0, refused = 0, other = 0, open = 0, longest = 0 }
  for _, made in ipairs(self.calls) do
    local at = made.began + (made.elapsed or 0)
    local what = (made.code == 200 and "ok") or (made.code == 503 and "refused")
      or (made.code and "other") or "open"
    if what == "open" or (at >= from and at < to) then
      out[what] = out[what] + 1
      out.longest = what == "ok" and made.elapsed > out.longest and made.elapsed or out.longest
    end
  end
  for _, what in ipairs { "ok", "refused", "other" } do
    out[what] = out[what] / (to - from)
  end
  return out
end

return flood
