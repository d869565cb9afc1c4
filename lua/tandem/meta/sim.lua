---@meta tandem.sim

-- The simulator: specs for policies. `require "tandem.sim"` works in any stock
-- lua5.4; busted is the documented runner. Times are seconds of virtual time.

---@class tandem.sim
local sim = {}

---@class tandem.sim.Options
---@field script string? path of the policy
---@field source string? or its text
---@field seed integer? decides loss, jitter and identifiers; 1
---@field addr string|string[]|nil addresses of the proxy; what it listens on, else "10.0.0.100"
---@field workers integer? instead of what the script says
---@field files table<string, string>? data files and modules, found before the disk
---@field link tandem.sim.Link? of all hosts: net:link { ... }
---@field start number? wall time at 0, seconds since 1970; 2026-01-01T00:00:00Z
---@field hosts table<string, string>? host name to IP, for the endpoints only
---@field dns table<string, tandem.sim.Records>? what names mean
---@field key string? 16 bytes shared by the nodes of a cluster
---@field name string? in call flows; "proxy"
---@field listen string? a node without a script: "udp:0.0.0.0:5060"
---@field t1 number? of the endpoints; 0.5
---@field t2 number? of the endpoints; 4

-- A network, with a proxy when script or source is given.
---@param opts tandem.sim.Options?
---@return tandem.sim.Net
function sim.new(opts) end

-- The parser the endpoints use.
---@param bytes string
---@return tandem.sim.Message? message
---@return string? why
function sim.parse(bytes) end

---@class tandem.sim.Link
---@field loss number? 0 to 1
---@field delay number? seconds one way; 0.001
---@field jitter number? up to so many seconds more
---@field duplicate number? 0 to 1
---@field reorder number? 0 to 1: held back up to 20 ms, others may overtake
---@field mtu integer? bytes; a longer datagram comes back as too_big
---@field chunk integer? bytes on a connection arrive in pieces of so many; 0: as sent
---@field cut integer? a connection is reset when so many bytes have arrived; 0: never
---@field oneway boolean? only from a to b

-- One record; its fields say of what type it is.
---@class tandem.sim.Record
---@field address string? A or AAAA; a plain string is the same
---@field target string? SRV; "." is no service
---@field port integer? 5060
---@field priority integer? 0
---@field weight integer? 0
---@field service string? NAPTR: "SIP+D2U"
---@field replacement string?
---@field order integer? 0
---@field preference integer? 0
---@field flags string? "s"
---@field regexp string?
---@field cname string? CNAME
---@field ttl integer? seconds; 60

---@class tandem.sim.RecordList
---@field [integer] string|tandem.sim.Record
---@field ttl integer? of those that have none
---@field negative integer? seconds for which one may know that there is nothing; 60
---@field fail "servfail"|"refused"|"silent"|"garbage"|nil

---@alias tandem.sim.Records string|tandem.sim.Record|tandem.sim.RecordList

-- What an endpoint shows when TLS is spoken.
---@class tandem.sim.Tls
---@field names string[]? "sip:example.com", "example.com"; none: whatever it is asked for
---@field expired boolean?
---@field issuer string? whom nobody knows; "self"
---@field wants_client boolean?

---@class tandem.sim.EndpointOptions
---@field name string?
---@field proxy string? where its requests go: "10.0.0.100", "tcp:10.0.0.100:5060"
---@field from string? its URI
---@field transports string[]? "udp", "tcp", "tls": all of them on one address
---@field listen boolean? false: nobody can connect to it
---@field private string? its address behind a NAT
---@field tls tandem.sim.Tls?

---@alias tandem.sim.Machine tandem.sim.Endpoint|tandem.sim.Node|string

---@class tandem.sim.Net
---@field now number
---@field seed integer
---@field proxy string? where requests go when nothing else is said: the first node
---@field nodes tandem.sim.Node[]
---@field pools table<string, table<string, table>> net.pools.pbx.a.status, net.pools.pbx.state
---@field events table[] log events: time, level, event, node, worker and their fields
---@field logs string[] the same as an operator sees them
local net = {}

