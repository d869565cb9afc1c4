-- The plain busted output; and for spec/run, in the file named by the
-- environment variable TALLY, the counts when busted gets to its end, and until
-- then the name of the test that runs: who crashes is known.
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.plainTerminal" (options)
  local name = os.getenv "TALLY"

  local function write(...)
    local file = assert(io.open(name, "w"))
    file:write(string.format(...), "\n")
    file:close()
    return nil, true
  end

  if name then
    busted.subscribe({ "test", "start" }, function(element)
      local where = element.trace or { short_src = "?", currentline = 0 }
      return write("in %s:%d %s", where.short_src, where.currentline,
        handler.getFullName(element))
    end)
    busted.subscribe({ "exit" }, function()
      return write("%d %d %d", handler.successesCount,
        handler.failuresCount + handler.errorsCount, handler.pendingsCount)
    end)
  end
  return handler
end
