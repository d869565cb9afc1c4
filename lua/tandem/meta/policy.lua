---@meta tandem.policy

---@alias tandem.Choice tandem.Server|tandem.Server[]|nil
---@alias tandem.PolicyFunction fun(req: tandem.Request?, servers: tandem.Server[]): tandem.Choice

-- What a call takes of its server: { "pstn" } or { pstn = 2 }.
---@alias tandem.Resources string[]|table<string, integer>

-- A server as policies see it.
---@class tandem.policy.Server
---@field name string
---@field full string "pool/server"
---@field weight integer
---@field facts table numbers of the core: facts:get "latency" in microseconds
---@field resources table<string, integer> what it has of each
---@field handle tandem.Server

-- A choice that is to be made.
---@class tandem.policy.Call
---@field key string decides between equals: the Call-ID, or what the script gave
---@field req tandem.Request?
---@field now number as sip.now() counts
---@field step integer how many servers have been given for this request; 0 at first
---@field resources { name: string, units: integer }[]?
---@field turn integer? round_robin's

-- What new(pool) of a policy module gives.
---@class tandem.Policy
---@field by_name boolean? the lists are to be in the order of names, not as declared
---@field strict boolean? offer only who can take this very request, tell no one else
local policy = {}

-- What of the choice depends on the servers only; asked when these have changed.
-- Without it the list itself is what choose gets.
---@param servers tandem.policy.Server[] do not change it
---@return any view
function policy:prepare(servers) end

-- The best of these, and it is asked again with the others when that one failed or is
-- full; or several, best first; or nil for none of them. Cannot wait.
---@param view any
---@param call tandem.policy.Call
---@return tandem.policy.Server|tandem.policy.Server[]|nil
function policy:choose(view, call) end
