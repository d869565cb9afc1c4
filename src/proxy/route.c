#include "message/field.h"
#include "proxy/context.h"
#include "proxy/token.h"

/* What one Route value (or the Request-URI in its place) says. */
struct route_value {
	struct uri uri;
	bool ok, ours, lr, has_t;
	struct str t; /* our cookie */
};

static struct route_value look(struct proxy *p, struct str uri_text)
{
	struct route_value v = {.ok = false};
	struct str ignored;

	if (!scan_uri(uri_text, &v.uri))
		return v;
	v.ok = true;
	v.ours = listener_is_ours(p->c.listeners, &v.uri);
	v.lr = scan_param(v.uri.params, STR("lr"), &ignored);
	v.has_t = scan_param(v.uri.params, STR("t"), &v.t);
	return v;
}

static struct route_value look_route(struct proxy *p, struct msg *m, size_t i)
{
	struct nameaddr na;
	struct str text = field_value(m, HDR_ROUTE, i);

	if (!text.p || !scan_nameaddr(text, &na, NULL))
		return (struct route_value){.ok = false};
	return look(p, na.uri);
}

static void take_cookie(struct proxy *p, struct route *r,
			const struct msg_key *key, struct str text)
{
	if (r->has_cookie)
		return;
	r->has_cookie = cookie_read(text, p->c.keys, key->call_id,
				    key->from_tag, key->to_tag, &r->cookie);
	if (!r->has_cookie)
		count(p->c.counters, CNT_BAD_COOKIE);
}

/* Of the two values of a double Record-Route the second names the side to go on
 * to. On a wildcard listener it is the address the request came to that
 * counts. */
static void take_door(struct proxy *p, struct route *r, const struct uri *uri,
		      const struct hop *from)
{
	const struct listeners *ls = p->c.listeners;
	int l = listener_of_uri(ls, uri, from->listener);

	r->door = l >= 0 && !addr_is_any(&ls->l[l].addr) ? l : -1;
}

/*
 * A flow token in a Route of ours (semantics 14). In a dialog it is the way to
 * the phone for the other side and means nothing in what the phone sends: the
 * cookie gives the direction, and a bad token is as good as none.
 */
static void take_token(struct proxy *p, struct route *r, const struct uri *uri)
{
	struct token t;
	enum token_found found = token_read(uri->user, p->c.keys, &t);
	int err;

	if (found == TOKEN_NONE || r->has_flow || r->bad_flow)
		return;
	if (found == TOKEN_BAD || (!r->in_dialog && t.side != TOKEN_PATH)) {
		count(p->c.counters, CNT_BAD_TOKEN);
		r->bad_flow = r->in_dialog ? 0 : 403;
		return;
	}
	if (r->in_dialog &&
	    (!r->has_cookie ||
	     t.side != (r->cookie.from_caller ? TOKEN_CALLEE : TOKEN_CALLER)))
		return;
	err = path_flow(p, &t, uri, &r->flow);
	r->has_flow = err == 0;
	if (err)
		r->bad_flow = err == ERR_STATE ? 482 : 430;
}

/*
 * 16.4, first paragraph: a strict router put our Record-Route URI into the
 * Request-URI and the real one at the end of the Route.
 */
static size_t undo_strict(struct proxy *p, struct msg *m, struct route *r,
			  const struct msg_key *key, struct edits *edits)
{
	size_t n = field_count(m, HDR_ROUTE);
	struct route_value uri;
	struct nameaddr last;

	/* Ours always has a cookie, and a Request-URI seldom parameters. */
	if (n == 0 || str_find(m->uri, ';') == m->uri.n)
		return n;
	uri = look(p, m->uri);
	if (!uri.ok || !uri.ours || !uri.has_t || !uri.lr)
		return n;
	if (!scan_nameaddr(field_value(m, HDR_ROUTE, n - 1), &last, NULL))
		return n;
	take_cookie(p, r, key, uri.t);
	take_token(p, r, &uri.uri);
	r->had_own = true;
	r->uri = last.uri;
	edit_uri(edits, last.uri);
	edit_pop_last_value(edits, HDR_ROUTE);
	return n - 1;
}

/*
 * 16.4, second paragraph: an maddr that names us says how the request was to
 * come here. What it was for is left without it, a port that is not the default
 * one, and a transport.
 */
static void strip_maddr(struct proxy *p, struct route *r, struct edits *edits)
{
	struct str name, value, params;
	struct uri uri, us;
	size_t host_end;
	struct buf b;

	if (str_find(r->uri, ';') == r->uri.n) /* mostly */
		return;
	if (!scan_uri(r->uri, &uri) || !uri.is_sip ||
	    !scan_param(uri.params, STR("maddr"), &value))
		return;
	us = uri;
	us.host = value;
	if (!listener_is_ours(p->c.listeners, &us))
		return;
	host_end = (size_t)(uri.host.p + uri.host.n - uri.text.p);
	buf_arena(&b, edits->arena, uri.text.n);
	buf_put(&b, str_sub(uri.text, 0, host_end));
	if (uri.port ==
	    transport_port(uri.is_sips ? TRANSPORT_TLS : TRANSPORT_UDP))
		buf_printf(&b, ":%u", uri.port);
	for (params = uri.params; scan_next_param(&params, &name, &value);) {
		if (str_caseeq(name, STR("maddr")) ||
		    str_caseeq(name, STR("transport")))
			continue;
		buf_char(&b, ';');
		buf_put(&b, name);
		if (value.p) {
			buf_char(&b, '=');
			buf_put(&b, value);
		}
	}
	if (buf_ok(&b) && edit_uri(edits, buf_str(&b)) == 0)
		r->uri = edits->uri;
}

