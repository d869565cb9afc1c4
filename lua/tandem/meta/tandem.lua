---@meta tandem

-- What `require "tandem"` gives. Times are seconds. Declaring (listen, settings, pool,
-- netset, data, route) is only possible while the script loads; what is wrong raises
-- with file, line and a suggestion.

---@class tandem
local sip = {}

-- Where to listen: "udp:0.0.0.0:5060", or { "udp:0.0.0.0:5060", advertise = HOST };
-- "tcp:..."; { "tls:...", cert = PATH, key = PATH }.
---@param list (string|tandem.Listener)[]
function sip.listen(list) end

---@class tandem.Listener
---@field [1] string address: "udp:0.0.0.0:5060"
---@field advertise string? what we call ourselves in Via and Record-Route
---@field cert string? TLS: PEM, the certificate and what leads to its CA
---@field key string? TLS: PEM, its private key
---@field ca string? TLS: PEM, who vouches for clients; with verify
---@field verify boolean? TLS: clients must show a certificate; false

---@class tandem.TlsOptions
---@field ca string? PEM, who vouches for the server; the system's
---@field name string? who it has to be; the host of its URI
---@field cert string? PEM, what we show when we are asked
---@field key string? PEM
---@field verify boolean? false: whoever answers is believed; true

---@param opts tandem.Settings
function sip.settings(opts) end

---@class tandem.Settings
---@field workers integer? 1
---@field log_level "debug"|"info"|"warn"|"error"|nil "info"
---@field stop_timeout number? seconds for which TERM waits for requests; 30
---@field drain_notice number? seconds for which draining is only announced; 0
---@field watchdog number|false|nil seconds after which a stuck process aborts; 30; false: never
---@field state_dir string? where keys and state are kept
---@field key_file string? the key shared by the nodes of a cluster
---@field timers { t1: number?, t2: number?, t4: number? }? 0.5, 4, 5 (RFC 3261)
---@field domains string[]? hosts we serve: anybody may reach them
---@field trust tandem.NetSet|string[]|nil sources that may send anywhere
---@field dns tandem.DnsSettings?
---@field trying "commit"|"rfc"|nil when a caller gets 100; "commit"
---@field late_answer "bye"|"forward"|nil a 2xx after our own final; "bye"
---@field stateless_relay "all"|"invite"|false|nil of requests that another node sent; "all"
---@field nodes string[]? own addresses ("IP[:PORT]") of all nodes of the cluster
---@field tcp tandem.TcpSettings? limits of connections, over TLS too
---@field udp tandem.UdpSettings? how datagrams leave
---@field udp_max integer|false|nil requests of more bytes go by TCP; 1300; false: never
---@field overload tandem.OverloadSettings|false|nil when more comes than can be done
---@field max_memory integer|false|nil bytes for requests and calls; half of the machine's
---@field notify string|{ program: string, per_minute: integer?, timeout: number? }|nil
---@field trace tandem.TraceSettings? mirrors messages to a collector
---@field why_memory integer|false|nil bytes of decision traces per worker; 4194304; false: none
---@field lua { memory: number?, burst: number? }? limits of the script: bytes, seconds

---@class tandem.OverloadSettings
---@field delay number? seconds that messages may have waited; 0.05
---@field retry_after integer|false|nil seconds, in the mean; 5
---@field exempt string[]? numbers that may be called all the same

---@class tandem.TraceSettings
---@field hep string? "udp:192.0.2.9:9060"
---@field id integer? of this proxy as a capture agent; 2001
---@field name string? the same as a word
---@field password string? that the collector wants to see
---@field share number? of the calls; 1
---@field redact boolean? leave secrets out; true

---@class tandem.TcpSettings
---@field connect_timeout number? seconds to be up, TLS handshake included; 2
---@field handshake_timeout number? seconds for the TLS handshake of who connects to us; 5
---@field header_timeout number? seconds for a first message, and for one that has begun; 10
---@field idle_timeout number? seconds without message, keep-alive or transaction; 120
---@field per_source integer? connections from one IPv4 address or IPv6 /64; 64
---@field connections integer? in all; 20000
---@field max_message integer? bytes of one message; 65535
---@field max_queue integer? bytes that may wait to be written or read; 262144

---@class tandem.UdpSettings
---@field gso boolean? messages of one length leave together; true

---@class tandem.DnsSettings
---@field servers string[]? "127.0.0.1", "[::1]:5353"; those of /etc/resolv.conf
---@field timeout number? of one look-up; 2
---@field ttl_min number? 1
---@field ttl_max number? 3600
---@field negative number? at most; 30
---@field stale number? used so long while nobody answers; 3600
---@field names integer? in the cache; 4096

-- Servers in tiers, with checks. `name` is of letters, digits, '_', '.' and '-'.
---@param name string
---@param opts tandem.PoolOptions
---@return tandem.Pool
function sip.pool(name, opts) end

---@alias tandem.PolicyName
---| "ordered"
---| "round_robin"
---| "weighted"
---| "least_calls"
---| "latency"
---| "hash"

