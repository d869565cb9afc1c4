-- The verbs of `tandem ctl`, in the order of its help.
local ipairs, require, table = ipairs, require, table

---@class tandem.Verb
---@field name string one word, or two
---@field args? string what follows, for usage: "POOL/NAME"
---@field least? integer of these
---@field most? integer
---@field summary string
---@field more? string lines of help
---@field options? tandem.Option[]
---@field run fun(ctx: table, words: string[], options: table): integer? exit code

local modules = { "look", "why", "server", "proxy", "watch" }

---@type tandem.Verb[]
local list = {}
for _, name in ipairs(modules) do
  local verbs = require("tandem.command.ctl.verbs." .. name)
  table.move(verbs, 1, #verbs, #list + 1, list)
end

local _ENV = nil

local verbs = { list = list }

---@param name string
---@return tandem.Verb?
function verbs.find(name)
  for _, verb in ipairs(list) do
    if verb.name == name then
      return verb
    end
  end
end

return verbs
