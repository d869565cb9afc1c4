-- The state of the proxy as text.
local duration = require "tandem.command.duration"
local servers = require "tandem.command.ctl.servers"
local text = require "tandem.command.text"
local ipairs, table = ipairs, table

local _ENV = nil

local status = {}

local span = duration.text
local most = 12 -- servers that are told of here

local function ago(value, time)
  return ("%s ago"):format(span(value.now - time))
end

local reload_cause = { start = "at the start" }

local function config(value, out)
  local reload = value.reload
  local lines = { ("generation %d"):format(value.generation) }
  if reload and reload.when then
    lines[1] = ("%s, loaded %s%s"):format(lines[1], ago(value, reload.when),
      reload.cause and (" (%s)"):format(reload_cause[reload.cause] or reload.cause) or "")
  end
  local rejected = reload and reload.rejected
  if rejected then
    lines[2] = out.paint(text.clean(("generation %d rejected %s: %s"):format(rejected.generation,
      ago(value, rejected.when), rejected.reason)), "red")
  end
  return lines
end

local function warnings(value, pools)
  local list = {}
  if value.draining then
    list[#list + 1] = "draining: new requests are answered 503 (tandem ctl drain --off)"
  end
  if (value.overloaded or 0) > 0 then
    list[#list + 1] = ("too much comes: new requests are answered 503 by %d of %s")
      :format(value.overloaded, text.count(value.workers, "worker"))
  end
  if value.key_is_temporary then
    list[#list + 1] = "calls do not survive a restart: set state_dir or key_file"
  end
  for _, pool in ipairs(pools) do
    if pool.unchecked > 0 then
      list[#list + 1] = ("pool %s: %s without checks"):format(pool.name,
        text.count(pool.unchecked, "server"))
    end
  end
  return list
end

-- For a cluster: its nodes must show the same.
local function key(value)
  local found = value.key
  if not found or found.origin ~= "file" then
    return nil
  end
  return "file: signs " .. found.signs
    .. (found.verifies and ", knows " .. found.verifies or "")
end

local function calls(value)
  local parts = { ("%d up"):format(value.count.calls) }
  if value.count.requests then
    parts[2] = text.count(value.count.requests, "request") .. " open"
  end
  return table.concat(parts, ", ")
end

-- The servers that are not as they should be.
local function problems(pools, out)
  local rows, more = {}, 0
  for _, pool in ipairs(pools) do
    for _, server in ipairs(pool.servers) do
      local state, colour = servers.state(server)
      if colour ~= "green" and state ~= "unchecked" then
        if #rows < most then
          rows[#rows + 1] = {
            pool.name .. "/" .. server.name, state,
            server.status_for and span(server.status_for) or "", servers.why(server),
            colours = { nil, colour },
          }
        else
          more = more + 1
        end
      end
    end
  end
  if #rows == 0 then
    return ""
  end
  return "\n" .. text.table({
    { title = "NOT UP" }, { title = "STATE" }, { title = "FOR", align = "right" },
    { title = "WHY", least = 12 },
  }, rows, { width = out.width, paint = out.paint })
    .. (more > 0 and ("and %d more: tandem ctl servers\n"):format(more) or "")
end

---@param value table as /v1/status has it
---@param pools table[] as /v1/pools has them
---@param out tandem.Terminal
---@return string
function status.text(value, pools, out)
  local lines = { ("tandem %s, up for %s, since %s, process %d\n"):format(value.version,
    span(value.uptime), servers.clock(value.started, value.now), value.pid) }
  local function add(name, s)
    lines[#lines + 1] = ("  %-8s %s\n"):format(name, s)
  end
  add("script", text.clean(value.script))
  for i, line in ipairs(config(value, out)) do
    add(i == 1 and "config" or "", line)
  end
  local shown = key(value)
  if shown then
    add("key", shown)
  end
  add("calls", calls(value))
  for i, line in ipairs(warnings(value, pools)) do
    add(i == 1 and "warning" or "", out.paint(line, "yellow"))
  end
  return table.concat(lines) .. "\n" .. servers.pools(pools, out) .. problems(pools, out)
end

return status
