-- assert.ladder(net or call, [[ ... ]]): the call flow is this one. Spacing does
-- not count, nor does what follows the five words of a line.
local assert = require "luassert"
local ladder = require "tandem.sim.ladder"
local say = require "say"

local _ENV = nil

say:set("assertion.ladder.positive", "The call flow is another.")
say:set("assertion.ladder.negative", "The call flow is that one.")

local function is_ladder(state, arguments)
  local what, expected = arguments[1], arguments[2]
  local actual = what:ladder()
  if ladder.same(expected, actual) then
    return true
  end
  local at, want, have = ladder.difference(expected, actual)
  local where = ("line %d is '%s', not '%s' (seed %d)"):format(at, have or "missing",
    want or "the end", (what.net or what).seed)
  -- luassert puts its own line, with these two arguments, behind it
  state.failure_message = ("%s\nexpected:\n%s\ngot:\n%s"):format(where, expected, actual)
  return false
end

assert:register("assertion", "ladder", is_ladder, "assertion.ladder.positive",
  "assertion.ladder.negative")

return ladder
