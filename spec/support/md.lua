-- Message digests by the programs of the system, for specs that check ours: an
-- implementation that shares nothing with the core.
local sh = require "support.sh"

local programs = { ["md5"] = "md5sum", ["sha-256"] = "sha256sum" }

-- The digest of a text in hex digits, nil for an algorithm that is not known here.
---@param algorithm "md5"|"sha-256"
---@param text string
---@return string?
return function(algorithm, text)
  local program = programs[algorithm]
  if not program then
    return nil
  end
  local _, output = sh.run(("printf %%s %s | %s"):format(sh.quote(text), program))
  return assert(output:match "^(%x+) ", output)
end