---@param addr string "10.0.0.1:5060", "tcp:10.0.0.1", "tls:..."; the port may be missing
---@param opts string|tandem.sim.EndpointOptions|nil
---@return tandem.sim.Endpoint
function net:uas(addr, opts) end

---@param addr string
---@param opts string|tandem.sim.EndpointOptions|nil
---@return tandem.sim.Endpoint
function net:uac(addr, opts) end

-- Another proxy; without script or source it runs what the first one runs.
---@param opts tandem.sim.Options?
---@return tandem.sim.Node
function net:node(opts) end

---@param seconds number
function net:run(seconds) end

---@param pred fun(): any
---@param max number? 60
---@param slice number? the longest time between two looks; 0.01
---@return boolean
function net:run_until(pred, max, slice) end

---@param seconds number
---@param fn fun()
---@return { cancel: fun() }
function net:after(seconds, fn) end

-- net:link(a, b, {...}), or net:link {...} for all that have none of their own.
---@param a tandem.sim.Machine|tandem.sim.Link
---@param b tandem.sim.Machine?
---@param opts tandem.sim.Link?
function net:link(a, b, opts) end

---@param a tandem.sim.Machine
---@param b tandem.sim.Machine
---@param opts { oneway: boolean }?
function net:partition(a, b, opts) end

---@param a tandem.sim.Machine?
---@param b tandem.sim.Machine?
function net:heal(a, b) end

-- All these nodes have the address, until one takes it. A datagram to it reaches all;
-- with switch one, and after so many seconds the next; with random any of them.
---@param ip string
---@param nodes tandem.sim.Node[] at most 4
---@param opts { switch: number?, random: boolean?, from: tandem.sim.Machine? }?
function net:split(ip, nodes, opts) end

-- What DNS says of a name from now on; nil: it does not exist.
---@param name string
---@param records tandem.sim.Records?
function net:dns(name, records) end

---@param mode "ok"|"slow"|"silent"|"refuse"|"servfail"|"garbage"
---@param seconds number? "slow": until it answers
function net:resolver(mode, seconds) end

-- What the resolver was asked.
---@return { name: string, type: string, time: number, node: integer }[]
function net:queries() end

---@param event string
---@param match table? field to value, or to a function of it
---@return integer
function net:count(event, match) end

---@param name string
---@param labels table<string, string>?
---@return number
function net:metric(name, labels) end

---@param what string|table|nil a path, or options; nothing: the same script again
---@return true? ok
---@return string? why
function net:reload(what) end

-- Changes a data file or module; when the script has read it with sip.data or
-- sip.netset it is loaded again a second later.
---@param name string
---@param bytes string? nil: the file is gone
function net:write(name, bytes) end

-- time, from, to, bytes, fate, transport, node, icmp of every datagram, message on a
-- connection and ICMP error.
---@return table[]
function net:packets() end

---@param what tandem.sim.Call|{ call: tandem.sim.Call?, methods: string[]?, all: boolean? }|nil
---@return string
function net:ladder(what) end

---@return string hash 16 hex digits
function net:trace_hash() end

-- Fails when anything is left or a script failed.
---@param opts { errors: integer }? script errors the test caused on purpose
function net:finish(opts) end

---@class tandem.sim.Node
---@field addr string where it is reached
---@field pools table
---@field workers integer 0 when it does not run
---@field generation integer scripts since the start
---@field retired integer earlier scripts that have requests yet
local node = {}

function node:crash() end
function node:stop() end
-- SIGSTOP: what it is sent waits, up to `buffer` bytes of datagrams for each worker.
---@param opts { buffer: integer? }? 4 MiB
function node:pause(opts) end
-- SIGCONT: timers that are due and what has waited, at once.
function node:resume() end
---@param on boolean? false: no more
function node:drain(on) end
function node:term() end
function node:start() end
function node:power_off() end