static struct route reject(struct route r, int code, struct str reason)
{
	r.kind = ROUTE_REJECT;
	r.code = code;
	r.reason = reason;
	return r;
}

static struct route deny(struct proxy *p, struct route r, enum counter why,
			 int code, struct str reason)
{
	count(p->c.counters, why);
	return reject(r, code, reason);
}

/* Semantics 17: To-tagged, none of our Routes with a good cookie. */
static struct route in_dialog_without_cookie(struct proxy *p, struct route r,
					     const struct hop *from,
					     const struct member *source,
					     const struct uri *ruri,
					     const struct uri *next)
{
	bool trusted = source || settings_trusts(p->c.settings, &from->addr);

	r.kind = ROUTE_FOLLOW;
	if (trusted || (next && proxy_member_named(p, next)))
		return r;
	if (r.next_is_route)
		return deny(p, r, CNT_DENIED_ROUTE, 403,
			    STR("Route Not Allowed"));
	if (proxy_member_named(p, ruri) ||
	    settings_serves(p->c.settings, uri_target(ruri)))
		return r;
	return deny(p, r, CNT_DENIED_DIALOG, 481,
		    STR("Call/Transaction Does Not Exist"));
}

static struct route flow_gone(struct proxy *p, struct route r)
{
	if (r.bad_flow == 482)
		return reject(r, 482, STR_NONE);
	count(p->c.counters, CNT_FLOW_GONE);
	return reject(r, 430, STR_NONE);
}

/*
 * Semantics 14: who presents the token of a registration. It reaches one phone
 * and nothing else, yet it is no secret between a phone and its servers: only
 * pool members and trusted sources may call by it, so that a token that leaked
 * is no way around what the servers allow.
 */
static struct route by_flow(struct proxy *p, struct route r,
			    const struct hop *from, const struct member *source)
{
	if (r.bad_flow == 403)
		return reject(r, 403, STR("Bad Flow Token"));
	if (!source && !settings_trusts(p->c.settings, &from->addr))
		return deny(p, r, CNT_DENIED_FLOW, 403,
			    STR("Flow Not Allowed"));
	if (r.bad_flow)
		return flow_gone(p, r);
	r.kind = ROUTE_FOLLOW;
	return r;
}

/* Where it goes, who is allowed to send it there (RFC 3261 16.5, 16.12). */
static struct route classify(struct proxy *p, struct route r,
			     const struct msg *m, const struct hop *from,
			     const struct member *source)
{
	struct uri ruri = {.is_sip = false}, next = {.is_sip = false};
	bool ok = scan_uri(r.uri, &ruri);
	bool to_us =
	    ok && !r.next_is_route && listener_is_ours(p->c.listeners, &ruri);

	r.is_sips = ok && ruri.is_sips;
	if (r.next_is_route)
		scan_uri(r.next, &next);
	else
		next = ruri;
	if (r.in_dialog) {
		if (r.bad_flow)
			return flow_gone(p, r);
		if (to_us && !r.has_flow) {
			/* A script that answers calls itself owns their
			 * dialogs; the policy is asked, else 481. */
			r.kind = ROUTE_TO_US;
			return r;
		}
		if (r.has_cookie) {
			r.kind = ROUTE_FOLLOW;
			return r;
		}
		return in_dialog_without_cookie(p, r, from, source, &ruri,
						&next);
	}
	if (r.has_flow || r.bad_flow)
		return by_flow(p, r, from, source);
	if (to_us && m->method_id == METHOD_OPTIONS && !ruri.user.p) {
		r.kind = ROUTE_TO_US;
		return r;
	}
	if (source) {
		r.kind = ROUTE_FOLLOW;
		return r;
	}
	if (r.next_is_route && !settings_trusts(p->c.settings, &from->addr))
		return deny(p, r, CNT_DENIED_ROUTE, 403,
			    STR("Route Not Allowed"));
	r.kind = ROUTE_SCRIPT;
	return r;
}

struct route route_request(struct proxy *p, struct msg *m,
			   const struct msg_key *key, const struct hop *from,
			   const struct member *source, struct edits *edits)
{
	struct route r = {
	    .in_dialog = key->to_tag.n > 0, .door = -1, .uri = m->uri};
	size_t n = undo_strict(p, m, &r, key, edits);
	size_t i = 0;
	struct route_value v = {.ok = false};

	strip_maddr(p, &r, edits);
	/* 16.4, last paragraph: our own values on top go; two of them when the
	 * request crosses from one listener of ours to another. Phones preload
	 * them without a cookie (outbound proxy). */
	for (; i < n; i++) {
		v = look_route(p, m, i);
		if (!v.ok)
			return reject(r, 400, STR("Bad Route"));
		if (!v.ours)
			break;
		r.had_own = true;
		if (v.has_t)
			take_cookie(p, &r, key, v.t);
		if (r.has_cookie)
			take_door(p, &r, &v.uri, from);
		take_token(p, &r, &v.uri);
		edit_pop_value(edits, HDR_ROUTE);
	}
	r.next_is_route = i < n;
	r.next_is_strict = r.next_is_route && !v.lr;
	r.next = r.next_is_route ? v.uri.text : r.uri;
	return classify(p, r, m, from, source);
}

struct member *route_member(struct proxy *p, const struct route *route)
{
	const struct cookie *c = &route->cookie;
	struct member *m;

	if (!route->in_dialog || !route->has_cookie ||
	    c->side != (c->from_caller ? COOKIE_CALLEE : COOKIE_CALLER))
		return NULL;
	m = members_by_id(p->c.members, c->id);
	return m && m->declared ? m : NULL;
}
