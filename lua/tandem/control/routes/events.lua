-- What has changed lately: servers, pools and the script.
local host = require "tandem.control.host"
local math, tonumber = math, tonumber

local _ENV = nil

return function(route, api)
  route("GET", "/v1/events", "read", function(request)
    local since = math.tointeger(tonumber(request.query.since or "0"))
    if not since or since < 0 then
      return nil, { status = 400, error = "since: the number of an event expected" }
    end
    local text, why = host.call("events", ("%d"):format(since))
    return text and api.text("application/json", text .. "\n"), why
  end)
end
