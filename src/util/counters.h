/*
 * The counters of one core. A counter is a number with a metric name and a
 * label; nothing that is dropped, refused or absorbed goes without one. Beside
 * them are tables of requests and responses by method, and histograms of what
 * takes time. One thread counts; what is said of them is in
 * lua/tandem/control/catalog.lua.
 */
#ifndef UTIL_COUNTERS_H
#define UTIL_COUNTERS_H

#include <stddef.h>
#include <stdint.h>
#include "util/histogram.h"
#include "util/str.h"

/* Messages of one direction and kind by transport, in the order of enum
 * transport: see count_message. */
#define MESSAGE_COUNTERS(X, id, label)                                         \
	X(CNT_##id, "tandem_messages_total", "transport=udp," label)           \
	X(CNT_##id##_TCP, "tandem_messages_total", "transport=tcp," label)     \
	X(CNT_##id##_TLS, "tandem_messages_total", "transport=tls," label)

/* What became of the look-ups of one type of DNS record: two answered from the
 * cache, six by the answer to a question. */
#define DNS_COUNTERS(X, id, type)                                              \
	X(CNT_DNS_##id##_CACHED, "tandem_dns_lookups_total",                   \
	  "type=" type ",result=cached")                                       \
	X(CNT_DNS_##id##_STALE, "tandem_dns_lookups_total",                    \
	  "type=" type ",result=stale")                                        \
	X(CNT_DNS_##id##_FOUND, "tandem_dns_lookups_total",                    \
	  "type=" type ",result=found")                                        \
	X(CNT_DNS_##id##_NONE, "tandem_dns_lookups_total",                     \
	  "type=" type ",result=none")                                         \
	X(CNT_DNS_##id##_SERVFAIL, "tandem_dns_lookups_total",                 \
	  "type=" type ",result=servfail")                                     \
	X(CNT_DNS_##id##_MALFORMED, "tandem_dns_lookups_total",                \
	  "type=" type ",result=malformed")                                    \
	X(CNT_DNS_##id##_TIMEOUT, "tandem_dns_lookups_total",                  \
	  "type=" type ",result=timeout")                                      \
	X(CNT_DNS_##id##_UNREACHABLE, "tandem_dns_lookups_total",              \
	  "type=" type ",result=unreachable")

/* X(id, metric, label text or "") */
#define COUNTER_LIST(X)                                                        \
	MESSAGE_COUNTERS(X, RECV_REQUEST, "direction=in,kind=request")         \
	MESSAGE_COUNTERS(X, RECV_RESPONSE, "direction=in,kind=response")       \
	MESSAGE_COUNTERS(X, SENT_REQUEST, "direction=out,kind=request")        \
	MESSAGE_COUNTERS(X, SENT_RESPONSE, "direction=out,kind=response")      \
	X(CNT_RETRANS_IN, "tandem_retransmissions_total", "direction=in")      \
	X(CNT_RETRANS_OUT, "tandem_retransmissions_total", "direction=out")    \
	X(CNT_KEEPALIVE, "tandem_dropped_total", "reason=keepalive")           \
	X(CNT_PARSE, "tandem_dropped_total", "reason=parse")                   \
	X(CNT_STRAY_RESPONSE, "tandem_dropped_total", "reason=stray_response") \
	X(CNT_FORGED_BRANCH, "tandem_dropped_total", "reason=forged_branch")   \
	X(CNT_ORPHAN_PROVISIONAL, "tandem_takeover_messages_total",            \
	  "kind=provisional")                                                  \
	X(CNT_ORPHAN_ANSWER, "tandem_takeover_messages_total", "kind=answer")  \
	X(CNT_ORPHAN_FAILURE, "tandem_takeover_messages_total",                \
	  "kind=failure")                                                      \
	X(CNT_ORPHAN_OTHER, "tandem_takeover_messages_total",                  \
	  "kind=noninvite")                                                    \
	X(CNT_ORPHAN_CANCEL, "tandem_takeover_messages_total", "kind=cancel")  \
	X(CNT_ORPHAN_HANDED, "tandem_takeover_messages_total", "kind=handed")  \
	X(CNT_ORPHAN_ABSORBED, "tandem_takeover_messages_total",               \
	  "kind=absorbed")                                                     \
	X(CNT_CANCEL_LIMITED, "tandem_dropped_total",                          \
	  "reason=takeover_cancel_limit")                                      \
	X(CNT_NO_ACK, "tandem_no_ack_total", "")                               \
	X(CNT_STRAY_ACK, "tandem_dropped_total", "reason=stray_ack")           \
	X(CNT_UNLOCATED_ACK, "tandem_dropped_total", "reason=unlocated_ack")   \
	X(CNT_VIA_NOT_OURS, "tandem_dropped_total", "reason=via_not_ours")     \
	X(CNT_BAD_SOURCE, "tandem_dropped_total", "reason=bad_source")         \
	X(CNT_NOMEM, "tandem_dropped_total", "reason=no_memory")               \
	X(CNT_REPLY_LIMITED, "tandem_dropped_total",                           \
	  "reason=error_reply_limit")                                          \
	X(CNT_REPLY_AMPLIFIES, "tandem_dropped_total",                         \
	  "reason=reply_amplifies")                                            \
	X(CNT_NOT_TAKEN, "tandem_requests_not_taken_total", "")                \
	X(CNT_SHED_INVITE, "tandem_overload_shed_total", "reason=invite")      \
	X(CNT_SHED_OTHER, "tandem_overload_shed_total", "reason=other")        \
	X(CNT_SHED_REPEATED, "tandem_overload_shed_total", "reason=repeated")  \
	X(CNT_SHED_MEMORY, "tandem_overload_shed_total", "reason=memory")      \
	X(CNT_SHED_SILENT, "tandem_overload_unanswered_total", "")             \
	X(CNT_OVERLOAD, "tandem_overload_episodes_total", "")                  \
	X(CNT_SCRIPT_DROP, "tandem_dropped_total", "reason=script")            \
	X(CNT_LATE_FINAL, "tandem_dropped_total", "reason=late_final")         \
	X(CNT_NO_SOURCE, "tandem_dropped_total", "reason=no_source")           \
	X(CNT_NONINVITE_TIMEOUT, "tandem_dropped_total",                       \
	  "reason=noninvite_timeout")                                          \
	X(CNT_BAD_COOKIE, "tandem_bad_cookies_total", "")                      \
	X(CNT_BAD_TOKEN, "tandem_bad_tokens_total", "")                        \
	X(CNT_FLOW_GONE, "tandem_flows_gone_total", "")                        \
	X(CNT_DENIED_ROUTE, "tandem_relay_denied_total", "reason=route")       \
	X(CNT_DENIED_DIALOG, "tandem_relay_denied_total", "reason=dialog")     \
	X(CNT_DENIED_FLOW, "tandem_relay_denied_total", "reason=flow")         \
	X(CNT_DENIED_URI, "tandem_relay_denied_total", "reason=uri")           \
	X(CNT_BAD_NOT_SIP, "tandem_parse_errors_total", "reason=not_sip")      \
	X(CNT_BAD_START, "tandem_parse_errors_total", "reason=start_line")     \
	X(CNT_BAD_HEADER, "tandem_parse_errors_total", "reason=header")        \
	X(CNT_BAD_SIZE, "tandem_parse_errors_total", "reason=size")            \
	X(CNT_BAD_LENGTH, "tandem_parse_errors_total", "reason=length")        \
	X(CNT_BAD_VIA, "tandem_parse_errors_total", "reason=via")              \
	X(CNT_BAD_IDENTITY, "tandem_parse_errors_total", "reason=identity")    \
	X(CNT_BAD_ROUTING, "tandem_parse_errors_total", "reason=routing")      \
	X(CNT_BAD_SCHEME, "tandem_invalid_requests_total", "reason=scheme")    \
	X(CNT_BAD_HOPS, "tandem_invalid_requests_total",                       \
	  "reason=max_forwards")                                               \
	X(CNT_BAD_EXTENSION, "tandem_invalid_requests_total",                  \
	  "reason=proxy_require")                                              \
	X(CNT_LATE_2XX_FORWARD, "tandem_late_2xx_total", "action=forward")     \
	X(CNT_LATE_2XX_BYE, "tandem_late_2xx_total", "action=bye")             \
	X(CNT_CALL_BEGUN, "tandem_calls_begun_total", "")                      \
	X(CNT_CALL_BYE, "tandem_calls_ended_total", "reason=bye")              \
	X(CNT_CALL_REJECTED, "tandem_calls_ended_total", "reason=rejected")    \
	X(CNT_CALL_SESSION, "tandem_calls_ended_total",                        \
	  "reason=session_timer")                                              \
	X(CNT_CALL_MAX_DURATION, "tandem_calls_ended_total",                   \
	  "reason=max_duration")                                               \
	X(CNT_CALL_UNTRACKED, "tandem_calls_untracked_total", "")              \
	X(CNT_CALL_RESTORED, "tandem_calls_restored_total", "")                \
	X(CNT_CALL_RUN_OUT, "tandem_calls_not_restored_total",                 \
	  "reason=run_out")                                                    \
	X(CNT_CALL_UNKNOWN_SERVER, "tandem_calls_not_restored_total",          \
	  "reason=unknown_server")                                             \
	X(CNT_STATE_UNWRITABLE, "tandem_state_write_errors_total", "")         \
	X(CNT_LOOP, "tandem_loops_total", "")                                  \
	X(CNT_AFTER_DECIDED, "tandem_verbs_after_decision_total", "")          \
	X(CNT_ICMP_MATCHED, "tandem_icmp_total", "result=matched")             \
	X(CNT_ICMP_STRAY, "tandem_icmp_total", "result=stray")                 \
	X(CNT_SEND_ERROR, "tandem_send_errors_total", "")                      \
	X(CNT_FLOW_OPENED, "tandem_connections_total", "direction=out")        \
	X(CNT_FLOW_ACCEPTED, "tandem_connections_total", "direction=in")       \
	X(CNT_FLOW_REFUSED_SOURCE, "tandem_connections_refused_total",         \
	  "reason=per_source")                                                 \
	X(CNT_FLOW_REFUSED_ALL, "tandem_connections_refused_total",            \
	  "reason=connections")                                                \
	X(CNT_FLOW_REFUSED_TLS, "tandem_connections_refused_total",            \
	  "reason=tls")                                                        \
	X(CNT_FLOW_FAIL_REFUSED, "tandem_connect_failures_total",              \
	  "cause=refused")                                                     \
	X(CNT_FLOW_FAIL_TIMEOUT, "tandem_connect_failures_total",              \
	  "cause=connect_timeout")                                             \
	X(CNT_FLOW_FAIL_NO_SOURCE, "tandem_connect_failures_total",            \
	  "cause=no_source")                                                   \
	X(CNT_FLOW_FAIL_IDENTITY, "tandem_connect_failures_total",             \
	  "cause=tls_identity")                                                \
	X(CNT_FLOW_FAIL_HANDSHAKE, "tandem_connect_failures_total",            \
	  "cause=tls_handshake")                                               \
	X(CNT_FLOW_FAIL_OTHER, "tandem_connect_failures_total", "cause=other") \
	X(CNT_FLOW_END_CLOSED, "tandem_connections_closed_total",              \
	  "reason=closed")                                                     \
	X(CNT_FLOW_END_RESET, "tandem_connections_closed_total",               \
	  "reason=reset")                                                      \
	X(CNT_FLOW_END_HEADER, "tandem_connections_closed_total",              \
	  "reason=header_timeout")                                             \
	X(CNT_FLOW_END_IDLE, "tandem_connections_closed_total", "reason=idle") \
	X(CNT_FLOW_END_FRAMING, "tandem_connections_closed_total",             \
	  "reason=framing")                                                    \
	X(CNT_FLOW_END_FLOOD, "tandem_connections_closed_total",               \
	  "reason=flood")                                                      \
	X(CNT_FLOW_END_STOPPED, "tandem_connections_closed_total",             \
	  "reason=stopped")                                                    \
	X(CNT_FLOW_PONG, "tandem_pongs_total", "")                             \
	X(CNT_FLOW_STRAY, "tandem_dropped_total", "reason=stray_piece")        \
	X(CNT_FRAME_NOT_SIP, "tandem_framing_errors_total", "reason=not_sip")  \
	X(CNT_FRAME_NO_LENGTH, "tandem_framing_errors_total",                  \
	  "reason=no_length")                                                  \
	X(CNT_FRAME_BAD_LENGTH, "tandem_framing_errors_total",                 \
	  "reason=bad_length")                                                 \
	X(CNT_FRAME_BARE_LF, "tandem_framing_errors_total", "reason=bare_lf")  \
	X(CNT_FRAME_TOO_BIG, "tandem_framing_errors_total", "reason=too_big")  \
	X(CNT_UNSENT_REQUEST, "tandem_unsent_total", "kind=request")           \
	X(CNT_UNSENT_RESPONSE, "tandem_unsent_total", "kind=response")         \
	X(CNT_UNSENT_STRAY, "tandem_unsent_total", "kind=other")               \
	X(CNT_UNDELIVERED, "tandem_undelivered_responses_total", "")           \
	X(CNT_STRAY_ANSWER, "tandem_dropped_total", "reason=stray_answer")     \
	X(CNT_ACCEPT_PAUSED, "tandem_accept_pauses_total", "")                 \
	X(CNT_TLS_REFUSED, "tandem_connections_refused_total",                 \
	  "reason=tls_handshakes")                                             \
	X(CNT_STREAM_UNSENT, "tandem_dropped_total",                           \
	  "reason=connection_closed")                                          \
	DNS_COUNTERS(X, A, "a")                                                \
	DNS_COUNTERS(X, AAAA, "aaaa")                                          \
	DNS_COUNTERS(X, SRV, "srv")                                            \
	DNS_COUNTERS(X, NAPTR, "naptr")                                        \
	X(CNT_HEP_SENT, "tandem_hep_packets_total", "")                        \
	X(CNT_HEP_CUT, "tandem_hep_cut_total", "")                             \
	X(CNT_HEP_REFUSED, "tandem_hep_dropped_total", "reason=refused")       \
	X(CNT_HEP_UNREACHABLE, "tandem_hep_dropped_total",                     \
	  "reason=unreachable")                                                \
	X(CNT_HEP_FULL, "tandem_hep_dropped_total", "reason=full")             \
	X(CNT_HEP_NOMEM, "tandem_hep_dropped_total", "reason=no_memory")       \
	X(CNT_HEP_OTHER, "tandem_hep_dropped_total", "reason=other")           \
	X(CNT_DNS_DROPPED, "tandem_dns_records_dropped_total", "")             \
	X(CNT_DNS_CACHE_FULL, "tandem_dropped_total", "reason=dns_cache_full") \
	X(CNT_HANDOVER, "tandem_handovers_total", "")                          \
	X(CNT_WAKE, "tandem_worker_wakes_total", "")                           \
	X(CNT_UDP_RECEIVE, "tandem_udp_lost_total", "reason=receive_buffer")   \
	X(CNT_UDP_TRUNCATED, "tandem_udp_lost_total", "reason=truncated")      \
	X(CNT_UDP_QUEUE, "tandem_udp_lost_total", "reason=send_queue")         \
	X(CNT_UDP_INTERFACE, "tandem_udp_lost_total", "reason=interface")      \
	X(CNT_UDP_JOINED, "tandem_udp_joined_total", "")                       \
	X(CNT_MAIL_LOST, "tandem_worker_messages_lost_total", "")              \
	X(CNT_LUA_ROUTE, "tandem_lua_errors_total", "hook=route")              \
	X(CNT_LUA_RESPONSE, "tandem_lua_errors_total", "hook=on_response")     \
	X(CNT_LUA_ATTEMPT, "tandem_lua_errors_total", "hook=on_attempt")       \
	X(CNT_LUA_TIMER, "tandem_lua_errors_total", "hook=timer")              \
	X(CNT_LUA_TASK, "tandem_lua_errors_total", "hook=task")                \
	X(CNT_LUA_MESSAGE, "tandem_lua_errors_total", "hook=message")          \
	X(CNT_LUA_ANSWER, "tandem_lua_errors_total", "hook=answer")            \
	X(CNT_LUA_START, "tandem_lua_errors_total", "hook=start")              \
	X(CNT_LUA_STOP, "tandem_lua_errors_total", "hook=stop")                \
	X(CNT_WHY_LOST, "tandem_dropped_total", "reason=why")                  \
	X(CNT_LUA_KILL_CPU, "tandem_lua_kills_total", "reason=cpu")            \
	X(CNT_LUA_KILL_INSTR, "tandem_lua_kills_total", "reason=instructions") \
	X(CNT_LUA_KILL_MEM, "tandem_lua_kills_total", "reason=memory")

enum counter {
#define X(id, metric, label) id,
	COUNTER_LIST(X)
#undef X
	    COUNTER_N
};

/* X(id, metric, label text or ""): histograms of seconds. */
#define HISTOGRAM_LIST(X)                                                      \
	X(HIST_REQUEST_INVITE, "tandem_request_duration_seconds",              \
	  "method=INVITE")                                                     \
	X(HIST_REQUEST_OTHER, "tandem_request_duration_seconds",               \
	  "method=other")                                                      \
	X(HIST_DELAY_INVITE, "tandem_response_delay_seconds", "method=INVITE") \
	X(HIST_DELAY_OTHER, "tandem_response_delay_seconds", "method=other")   \
	X(HIST_INPUT_DELAY, "tandem_input_delay_seconds", "")                  \
	X(HIST_CHECK, "tandem_server_check_duration_seconds", "")              \
	X(HIST_LOOP_LAG, "tandem_event_loop_lag_seconds", "")

enum hist {
#define X(id, metric, label) id,
	HISTOGRAM_LIST(X)
#undef X
	    HISTOGRAM_N
};

enum {
	COUNTER_METHODS = 15, /* those of message/msg.h; 0: all others */
	COUNTER_CODES = 600   /* 100 to 699 */
};

struct counters {
	uint64_t v[COUNTER_N];
	struct histogram hist[HISTOGRAM_N];
	uint64_t request[COUNTER_METHODS]; /* received, each once */
	/* Sent to callers, each once. */
	uint64_t response[COUNTER_METHODS][COUNTER_CODES];
};

struct counter_info {
	const char *metric, *label;
};
const struct counter_info *counter_info(enum counter c);
const struct counter_info *histogram_info(enum hist h);

static inline void count(struct counters *c, enum counter id)
{
	c->v[id]++;
}

/* `udp`: the counter of that kind for UDP (CNT_RECV_REQUEST). */
static inline void count_message(struct counters *c, enum counter udp,
				 unsigned transport)
{
	c->v[(unsigned)udp + transport]++;
}

/* `method`: enum method. */
static inline void count_request(struct counters *c, unsigned method)
{
	c->request[method]++;
}

static inline void count_response(struct counters *c, unsigned method, int code)
{
	if (code >= 100 && code < 100 + COUNTER_CODES)
		c->response[method][code - 100]++;
}

/* The codes that are told apart, for i from 0 on: 1 to 6 for all of their class
 * that no RFC names, since what others send is no label, and then each that one
 * does; 0: no more. */
unsigned counters_code(unsigned i);
/* How often one of that method, and that code or class, was sent. */
uint64_t counters_responses(const struct counters *c, unsigned method,
			    unsigned code);

#endif
