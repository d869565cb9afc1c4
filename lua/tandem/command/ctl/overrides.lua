-- What operators want otherwise than the script, as text.
local cjson = require "cjson"
local duration = require "tandem.command.duration"
local servers = require "tandem.command.ctl.servers"
local text = require "tandem.command.text"
local ipairs, os, pcall, type = ipairs, os, pcall, type

local _ENV = nil

local overrides = {}

-- A number, a word, a server that was added or taken out, or nothing.
local function value(item)
  if type(item) == "string" and item:find "^{" then
    local ok, decoded = pcall(cjson.decode, item)
    item = ok and decoded or item
  end
  if type(item) == "table" then
    return item.uri or ""
  elseif type(item) == "number" then
    return ("%g"):format(item)
  end
  return type(item) == "string" and item or ""
end

---@param list table[] as /v1/overrides has them
---@param out tandem.Terminal
---@return string
function overrides.text(list, out)
  if #list == 0 then
    return "There are none: all is as the script says.\n"
  end
  local rows, now = {}, os.time()
  for i, item in ipairs(list) do
    rows[i] = {
      item.pool .. "/" .. item.server, item.what, value(item.value), value(item.configured),
      item.ends and item.ends > now and duration.text(item.ends - now) or "",
      item.when and servers.clock(item.when, now) or "", item.who or "", item.reason or "",
    }
  end
  return text.table({
    { title = "SERVER" }, { title = "WHAT" }, { title = "VALUE", least = 8 },
    { title = "SCRIPT", least = 6 }, { title = "LEFT", align = "right" },
    { title = "SINCE", drop = 2 }, { title = "WHO", drop = 1 }, { title = "REASON", least = 8 },
  }, rows, { width = out.width, paint = out.paint })
end

return overrides
