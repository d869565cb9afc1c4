/*
 * Requests that go where their Route and Request-URI say, or to the flow that a
 * token names: within dialogs, and from pool members.
 */
#include "proxy/context.h"

/* 16.6 step 6 for the request as it is now: the policy may have edited it. */
static bool next_hop(struct request *r, struct uri *uri_r)
{
	struct str route = edits_get(&r->edits, STR("Route")), ignored;
	struct nameaddr na;

	r->route.next_is_route = route.p != NULL;
	r->route.next = r->edits.uri.p ? r->edits.uri : r->route.uri;
	if (route.p) {
		if (!scan_nameaddr(route, &na, NULL))
			return false;
		r->route.next = na.uri;
	}
	if (!scan_uri(r->route.next, uri_r))
		return false;
	r->route.next_is_strict =
	    route.p && !scan_param(uri_r->params, STR("lr"), &ignored);
	return true;
}

/* A server may be in two pools: it is the one that the dialog belongs to. */
struct member *follow_member(struct request *r, const struct addr *a)
{
	struct member *m = route_member(r->proxy, &r->route);

	return m && proxy_is_at(r->proxy, m, a) ? m
						: proxy_member_at(r->proxy, a);
}

int request_by_route(struct request *r, struct target *out_r)
{
	struct target t = {.by_route = true, .flow = r->route.has_flow};
	struct uri uri;
	bool ok = next_hop(r, &uri);

	if (t.flow) {
		t.hop = r->route.flow;
	} else if (!ok || !uri.is_sip) {
		return ERR_SYNTAX;
	} else if (!r->route.next_is_route &&
		   listener_is_ours(r->proxy->c.listeners, &uri)) {
		return ERR_STATE;
	} else {
		t.next = r->route.next;
	}
	*out_r = t;
	return 0;
}

void request_follow_route(struct request *r, struct now now)
{
	struct try_opts opts = {.retransmits = -1};
	struct reply reply = {.code = 404};
	struct target t;
	int err = request_by_route(r, &t);

	r->follow = true;
	if (!err) {
		request_try(r, &t, 1, &opts, now);
		return;
	}
	request_reply(r, &reply, now);
	request_done(r, now);
}

bool request_lost_flow(struct request *r)
{
	const struct outcome *o = &r->outcome;
	bool lost = r->route.has_flow && o->kind == OUTCOME_TRANSPORT &&
		    o->cause != CAUSE_NO_SOURCE && o->cause != CAUSE_TOO_BIG;

	if (lost)
		count(r->proxy->c.counters, CNT_FLOW_GONE);
	return lost;
}

void follow_outcome(struct request *r, struct now now)
{
	const struct outcome *o = &r->outcome;
	struct reply reply = {.code = 500};

	if (request_lost_flow(r))
		reply.code = 430; /* RFC 5626 5.3.1 */

	if (o->kind == OUTCOME_RESPONSE)
		request_forward(r, o->res, false, now);
	else if (o->kind == OUTCOME_CANCELLED)
		; /* 487 follows by itself */
	else if (r->msg.method_id == METHOD_INVITE ||
		 o->kind == OUTCOME_TRANSPORT)
		request_reply(r, &reply, now);
	else {
		/* RFC 4320 4.2: no 408 to a non-INVITE */
		response_withhold(r, CNT_NONINVITE_TIMEOUT, now);
	}
	request_done(r, now);
}
