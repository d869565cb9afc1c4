-- Commands for specs. What a spec starts must not inherit the preloaded
-- sanitiser runtime of the spec itself, so start everything through here.
local io, string, table = io, string, table

local _ENV = nil

local sh = {}

local clean = "exec env -u LD_PRELOAD "

-- A word quoted for the shell.
function sh.quote(word)
  return "'" .. string.gsub(word, "'", "'\\''") .. "'"
end

-- Opens a pipe from a shell command, standard error included.
function sh.popen(command)
  return io.popen(clean .. "sh -c " .. sh.quote(command .. " 2>&1"))
end

-- Runs a shell command to its end.
-- Returns whether it exited with 0, its output, and the exit status.
function sh.run(command)
  local pipe = sh.popen(command)
  local output = pipe:read "a"
  local ok, _, status = pipe:close()
  return ok or false, output, status
end

-- The lines a shell command prints, or nil and why it failed.
function sh.lines(command)
  local pipe = sh.popen(command)
  local list = {}
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  local ok = pipe:close()
  if not ok then
    return nil, command .. " failed: " .. table.concat(list, "\n")
  end
  return list
end

return sh
