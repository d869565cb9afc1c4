-- `tandem ctl` as an operator runs it, once per call.
--
--   local ctl = require("support.ctl").new(process.path "ctl.sock")
--   assert.same({ 0, "no call is left\n", "" }, { ctl "drain --wait" })
local process = require "support.process"
local sh = require "support.sh"
local os, setmetatable, string = os, setmetatable, string

local _ENV = nil

local ctl = {}
ctl.__index = ctl

local build = os.getenv "BUILD" or "build/san"

-- The command as a line for the shell. options: env ("A=b"), prefix (before the program).
function ctl:line(words, options)
  options = options or {}
  return string.format("%s env %s %s/tandem ctl -s %s %s", options.prefix or "",
    options.env or "", build, sh.quote(self.where), words)
end

-- Runs it to its end; words are for the shell. Gives the exit code, what it printed, and
-- its errors.
function ctl:run(words, options)
  local errors = process.path "ctl.errors"
  local _, output, code = sh.run("{ " .. self:line(words, options) .. " 2>" .. errors .. "; }")
  return code, output, process.read(errors)
end

ctl.__call = ctl.run

-- `where`: a socket, or http://IP:PORT.
function ctl.new(where)
  return setmetatable({ where = where }, ctl)
end

return ctl
