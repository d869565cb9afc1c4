-- The plain busted output; and the counts, for spec/run, in the file named by
-- the environment variable TALLY. No file means that busted did not get to
-- the end.
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.plainTerminal" (options)
  local name = os.getenv "TALLY"

  busted.subscribe({ "exit" }, function()
    if name then
      local file = assert(io.open(name, "w"))
      file:write(("%d %d %d\n"):format(handler.successesCount,
        handler.failuresCount + handler.errorsCount,
        handler.pendingsCount))
      file:close()
    end
    return nil, true
  end)
  return handler
end