-- Where it is reached by a transport, from an address of the same family as ip.
---@param transport "udp"|"tcp"|"tls"
---@param ip string?
---@return string?
function node:listener(transport, ip) end

---@param ip string
function node:take(ip) end

---@param ip string
function node:drop(ip) end

---@param seconds number of its wall clock
function node:skew(seconds) end
-- The snapshot in the script's state_dir; others take its place.
---@param bytes string?
---@return string
function node:disk(bytes) end

-- What the script has kept in its state_dir beside the calls; with an argument another
-- text takes its place, "" for none.
---@param name "overrides.json"|"health.json"
---@param text string?
---@return string
function node:kept(name, text) end

-- Changes what operators want otherwise than the script says; as a reload.
---@param edit string JSON: { set = entries, clear = entries, clear_all = true }
---@return boolean? ok
---@return string? why
function node:override(edit) end

---@param what string|table|nil
---@return true? ok
---@return string? why
function node:reload(what) end

---@param name string
---@param bytes string?
function node:write(name, bytes) end

---@param name string
---@param labels table<string, string>?
---@return number
function node:metric(name, labels) end

-- What the control API would ask of a worker: the answer, or nil and why.
---@param what string "pools"
---@param args table?
---@param worker integer? 1
---@return any
---@return string? why
function node:ask(what, args, worker) end

-- A function of the module tandem.inspect, called in the script's Lua state.
---@param name string
---@param argument any plain data
---@param worker integer? from 1
---@return any
function node:inspect(name, argument, worker) end

-- What is alive in a worker.
---@param worker integer from 1
---@return table<string, integer>
function node:stats(worker) end

-- The n-th allocation from now on fails (0: none).
---@param n integer
---@param opts { worker: integer?, which: "core"|"lua"|"node"|nil, row: integer? }?
---@return integer calls so far
function node:fail_alloc(n, opts) end

---@class tandem.sim.Endpoint
---@field name string
---@field addr string
---@field received tandem.sim.Message[] with time and source
---@field garbage table[] what was no SIP message: bytes, why, time
---@field icmp table[] errors that came back: from, quoted, time
---@field ended table[] connections others ended: time, peer, transport, cause, text
---@field keepalives integer answers to its pings
---@field unacked integer finals of its INVITE transactions that nobody acknowledged
local endpoint = {}

---@param method string "*": those without a rule
---@param code integer
---@param headers table<string, string>?
---@param after number?
function endpoint:answer(method, code, headers, after) end

-- The next one only.
---@param method string
---@param code integer
---@param headers table<string, string>?
---@param after number?
function endpoint:once(method, code, headers, after) end

---@class tandem.sim.ReplyOptions
---@field headers table<string, string>?
---@field body string?
---@field reason string?
---@field tag string? of To, instead of one of its own
---@field reliable boolean? a provisional by RFC 3262

---@alias tandem.sim.Reply fun(code: integer, opts: tandem.sim.ReplyOptions?)

---@param method string
---@param fn fun(request: tandem.sim.Message, reply: tandem.sim.Reply)? nil: the default
function endpoint:on(method, fn) end

---@param after number? seconds until it answers
function endpoint:ring(after) end

-- Hears, does not answer.
function endpoint:silence() end
-- The same, and takes neither connections nor what is sent on one.
function endpoint:stall() end
-- ICMP port unreachable; connections are reset.
function endpoint:refuse() end
-- The same, and its calls are forgotten.
function endpoint:crash() end
-- No ICMP either.
function endpoint:power_off() end
function endpoint:resume() end

---@param what string|integer method or code
---@return tandem.sim.Message[]
function endpoint:got(what) end

---@param other tandem.sim.Endpoint
function endpoint:share_dialogs(other) end

---@param bytes string
---@param to string? address; the proxy
function endpoint:send(bytes, to) end

-- Those that are open, oldest first.
---@return tandem.sim.Connection[]
function endpoint:connections() end

-- Opens another one and sends nothing.
---@param to string? address; the proxy
---@return tandem.sim.Connection
function endpoint:connect(to) end

