---@meta tandem.request

-- Requests and responses. A verb (reply, relay, forward, drop) ends a request; a second
-- one raises, none is an error of the script.

---@class tandem.Source
---@field ip string
---@field port integer
---@field transport "udp"|"tcp"|"tls"
---@field server tandem.Server? if it is one
---@field identity string? the domain it has proved to be (TLS)

---@class tandem.Request
---@field method string
---@field ruri tandem.Uri assignable, and so are its fields
---@field from tandem.Party
---@field to tandem.Party
---@field call_id string
---@field source tandem.Source who sent it
---@field listener { index: integer, ip: string, port: integer, transport: string } where it came in
---@field kind "initial"|"in_dialog"|"from_server"
---@field vars table yours, for as long as the request lives
---@field body string assignable
local request = {}

---@param name string
---@return string? first
function request:header(name) end
---@param name string
---@return string[]
function request:headers(name) end
---@param name string
---@param value string
function request:set_header(name, value) end
---@param name string
---@param value string
function request:add_header(name, value) end
---@param name string
function request:del_header(name) end

-- Seconds since it was received.
---@return number
function request:age() end
-- A 2xx went up, or the caller has hung up: nothing can be changed any more.
---@return boolean
function request:decided() end
-- A verb was used, or it is decided.
---@return boolean
function request:answered() end

-- Answers it. A provisional is no verb.
---@param code integer
---@param reason string?
---@param opts tandem.ReplyOptions?
function request:reply(code, reason, opts) end

---@class tandem.ReplyOptions
---@field headers table<string, string|string[]>?
---@field body string? needs a Content-Type header

-- Ends it without an answer; `why` is counted.
---@param why string
function request:drop(why) end

-- One attempt. `timeout` is until any response, 4 s; timeout and retransmits exclude
-- each other.
---@param target tandem.Server|tandem.Contact|string
---@param opts tandem.TryOptions?
---@return tandem.Response?
---@return "timeout"|"transport"|"cancelled"|nil
---@return tandem.Detail?
function request:try(target, opts) end

---@class tandem.TryOptions
---@field timeout number? until any response; 4
---@field retransmits integer? instead of timeout: so many without an answer
---@field progress_timeout number? after a 100; 12
---@field ring_timeout number? after the first 101-199; 185
---@field key string? instead of the Call-ID
---@field resources tandem.Resources? what a call takes of its server
---@field on_response fun(res: tandem.Response)? sees 101-199 and 2xx pass; may edit headers

---@class tandem.AttemptOptions
---@field timeout number?
---@field retransmits integer?
---@field progress_timeout number?
---@field ring_timeout number?
---@field last_timeout number? of relay: the last candidate; 64*T1
---@field attempts integer? of relay; 2
---@field budget number? of relay, from receipt: INVITE 60, others 20

-- Several at once, at most 8: the 2xx, or the best final when all have ended.
---@param targets (tandem.Server|tandem.Contact|string)[]
---@param opts tandem.TryOptions?
---@return tandem.Response?
---@return "timeout"|"transport"|"cancelled"|"depth"|"forbidden"|"empty"|nil
---@return tandem.Detail?
function request:fork(targets, opts) end

-- Tries one server after the other and answers the caller; nil when there was nobody.
---@param target tandem.Pool|tandem.Server|tandem.Contact|string|table
---@param opts tandem.RelayOptions?
---@return true?
---@return "full"|"down"|"empty"|nil
function request:relay(target, opts) end

-- For "*in_dialog": along the route set, or with shared_dialogs to another server when
-- its own is down or does not answer; and answers the caller.
---@return true
function request:relay_dialog() end

---@class tandem.RelayOptions: tandem.TryOptions
---@field last_timeout number?
---@field attempts integer?
---@field budget number?
---@field retry_on ("local"|integer)[]|nil

---@class tandem.Uri
---@field scheme string
---@field user string?
---@field host string
---@field port integer?
---@field params table<string, string>
---@field text string

---@class tandem.Party
---@field display string?
---@field text string the whole value
---@field uri string
---@field scheme string
---@field user string?
---@field host string
---@field port integer?
---@field params table<string, string>
---@field tag string?

---@class tandem.Contact
---@field uri string
---@field q number?
---@field params table<string, string>
---@field path string?

---@alias tandem.Cause
---| "silent" # no answer in time
---| "no_progress" # 100 and nothing more
---| "icmp_port"
---| "icmp_host"
---| "icmp_net"
---| "refused"
---| "connect_timeout"
---| "reset"
---| "closed"
---| "tls_identity"
---| "tls_handshake"
---| "dns_none"
---| "dns_timeout"
---| "no_source" # we have no address to send from
---| "too_big"

---@class tandem.Detail
---@field cause tandem.Cause
---@field address string? "10.0.0.1:5060"
---@field provisional boolean a 1xx had come

---@class tandem.Response
---@field code integer
---@field reason string
---@field method string of its CSeq
---@field body string
---@field server tandem.Server? who answered
---@field address string? where that was
---@field retry_after number?
---@field is_local boolean made by us: nobody answered the ringing
---@field contacts tandem.Contact[]
local response = {}

---@param name string
---@return string? first
function response:header(name) end
---@param name string
---@return string[]
function response:headers(name) end
---@param name string
---@param value string
function response:set_header(name, value) end
---@param name string
---@param value string
function response:add_header(name, value) end
---@param name string
function response:del_header(name) end

-- Passes it on to the caller; a 503 as 500. A 2xx has gone already.
---@param opts tandem.ForwardOptions?
function response:forward(opts) end

---@class tandem.ForwardOptions
---@field keep_503 boolean?

-- Within the dialog of our own INVITE: res:request("BYE").
---@param method string
---@param opts tandem.InDialogRequest?
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function response:request(method, opts) end

---@class tandem.InDialogRequest
---@field headers table<string, string|string[]>?
---@field body string?
---@field timeout number?
---@field user string? to answer a 401 or 407 with
---@field password string?
