-- What `tandem test` has an interpreter run: busted, with the arguments it was given.
local io, os, pcall, require, tostring = io, os, pcall, require, tostring

local _ENV = nil

local usage = 2

local function missing(module, advice, why)
  io.stderr:write("tandem: ", module, " is not there for this Lua: ", advice, "\n")
  if why and not why:find("module '" .. module .. "' not found", 1, true) then
    io.stderr:write(why, "\n")
  end
  os.exit(usage)
end

local ok, runner = pcall(require, "busted.runner")
if not ok then
  missing("busted.runner", "apt install lua-busted, or luarocks --lua-version=5.4 install busted",
    tostring(runner))
end
local found, why = pcall(require, "tandem.simcore")
if not found then
  missing("tandem.simcore", "it comes with `make install`, beside the program", tostring(why))
end
runner { standalone = false }