---@class tandem.PoolOptions
---@field servers tandem.ServerOptions[]? these, or discover
---@field discover tandem.DiscoverOptions? names that lead to its servers
---@field policy tandem.PolicyName|tandem.PolicyFunction|table|nil "ordered"; discover: "weighted"
---@field bound number? with "hash": nobody takes more than this times the mean load
---@field slow_start number? seconds until a server that came back takes its whole share
---@field tls tandem.TlsOptions? how connections by TLS are opened
---@field check tandem.CheckOptions|false|nil
---@field passive tandem.PassiveOptions|false|nil
---@field failback tandem.FailbackOptions|tandem.FailbackFunction|nil
---@field keep integer? servers that passive evidence alone never takes; 1
---@field all_down "try"|"fail"|nil with nothing usable: one last attempt, or none; "try"
---@field attempt tandem.AttemptOptions? how its servers are tried, unless the call says
---@field retry_on ("local"|integer)[]|nil for relay; { "local", 503 }
---@field record_route boolean? true
---@field shared_dialogs boolean? requests in calls may go to another server; false
---@field path "supported"|"always"|false|nil REGISTERs that get a Path (RFC 3327); false
---@field max_duration number? seconds a call without session timer counts; 43200

-- { "sip:trunk.carrier.example", stale = 3600 }
---@class tandem.DiscoverOptions
---@field [integer] string SIP URIs; the tiers of the second come after those of the first
---@field stale number? seconds what was found stays when there is no answer; 3600
---@field max integer? servers; 16
---@field rewrite "host"|"uri"|nil what of the Request-URI becomes that of the name

---@class tandem.ServerOptions
---@field name string
---@field uri string "sip:10.0.0.1", "sip:pbx.example.com;transport=tcp"
---@field addresses string[]? where it is, instead of the host of uri: at most 8, best first
---@field tier integer? 1 is first; 1
---@field weight integer? 0: only when nothing else of the tier is there; 1
---@field max_calls integer? set-up and confirmed calls
---@field max_cps number? calls begun per second
---@field admin "ready"|"drain"|"maint"|nil what it is without an order; "ready"
---@field resources table<string, integer>? how much it has of named things, at most 8
---@field tls tandem.TlsOptions? what differs from the pool's
---@field check tandem.CheckOptions|false|nil what differs from the pool's checks
---@field rewrite "host"|"uri"|nil what of the Request-URI becomes the server's; nothing

-- True: good; false: bad; nil: nothing was learned. And why.
---@alias tandem.CheckFunction fun(server: tandem.Server): boolean?, string?

---@class tandem.CheckOptions
---@field method "OPTIONS"|"REGISTER"|"INVITE"|tandem.CheckFunction|nil "OPTIONS"
---@field when "always"|"down"|"backup"|nil "always"
---@field interval number? 2; REGISTER and INVITE 60
---@field fast_interval number? while falling or rising; 1
---@field down_interval number|number[]|nil while down; { first, longest } doubles
---@field timeout number? less than interval; 1, REGISTER and INVITE 32
---@field fall integer? bad ones in a row until down; 3
---@field rise integer? good ones in a row until up; 2
---@field jitter number? fraction of the interval; 0.1
---@field expect "any"|integer[]|(fun(res: tandem.Response): boolean)|nil
---@field from string? URI; default: our first domain
---@field to string? URI; default: the server; HOST is its host
---@field user string? for a 401 or 407
---@field password string?
---@field contact string? of a REGISTER; without it nothing is registered
---@field socket string? the listener to send from while the address of the traffic is not ours

---@class tandem.PassiveOptions
---@field fall integer? local failures in a row; 3
---@field hold number? 30, doubled with each recent fall
---@field codes integer[]? answers that count like none

---@class tandem.FailbackOptions
---@field hold number? 30, doubled with each recent fall
---@field hold_max number? 600; also how long a fall counts
---@field enabled boolean? false: not while what serves now goes on serving; true
---@field manual boolean? true: not before pool:failback(); false

-- Asked every second whether a server that came back takes its calls again. Cannot
-- wait.
---@alias tandem.FailbackFunction fun(pool: tandem.Pool, server: tandem.Server): boolean

-- Networks, and those in the lines of a file.
---@param list table { "10.0.0.0/8", file = "office.txt" }
---@return tandem.NetSet
function sip.netset(list) end

---@class tandem.NetSet
---@field networks string[] read-only
local netset = {}

-- Is this IP address in one of them?
---@param ip string
---@return boolean
function netset:has(ip) end

-- What is in a JSON file, or the lines of another one; read-only.
---@param path string
---@return table
function sip.data(path) end

-- Runs once all is declared: in `tandem check`, at the start and before a reload takes
-- over. An error refuses the script.
---@param fn fun()
function sip.self_test(fn) end

