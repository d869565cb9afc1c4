-- Every metric there is: name, type, labels and what it means, in the order in which
-- they are shown. docs/reference/metrics.md says the same at length, and a spec
-- compares the two with each other and with what is counted.
local ipairs = ipairs

local _ENV = nil

local catalog = { list = {}, by_name = {} }

local function put(kind, rows, of_host)
  for _, row in ipairs(rows) do
    local entry = {
      name = row[1], type = kind, labels = row[2], help = row[3], of_host = of_host,
    }
    catalog.list[#catalog.list + 1] = entry
    catalog.by_name[entry.name] = entry
  end
end

local function add(kind, rows)
  put(kind, rows, false)
end

-- The same of what the process counts beside its workers, and no simulation has.
local function add_of_host(kind, rows)
  put(kind, rows, true)
end

-- What runs, and how well.
add_of_host("gauge", {
  { "tandem_build_info", { "version", "lua" }, "Always 1; what runs." },
  { "tandem_workers", {}, "Worker threads." },
  { "tandem_worker_answers", { "worker" }, "Whether the worker has answered this time." },
  { "tandem_config_generation", {}, "Scripts that have taken over since the start." },
  { "tandem_config_last_reload_successful", {},
    "Whether the last script that was to take over did." },
  { "tandem_config_last_reload_success_timestamp_seconds", {},
    "When a script took over last." },
})
add("histogram", {
  { "tandem_event_loop_lag_seconds", {},
    "How much later than asked for a worker looked at its timers." },
})
add("counter", {
  { "tandem_lua_errors_total", { "hook" }, "Errors of the script, by what ran." },
  { "tandem_lua_kills_total", { "reason" }, "Entries into the script that used up a limit." },
})
add("gauge", {
  { "tandem_lua_memory_bytes", { "worker" }, "Memory of the script." },
  { "tandem_core_memory_bytes", { "worker" },
    "Memory of requests, transactions, calls and connections." },
})
add("counter", {
  { "tandem_state_write_errors_total", {}, "Times that a file of state_dir could not be written." },
  { "tandem_worker_messages_lost_total", {}, "Messages between workers that found no room." },
  { "tandem_verbs_after_decision_total", {},
    "Verbs of the script that came when the request was decided." },
})

add_of_host("counter", {
  { "tandem_log_dropped_total", {}, "Log lines that were dropped: nobody read them in time." },
  { "tandem_notify_total", { "result" },
    "Transitions that a program was to tell somebody of, and what became of that." },
})

-- Messages.
add("counter", {
  { "tandem_messages_total", { "transport", "direction", "kind" }, "SIP messages." },
  { "tandem_requests_total", { "method" }, "Requests received, each once." },
  { "tandem_responses_total", { "method", "code" },
    "Responses sent to callers, each once; codes of no RFC by class." },
  { "tandem_retransmissions_total", { "direction" }, "Messages repeated, by us or by others." },
  { "tandem_parse_errors_total", { "reason" }, "Messages with an error of syntax." },
  { "tandem_requests_not_taken_total", {}, "Requests refused because the proxy drains." },
  { "tandem_overload_shed_total", { "reason" }, "Requests refused because there were too many." },
  { "tandem_overload_unanswered_total", {}, "Those of them that got no answer." },
  { "tandem_overload_episodes_total", {}, "Times a worker began to refuse requests." },
  { "tandem_invalid_requests_total", { "reason" }, "Requests refused by RFC 3261 16.3." },
  { "tandem_dropped_total", { "reason" }, "What was received and left without an answer." },
  { "tandem_late_2xx_total", { "action" }, "2xx of servers that had been given up." },
  { "tandem_no_ack_total", {}, "Finals to an INVITE that nobody acknowledged." },
  { "tandem_loops_total", {}, "Requests that had been here before, unchanged." },
  { "tandem_takeover_messages_total", { "kind" },
    "Messages of transactions that another node has begun." },
  { "tandem_bad_cookies_total", {}, "Route values of ours that are forged or damaged." },
  { "tandem_bad_tokens_total", {}, "Flow tokens that are forged or damaged." },
  { "tandem_relay_denied_total", { "reason" },
    "Requests to places where their sender may not send." },
  { "tandem_flows_gone_total", {}, "Requests to a phone whose connection has ended." },
  { "tandem_undelivered_responses_total", {}, "Responses that were given up." },
  { "tandem_unsent_total", { "kind" }, "Messages that no connection has taken." },
  { "tandem_handovers_total", {}, "Messages that another worker had received." },
  { "tandem_worker_wakes_total", {}, "Times a worker woke one that slept, once per batch." },
})
add("histogram", {
  { "tandem_request_duration_seconds", { "method" },
    "From a request to its final response, ringing included." },
  { "tandem_input_delay_seconds", {}, "How long messages had waited when they were read." },
  { "tandem_response_delay_seconds", { "method" },
    "From a request to the first response that is not our own 100." },
})
add("gauge", {
  { "tandem_transactions", { "role" }, "Transactions that are open or absorb repetitions." },
  { "tandem_overloaded", {}, "Workers that refuse requests, or did 5 seconds ago." },
  { "tandem_requests_open", {}, "Requests without a final response, or with open branches." },
})

-- Calls.
add("gauge", {
  { "tandem_calls", { "pool", "server" }, "Calls that are up." },
})
add("counter", {
  { "tandem_calls_begun_total", {}, "Calls that were answered." },
  { "tandem_calls_ended_total", { "reason" }, "Calls that have ended." },
  { "tandem_calls_untracked_total", {}, "Calls without a record, for lack of memory." },
  { "tandem_calls_restored_total", {}, "Calls brought back from the snapshot." },
  { "tandem_calls_not_restored_total", { "reason" }, "Calls of the snapshot left out." },
})

-- Pools.
add("gauge", {
  { "tandem_pool_active_tier", { "pool" }, "The tier that takes new requests; 0: none." },
  { "tandem_pool_usable_servers", { "pool" }, "Servers that may take new requests." },
  { "tandem_pool_servers", { "pool" }, "Servers of the pool." },
})
add("counter", {
  { "tandem_pool_failovers_total", { "pool" }, "Times it went from a tier to a worse one." },
  { "tandem_pool_retries_total", { "pool" },
    "Requests that went on to another server after one had failed." },
  { "tandem_pool_last_resort_total", { "pool" },
    "Requests that were given to a server although none was usable." },
})

-- Servers.
add("gauge", {
  { "tandem_server_status", { "pool", "server", "status" }, "1 for the status it has." },
  { "tandem_server_tier", { "pool", "server" }, "Its tier." },
  { "tandem_server_weight", { "pool", "server" }, "Its weight." },
  { "tandem_server_call_limit", { "pool", "server" }, "The calls it may have at most." },
  { "tandem_server_rate_limit", { "pool", "server" }, "The calls that may begin in a second." },
  { "tandem_server_inflight_requests", { "pool", "server" },
    "Requests sent to it that have no final response." },
  { "tandem_server_calls_in_setup", { "pool", "server" },
    "INVITEs sent to it that have no final response." },
  { "tandem_server_latency_seconds", { "pool", "server" },
    "How long its answers take, smoothed." },
})
add("counter", {
  { "tandem_server_attempts_total", { "pool", "server", "outcome" },
    "Requests sent to it, by how that ended." },
  { "tandem_server_checks_total", { "pool", "server", "result" }, "Checks." },
  { "tandem_server_transitions_total", { "pool", "server", "to" }, "Changes of its health." },
  { "tandem_server_down_seconds_total", { "pool", "server" }, "For how long it was down." },
})
add("histogram", {
  { "tandem_server_check_duration_seconds", {}, "Checks that were answered: how long it took." },
})

-- The network.
add("counter", {
  { "tandem_dns_lookups_total", { "type", "result" }, "Look-ups of DNS records." },
  { "tandem_dns_records_dropped_total", {}, "DNS records over a limit." },
  { "tandem_udp_lost_total", { "reason" }, "Datagrams lost at our sockets." },
  { "tandem_udp_joined_total", {}, "Messages that left together with others." },
  { "tandem_icmp_total", { "result" }, "ICMP errors." },
  { "tandem_send_errors_total", {}, "Datagrams that could not be sent." },
  { "tandem_connections_total", { "direction" }, "Connections that were up." },
})
add("gauge", {
  { "tandem_connections_open", {}, "Connections, also those being opened." },
})
add("counter", {
  { "tandem_connections_refused_total", { "reason" }, "Connections closed at once." },
  { "tandem_connect_failures_total", { "cause" }, "Connections of ours that did not come up." },
  { "tandem_connections_closed_total", { "reason" }, "Connections that have ended." },
  { "tandem_accept_pauses_total", {}, "Times that accepting paused." },
  { "tandem_framing_errors_total", { "reason" }, "Streams that made no sense any more." },
  { "tandem_hep_packets_total", {}, "Packets sent to a collector of captures." },
  { "tandem_hep_cut_total", {}, "Packets to it with less than the whole message." },
  { "tandem_hep_dropped_total", { "reason" }, "Packets to it that were lost, as far as is known." },
  { "tandem_pongs_total", {}, "Answers to keep-alives on connections." },
})

-- The process.
add_of_host("counter", {
  { "process_cpu_seconds_total", {}, "Processor time, of user and system." },
})
add_of_host("gauge", {
  { "process_resident_memory_bytes", {}, "Memory that is resident." },
  { "process_virtual_memory_bytes", {}, "Memory that is mapped." },
  { "process_open_fds", {}, "Descriptors that are open." },
  { "process_max_fds", {}, "Descriptors that may be open." },
  { "process_start_time_seconds", {}, "When the process began." },
})

return catalog
