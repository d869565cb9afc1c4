-- Waiting for what other programs do; for specs and for measurements, so without busted.
local socket = require "socket"

local _ENV = nil

local wait = {}

wait.now = socket.gettime
wait.sleep = socket.sleep

-- Asks until fn returns something true, which it returns; once more when `seconds` are
-- over, and then gives back what that says.
function wait.eventually(seconds, fn)
  local deadline = wait.now() + seconds
  repeat
    local value = fn()
    if value then
      return value
    end
    wait.sleep(0.01)
  until wait.now() > deadline
  return fn()
end

return wait
