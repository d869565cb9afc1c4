-- What an endpoint asked for and what became of it: a call, or any other request.
local message = require "tandem.sim.message"
local ipairs, math = ipairs, math

local _ENV = nil

local call = {}

---@class tandem.sim.Call
local methods = {}
local properties = {}

local class = {
  __index = function(self, key)
    local property = properties[key]
    if property then
      return property(self)
    end
    return methods[key]
  end,
}

---@return tandem.sim.Call
function call.new(ua, method, fields)
  local self = {
    ua = ua, net = ua.net, method = method, started = ua.net.now,
    provisionals = {}, responses = {}, cancelled = false, extra = 0,
    phase = "calling",
  }
  for name in message.sorted(fields) do
    self[name] = fields[name]
  end
  return message.class(self, class)
end

-- Is there nothing more to wait for?
function properties.done(self)
  return self.code ~= nil or self.error ~= nil
end

-- "calling", "ringing", "up", "failed", "ended": as its own side knows it.
function properties.state(self)
  return self.dialog and self.dialog.state == "ended" and "ended" or self.phase
end

-- Seconds from the request to the final response, or until now.
function properties.elapsed(self)
  local us = ((self.ended or self.net.now) - self.started) * 1e6
  return math.floor(us + 0.5) / 1e6
end

-- Headers of the final response by name; any case.
function properties.headers(self)
  local response = self.response
  return message.class({}, {
    __index = function(_, name)
      return response and response:header(name)
    end,
  })
end

function properties.reason(self)
  return self.response and self.response.reason
end

-- The server whose final response came up: the one that gave it its To tag. nil
-- when the proxy made the response itself.
function properties.server(self)
  local tag = self.response and self.response.to_tag
  local ua = tag and self.net.tags[tag]
  return ua and self.net:name_of(ua.addr)
end

-- The servers a proxy sent the request to, in order, once per attempt.
function properties.tried(self)
  local names, seen = {}, {}
  for _, sent in ipairs(self.net:sent_by_nodes(self.id)) do
    if sent.method == self.method and sent.cseq == self.cseq and not seen[sent.branch] then
      seen[sent.branch] = true
      names[#names + 1] = self.net:name_of(sent.to)
    end
  end
  return names
end

-- The final response is in, or none will come.
function methods:finish(response, why)
  if self.done then
    return
  end
  self.ended = self.net.now
  self.response = response
  self.code = response and math.tointeger(response.code)
  self.error = why
end

-- Runs the network until the final response is in.
---@return tandem.sim.Call self
function methods:wait(max)
  self.net:run_until(function()
    return self.done
  end, max or 400, math.huge)
  return self
end

function methods:ladder()
  return self.net:ladder(self)
end

return call
