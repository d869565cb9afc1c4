-- busted, in the interpreter that runs this file. Debian's `busted` command
-- starts in Lua 5.1 and then runs a second one through a shell; with the
-- sanitiser preloaded that would be three processes instead of one.
package.path = "./spec/?.lua;" .. package.path

-- WORKERS=N: every simulated node that does not say another number has so many.
local workers = math.tointeger(tonumber(os.getenv "WORKERS"))
if workers then
  package.preload["tandem.sim"] = function(name)
    local path = assert(package.searchpath(name, package.path))
    local sim = assert(loadfile(path))(name, path)
    local new = sim.new
    function sim.new(opts)
      local mine = { workers = workers }
      for key, value in pairs(opts or {}) do
        mine[key] = value
      end
      return new(mine)
    end
    return sim
  end
end

table.insert(arg, 1, "--ignore-lua")
table.insert(arg, 1, "--output=support.tally")
require "busted.runner" { standalone = false }
