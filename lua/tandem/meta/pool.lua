---@meta tandem.pool

---@alias tandem.Health "unknown"|"up"|"falling"|"down"|"rising"
---@alias tandem.Admin "ready"|"drain"|"maint"
---@alias tandem.Status "maint"|"drain"|"down"|"held"|"up" the first that applies

---@class tandem.Pool
---@field name string
---@field state "up"|"backup"|"down" "backup": not the first tier takes new requests
---@field active_tier integer? nil when down
---@field servers tandem.Server[] read-only
local pool = {}

-- The usable servers, best first, for a loop; looked at again before every step.
---@param req tandem.Request?
---@param opts tandem.EachOptions?
---@return fun(): tandem.Server?
function pool:each(req, opts) end

---@param req tandem.Request?
---@param opts tandem.EachOptions?
---@return tandem.Server?
---@return "full"|"down"|"empty"|nil
function pool:pick(req, opts) end

---@param name string
---@return tandem.Server?
function pool:server(name) end

-- Ends the failback hold of a server, or of all.
---@param server tandem.Server?
function pool:failback(server) end

---@class tandem.EachOptions
---@field key string? instead of the Call-ID
---@field resources tandem.Resources? what a call takes: who lacks it is left out

---@class tandem.Server
---@field name string
---@field uri string
---@field addresses tandem.Address[] where it is; empty while its name is not known; read-only
---@field tier integer
---@field weight integer
---@field max_calls integer?
---@field max_cps number?
---@field resources table<string, { used: integer, capacity: integer }>
---@field health tandem.Health what checks, calls and mark_up/mark_down say
---@field admin tandem.Admin what operators say
---@field status tandem.Status both, and the holds, in one word
---@field since number when the health changed, as sip.now() counts
---@field up_for number seconds; 0 when it is not up
---@field inflight integer attempts of new requests that wait for its final answer
---@field calls integer calls that are up
---@field latency number? seconds, smoothed; nil before the first answer
---@field history tandem.Change[] the last 50 changes, oldest first; read-only
local server = {}

-- No new requests for so long. Of the same reason the latest end counts; 0 ends it.
---@param seconds number
---@param why string?
function server:hold(seconds, why) end
---@param why string?
function server:mark_down(why) end
-- Also ends the failback hold and a passive one.
---@param why string?
function server:mark_up(why) end
-- No new requests, existing calls go on; still checked.
---@param why string?
---@param seconds number? then it is ready again
function server:drain(why, seconds) end
---@param why string?
function server:ready(why) end
-- Out of order; not checked.
---@param why string?
---@param seconds number? then it is ready again
function server:maint(why, seconds) end

---@class tandem.Address one of the addresses of a server
---@field address string "10.0.0.1:5060"
---@field transport "udp"|"tcp"|"tls"
---@field health tandem.Health
---@field rank integer 0 is tried first
---@field weight integer between those of a rank, as RFC 2782 has it

---@class tandem.Change
---@field time number seconds since 1970
---@field what "health"|"admin"|"hold"
---@field from string? of health and admin
---@field to string? of health and admin
---@field seconds number? of a hold: 0 when it ended
---@field why string
---@field who string