-- Sends bytes on its connection to the proxy, in pieces of n, so many seconds apart.
---@param bytes string
---@param n integer?
---@param every number?
---@return tandem.sim.Connection
function endpoint:raw(bytes, n, every) end

-- A keep-alive on that connection.
function endpoint:ping() end
-- Ends its connections after what was sent on them.
function endpoint:close() end
-- Resets them.
function endpoint:reset() end

---@param tls tandem.sim.Tls
function endpoint:identity(tls) end

---@param seconds number
---@param fn fun()
function endpoint:after(seconds, fn) end

---@class tandem.sim.RequestOptions
---@field headers table<string, string|string[]>|string[][]|nil
---@field body string?
---@field from string? URI
---@field to string? URI
---@field route string[]? values of Route
---@field proxy string? address it is sent to
---@field call_id string?
---@field cseq integer?
---@field from_tag string?
---@field branch string?
---@field via string? the whole value
---@field ack boolean? false: finals are not acknowledged (endpoint:ack does it)
---@field prack boolean? false: reliable provisionals are not confirmed
---@field again tandem.sim.Call? an earlier try of the same, as after a 407

-- These return at once.
---@param uri string
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:invite(uri, opts) end

---@param method string
---@param uri string
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:request(method, uri, opts) end

-- These run the network until the final response is in.
---@param uri string
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:call(uri, opts) end

---@param method string
---@param uri string
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:ask(method, uri, opts) end

-- In the dialog of a call, by whichever side; these return at once.
---@param call tandem.sim.Call
---@param method string
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:in_dialog(call, method, opts) end

---@param call tandem.sim.Call
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:bye(call, opts) end

---@param call tandem.sim.Call
---@param opts tandem.sim.RequestOptions?
---@return tandem.sim.Call
function endpoint:reinvite(call, opts) end

---@param call tandem.sim.Call
---@param opts { headers: table?, body: string? }?
function endpoint:ack(call, opts) end

---@param call tandem.sim.Call
function endpoint:cancel(call) end

---@class tandem.sim.Connection
---@field peer string
---@field transport "tcp"|"tls"
---@field accepted boolean? the peer opened it
---@field state "opening"|"up"|"closed"
---@field cause string? of its end
local connection = {}

---@param bytes string
---@param n integer? bytes in each piece
---@param every number? seconds between them
---@return tandem.sim.Connection self
function connection:send(bytes, n, every) end

function connection:ping() end
function connection:close() end
function connection:reset() end

---@class tandem.sim.Call
---@field id string Call-ID
---@field method string
---@field cseq integer
---@field from_tag string
---@field code integer? of the final response
---@field reason string?
---@field error "timeout"|"transport"|nil no response came
---@field done boolean
---@field state "calling"|"ringing"|"up"|"failed"|"ended"
---@field headers table<string, string> of the final response
---@field response tandem.sim.Message? the final one
---@field responses tandem.sim.Message[] all of them, repetitions too
---@field provisionals integer[]
---@field server string? whose final response it is; nil: the proxy's own
---@field tried string[] servers the proxy sent it to, once per attempt
---@field elapsed number seconds until the final, or until now
---@field extra integer further answers, acknowledged and hung up
---@field cancelled boolean
---@field cancel tandem.sim.Call? the CANCEL
local call = {}

---@param max number? 400
---@return tandem.sim.Call self
function call:wait(max) end

---@return string
function call:ladder() end

---@class tandem.sim.Message
---@field method string? of a request
---@field uri string?
---@field code integer? of a response
---@field reason string?
---@field body string
---@field bytes string
---@field time number when it came
---@field source string from where
---@field transport "udp"|"tcp"|"tls"
---@field call_id string
---@field cseq integer
---@field cseq_method string
---@field from_tag string?
---@field to_tag string?
---@field branch string?
local message = {}

---@param name string
---@return string?
function message:header(name) end

---@param name string
---@return string[]
function message:all(name) end

---@param name string
---@return string[]
function message:list(name) end

return sim