-- Who decides about initial requests (of a method), about requests within dialogs
-- ("*in_dialog") and about initial requests that a server sent ("*from_server").
---@param method string|"*in_dialog"|"*from_server"
---@param fn tandem.Handler
---@overload fun(fn: tandem.Handler)
function sip.route(method, fn) end

---@alias tandem.Handler fun(req: tandem.Request): ...

---@alias tandem.EventName
---| "server.health" # a server's health changed; at the start: what it is
---| "server.admin" # an order: ready, drain, maint; or its end
---| "server.hold" # a hold began or has ended
---| "pool.state" # "up", "backup", "down"
---| "pool.tier" # another tier takes new requests; 0 is none
---| "branch.failed" # an attempt got no answer
---| "config.reload" # this script has replaced another one
---| "start"
---| "stop"

---@class tandem.Event
---@field event tandem.EventName
---@field pool tandem.Pool?
---@field server tandem.Server?
---@field from string|integer|nil
---@field to string|integer|nil
---@field reason string?
---@field who string? "check", "calls", "failback", "need", "timer", "start", "script FILE:LINE"
---@field seconds number? of a hold: 0 when it ended; of an order: for how long
---@field cause tandem.Cause? of branch.failed
---@field address string? of branch.failed
---@field method string? of branch.failed
---@field call_id string? of branch.failed

-- Hears of events, in worker 0 unless { per_worker = true }. May wait, except for
-- "stop".
---@param event tandem.EventName
---@param fn fun(event: tandem.Event)
---@param opts { per_worker: boolean? }?
function sip.on(event, fn, opts) end

-- Repeats fn. Asked for while the script loads: in worker 0 unless { per_worker =
-- true }; by a handler: in its worker. A run that still goes on when
-- the next is due is not joined by another.
---@param seconds number
---@param fn fun()
---@param opts { jitter: number?, per_worker: boolean? }?
---@return tandem.Timer
function sip.every(seconds, fn, opts) end

-- Calls fn once, in the same worker as sip.every does.
---@param seconds number
---@param fn fun()
---@return tandem.Timer
function sip.after(seconds, fn) end

---@class tandem.Timer
local timer = {}
function timer:cancel() end

-- Seconds of a clock that only goes forward.
---@return number
function sip.now() end

---@param seconds number
function sip.sleep(seconds) end

---@param fn fun(): ...
---@return tandem.Task
function sip.spawn(fn) end

---@class tandem.Task
local task = {}
-- What its function returned; nil, "failed" when it raised or was cancelled.
function task:wait() end
-- Ends it where it waits.
function task:cancel() end

-- A table that all workers share and that outlives a reload.
---@param name string
---@return tandem.Shared
function sip.shared(name) end

---@class tandem.Shared
local shared = {}
---@param key string
---@return string|number|boolean|nil
function shared:get(key) end
---@param key string
---@param value string|number|boolean|nil nil removes
---@param ttl number? seconds
function shared:set(key, value, ttl) end
---@param key string
---@param by integer? 1
---@param init integer? 0
---@param ttl number? seconds, when it is new
---@return integer
function shared:incr(key, by, init, ttl) end

-- A request of our own. An INVITE's 2xx is acknowledged; end the call with
-- res:request("BYE").
---@param opts tandem.OwnRequest
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function sip.request(opts) end

---@class tandem.OwnRequest
---@field method string
---@field uri string
---@field from string?
---@field to string?
---@field headers table<string, string|string[]>?
---@field body string?
---@field timeout number?
---@field user string? to answer a 401 or 407 with
---@field password string?

-- Where the servers of a SIP URI are (RFC 3263), in the order in which to try them.
-- Yields.
---@param uri string
---@param opts { key: string? }? orders equal choices; the same key, the same order
---@return tandem.Places?
---@return "bad_uri"|"dns_none"|"dns_timeout"|nil
function sip.resolve(uri, opts) end

---@class tandem.Places
---@field [integer] tandem.Place
---@field ttl number seconds for which it is good; math.huge for an address
---@field stale boolean the answers have run out, and nobody gives others

---@class tandem.Place
---@field address string "10.0.0.1:5060", "[2001:db8::1]:5060"
---@field ip string
---@field port integer
---@field transport "udp"|"tcp"|"tls"
---@field rank integer 0 is to be tried first
---@field weight integer of SRV; 0 without
---@field target string the name whose address it is

sip.log = {}
---@param message string
---@param fields table<string, string|number|boolean>?
function sip.log.debug(message, fields) end
---@param message string
---@param fields table<string, string|number|boolean>?
function sip.log.info(message, fields) end
---@param message string
---@param fields table<string, string|number|boolean>?
function sip.log.warn(message, fields) end
---@param message string
---@param fields table<string, string|number|boolean>?
function sip.log.error(message, fields) end

-- A counter among the metrics.
---@param name string "calls_rejected_total"
---@param help string
---@param labels table<string, string>?
---@return tandem.Counter
function sip.counter(name, help, labels) end

---@class tandem.Counter
local counter = {}
---@param n integer? 1
function counter:add(n) end

return sip
