-- Since when a server has its status, from its history.
local since = require "tandem.health.status_since"

local function health(time, to)
  return { time = time, what = "health", to = to, why = "x" }
end

local function hold(time, seconds, why)
  return { time = time, what = "hold", seconds = seconds, why = why or "passive" }
end

describe("the time of a status", function()
  for name, case in pairs {
    ["is that of the health"] = { "up", 1, { health(1, "up") } },
    ["goes on through falling"] = { "up", 1, { health(1, "up"), health(5, "falling") } },
    ["does not begin anew when a hold ends that it outlives"] =
      { "down", 5, { health(1, "up"), health(5, "down"), hold(5, 30), hold(35.001, 0) } },
    ["begins with a hold"] = { "held", 7, { health(1, "up"), hold(7, 60, "busy") } },
    ["begins with the end of a hold"] = { "up", 9, { health(1, "up"), hold(7, 2, "busy") } },
    ["begins with an order"] = { "drain", 8,
      { health(1, "up"), { time = 8, what = "admin", to = "drain" }, health(9, "down") } },
    ["is not known without a history"] = { "up", nil, {} },
  } do
    it(name, function()
      assert.equal(case[2], since(case[1], case[3], 50))
    end)
  end
end)
