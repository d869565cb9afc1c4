-- A failing test names the seed it ran with. With busted that happens by itself;
-- with another runner net:finish() does it.
local io, ipairs, package, table = io, ipairs, package, table

local _ENV = nil

local seeds = {}
local open = {}
local subscribed = false

local function report()
  for _, net in ipairs(open) do
    if not net.finished then
      io.stderr:write(("tandem.sim: seed = %d, virtual time %.3f s\n"):format(net.seed, net.now))
    end
  end
end

local function subscribe()
  local busted = package.loaded.busted
  if subscribed or not busted or not busted.subscribe then
    return
  end
  subscribed = true
  busted.subscribe({ "failure", "it" }, function()
    report()
    return nil, true
  end)
  busted.subscribe({ "error", "it" }, function()
    report()
    return nil, true
  end)
end

-- Tells of the net if a test fails before it is finished.
function seeds.watch(net)
  subscribe()
  local kept = {}
  for _, other in ipairs(open) do
    if not other.finished then
      table.insert(kept, other)
    end
  end
  open = kept
  table.insert(open, net)
end

return seeds
