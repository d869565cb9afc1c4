-- What happened to each server: its last changes of health, admin state and holds.
-- Written by worker 0, readable by all, kept across reloads in a shared table of our
-- own. Where that table has no room, the older half is given up.
local core = require "tandem.core"
local cut = require "tandem.cut"
local pcall, table = pcall, table

local _ENV = nil

local history = {}

local most = 50
local text_most = 120 -- bytes of a reason, which may be long

local function store()
  return core.shared "tandem.history"
end

-- As it is kept; another text after each change.
---@param server table
---@return string?
function history.text(server)
  return store():get(server.full)
end

---@param server table
---@return tandem.Change[] oldest first
function history.load(server)
  local text = history.text(server)
  return text and core.json_decode(text) or {}
end

---@param server table
---@param change tandem.Change without its time
function history.add(server, change)
  local list = history.load(server)
  change.time, change.why = core.wall(), cut(change.why, text_most)
  list[#list + 1] = change
  local from = #list > most and #list - most + 1 or 1
  while from <= #list do
    local kept = table.move(list, from, #list, 1, {})
    if pcall(store().set, store(), server.full, core.json_encode(kept)) then
      return
    end
    from = from + (#list - from) // 2 + 1
  end
  store():set(server.full, nil)
end

---@param full string
function history.erase(full)
  store():set(full, nil)
end

return history
