#include "fuzz/steps.h"

#include <ctype.h>
#include <string.h>

#include "message/hdr.h"
#include "message/msg.h"

/* ---- reading ------------------------------------------------------------- */

static unsigned number(char c)
{
	return (unsigned)(unsigned char)(c - '0') % 64;
}

static struct step read_step(struct str whole)
{
	struct step s = {.op = 'D', .whole = whole};

	if (whole.n)
		s.op = whole.p[0];
	if (whole.n > 1)
		s.a = number(whole.p[1]);
	if (whole.n > 2)
		s.b = number(whole.p[2]);
	if (whole.n > 3)
		s.c = number(whole.p[3]);
	s.text = str_sub(whole, 4, whole.n);
	return s;
}

size_t input_read(struct str input, struct step *out)
{
	size_t n = 0;

	if (!input.n || input.p[0] != STEP_MARK) {
		out[0] = (struct step){
		    .op = 'D', .a = 2, .text = input, .whole = input};
		return 1;
	}
	input = str_sub(input, 1, input.n);
	while (input.n && n < STEPS_MAX)
		out[n++] = read_step(str_cut(&input, STEP_MARK));
	return n;
}

/* ---- who there is -------------------------------------------------------- */

static const char *const peers[] = {
    "192.0.2.7:5060",                         /* phones */
    "192.0.2.9:41002",    "203.0.113.5:5060", /* a stranger */
    "10.0.0.1:5060",                          /* servers */
    "10.0.0.2:5060",      "10.0.0.3:5060",
    "[2001:db8::7]:5060", "10.0.0.9:5060", /* trusted */
    "10.0.0.4:5061",
};

static struct hop peer(unsigned i)
{
	struct hop h = {.transport = TRANSPORT_UDP};

	addr_parse(str_from(peers[i % ARRAY_LEN(peers)]), &h.addr);
	h.listener = h.addr.family == ADDR_V6 ? 3 : 0;
	addr_parse(h.addr.family == ADDR_V6 ? STR("[2001:db8::100]:5060")
					    : STR("10.0.0.100:5060"),
		   &h.local);
	return h;
}

enum which { ANY, REQUESTS, RESPONSES };

static bool is_wanted(const struct fw_message *m, enum which which)
{
	return m->bytes.p &&
	       (which == ANY || m->is_request == (which == REQUESTS));
}

/* The back-th message from the end, or NULL. */
static const struct fw_message *find(const struct fw_message *list, size_t n,
				     size_t kept, enum which which,
				     unsigned back)
{
	for (size_t i = n; i > 0 && n - i < kept; i--)
		if (is_wanted(&list[(i - 1) % kept], which) && back-- == 0)
			return &list[(i - 1) % kept];
	return NULL;
}

static const struct fw_message *sent(const struct fw *w, enum which which,
				     unsigned back)
{
	return find(w->sent, w->n_sent, FW_SENT, which, back);
}

static const struct fw_message *given(const struct fw *w, enum which which,
				      unsigned back)
{
	return find(w->given, w->n_given, FW_GIVEN, which, back);
}

static struct fw_conn *conn(struct fw *w, unsigned back, bool opening)
{
	for (size_t i = FW_CONNS; i-- > 0;) {
		struct fw_conn *c = &w->conn[i];

		if (c->state != FW_FREE &&
		    (!opening || c->state == FW_OPENING) && back-- == 0)
			return c;
	}
	return NULL;
}

/* ---- parts of messages ----------------------------------------------------
 */

static void put_all(struct buf *out, const struct msg *m, enum hdr_id id,
		    const char *name)
{
	for (const struct hdr *h = msg_first(m, id); h; h = msg_next(m, h)) {
		buf_put(out, str_from(name));
		BUF_LIT(out, ": ");
		buf_put(out, msg_hdr_value(m, h));
		BUF_LIT(out, "\r\n");
	}
}

static struct str first(const struct msg *m, enum hdr_id id)
{
	const struct hdr *h = msg_first(m, id);

	return h ? msg_hdr_value(m, h) : STR_NONE;
}

static struct str param(struct str value, const char *name)
{
	struct nameaddr na;
	struct str found;

	if (scan_nameaddr(value, &na, NULL) &&
	    scan_param(na.params, str_from(name), &found))
		return found;
	return STR_NONE;
}

static struct str uri_of(struct str value)
{
	struct nameaddr na;

	return scan_nameaddr(value, &na, NULL) ? na.uri : STR_NONE;
}

static struct str branch_of(const struct msg *m)
{
	struct via via;

	return scan_via(first(m, HDR_VIA), &via, NULL) ? via.branch : STR_NONE;
}

static struct str cseq_of(const struct msg *m)
{
	struct str rest = first(m, HDR_CSEQ);

	return str_cut(&rest, ' ');
}

static void put_part(struct buf *out, const struct msg *m, char part)
{
	switch (part) {
	case 'b':
		buf_put(out, branch_of(m));
		break;
	case 't':
		buf_put(out, param(first(m, HDR_TO), "tag"));
		break;
	case 'f':
		buf_put(out, param(first(m, HDR_FROM), "tag"));
		break;
	case 'i':
		buf_put(out, first(m, HDR_CALL_ID));
		break;
	case 'c':
		buf_put(out, cseq_of(m));
		break;
	case 'v':
		put_all(out, m, HDR_VIA, "Via");
		break;
	case 'r':
		put_all(out, m, HDR_RECORD_ROUTE, "Route");
		break;
	case 'p':
		buf_put(out, first(m, HDR_PATH));
		break;
	case 'u':
		buf_put(out, m->is_request ? m->uri : STR_NONE);
		break;
	case 'k':
		buf_put(out, uri_of(first(m, HDR_CONTACT)));
		break;
	default:
		buf_char(out, part);
	}
}

static bool index_of(struct fw *w, const struct fw_message *m,
		     struct msg *out_r)
{
	return m && msg_index(out_r, w->arena, m->bytes) == MSG_OK;
}

static struct str expand(struct fw *w, struct str text)
{
	struct buf out;
	struct msg m;

	buf_arena(&out, w->arena, text.n + 64);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != '$' || i + 1 >= text.n) {
			buf_char(&out, text.p[i]);
		} else if (text.p[i + 1] == '$' || i + 2 >= text.n) {
			buf_char(&out, '$');
			i++;
		} else {
			if (index_of(w, sent(w, ANY, number(text.p[i + 2])),
				     &m))
				put_part(&out, &m, text.p[i + 1]);
			i += 2;
		}
	}
	return buf_str(&out);
}

/* Ends a message that is made here: more headers, and a body if there is one
 * among them. */
static struct str finish(struct buf *out, struct str more)
{
	bool ended = memmem(more.p ? more.p : "", more.n, "\r\n\r\n", 4);

	buf_put(out, more);
	if (!ended)
		BUF_LIT(out, "Content-Length: 0\r\n\r\n");
	return buf_str(out);
}

/* ---- what arrives ---------------------------------------------------------
 */

static void do_bytes(struct fw *w, const struct step *s)
{
	struct fw_conn *c = conn(w, s->a, false);
	struct str text = expand(w, s->text);
	size_t piece = s->b ? s->b * (size_t)7 : text.n;

	if (c && c->state == FW_OPENING)
		fw_up(w, c);
	for (size_t at = 0; c && at < text.n && c->state == FW_UP; at += piece)
		fw_chunk(w, c, str_sub(text, at, at + piece));
}

/* The first line of a text, and what follows it. */
static struct str line(struct str *text)
{
	struct str l = str_cut(text, '\n');

	if (l.n && l.p[l.n - 1] == '\r')
		l.n--;
	return l;
}

static void do_answer(struct fw *w, const struct step *s)
{
	const struct fw_message *to = sent(w, REQUESTS, s->a);
	struct str more = s->text, status = line(&more);
	struct msg m;
	struct buf out;
	struct str tag = STR_NONE;

	if (!index_of(w, to, &m))
		return;
	tag = param(first(&m, HDR_TO), "tag");
	buf_arena(&out, w->arena, 1024);
	BUF_LIT(&out, "SIP/2.0 ");
	buf_put(&out, status);
	BUF_LIT(&out, "\r\n");
	put_all(&out, &m, HDR_VIA, "Via");
	put_all(&out, &m, HDR_RECORD_ROUTE, "Record-Route");
	put_all(&out, &m, HDR_FROM, "From");
	BUF_LIT(&out, "To: ");
	buf_put(&out, first(&m, HDR_TO));
	if (!tag.n && !str_starts(status, STR("100"))) {
		BUF_LIT(&out, ";tag=t");
		buf_u64(&out, to->peer.addr.ip[3] + s->b * (uint64_t)256);
	}
	BUF_LIT(&out, "\r\n");
	put_all(&out, &m, HDR_CALL_ID, "Call-ID");
	put_all(&out, &m, HDR_CSEQ, "CSeq");
	fw_message(w, &to->peer, finish(&out, expand(w, more)));
}

static void do_cancel(struct fw *w, const struct step *s)
{
	const struct fw_message *of = given(w, REQUESTS, s->a);
	struct msg m;
	struct buf out;

	if (!index_of(w, of, &m))
		return;
	buf_arena(&out, w->arena, 1024);
	buf_printf(&out, "CANCEL %.*s SIP/2.0\r\nVia: ", STR_FMT(m.uri));
	buf_put(&out, first(&m, HDR_VIA));
	BUF_LIT(&out, "\r\n");
	put_all(&out, &m, HDR_ROUTE, "Route");
	put_all(&out, &m, HDR_FROM, "From");
	put_all(&out, &m, HDR_TO, "To");
	put_all(&out, &m, HDR_CALL_ID, "Call-ID");
	buf_printf(&out, "CSeq: %.*s CANCEL\r\nMax-Forwards: 70\r\n",
		   STR_FMT(cseq_of(&m)));
	fw_message(w, &of->peer, finish(&out, s->text));
}

static void do_ack(struct fw *w, const struct step *s)
{
	const struct fw_message *of = sent(w, RESPONSES, s->a);
	struct msg m;
	struct buf out;

	if (!index_of(w, of, &m))
		return;
	buf_arena(&out, w->arena, 1024);
	BUF_LIT(&out, "ACK sip:bob@example.com SIP/2.0\r\nVia: ");
	buf_put(&out, first(&m, HDR_VIA));
	BUF_LIT(&out, "\r\n");
	put_all(&out, &m, HDR_FROM, "From");
	put_all(&out, &m, HDR_TO, "To");
	put_all(&out, &m, HDR_CALL_ID, "Call-ID");
	buf_printf(&out, "CSeq: %.*s ACK\r\nMax-Forwards: 70\r\n",
		   STR_FMT(cseq_of(&m)));
	fw_message(w, &of->peer, finish(&out, s->text));
}

/* The Record-Route fields of a response, from the last to the first. */
static void put_backwards(struct buf *out, const struct msg *m)
{
	const struct hdr *h[16];
	size_t n = 0;

	for (const struct hdr *i = msg_first(m, HDR_RECORD_ROUTE); i && n < 16;
	     i = msg_next(m, i))
		h[n++] = i;
	while (n-- > 0)
		buf_printf(out, "Route: %.*s\r\n",
			   STR_FMT(msg_hdr_value(m, h[n])));
}

/* Side 0 is the caller, to whom the response went; 1 to 3 a server. */
static void do_in_dialog(struct fw *w, const struct step *s)
{
	const struct fw_message *of = sent(w, RESPONSES, s->a);
	struct str more = s->text, method = line(&more);
	struct hop from = peer(2 + s->b);
	struct msg m;
	struct buf out;
	struct str uri;

	if (!index_of(w, of, &m))
		return;
	uri =
	    s->b ? STR("sip:alice@192.0.2.7") : uri_of(first(&m, HDR_CONTACT));
	if (!uri.n)
		uri = STR("sip:bob@10.0.0.1");
	buf_arena(&out, w->arena, 1024);
	buf_printf(&out,
		   "%.*s %.*s SIP/2.0\r\nVia: SIP/2.0/UDP "
		   "192.0.2.7;rport;branch=z9hG4bKd%zu\r\n",
		   STR_FMT(method), STR_FMT(uri), w->n_given);
	if (s->b)
		put_all(&out, &m, HDR_RECORD_ROUTE, "Route");
	else
		put_backwards(&out, &m);
	put_all(&out, &m, s->b ? HDR_TO : HDR_FROM, "From");
	put_all(&out, &m, s->b ? HDR_FROM : HDR_TO, "To");
	put_all(&out, &m, HDR_CALL_ID, "Call-ID");
	buf_printf(&out, "CSeq: %zu %.*s\r\nMax-Forwards: 70\r\n",
		   w->n_given + 2, STR_FMT(method));
	fw_message(w, s->b ? &from : &of->peer, finish(&out, expand(w, more)));
}

static void do_again(struct fw *w, const struct step *s)
{
	const struct fw_message *m = given(w, ANY, s->a);
	struct fw_message copy;

	if (!m)
		return;
	copy = *m;
	fw_message(w, &copy.peer, copy.bytes);
}

/* ---- what happens ---------------------------------------------------------
 */

static const enum cause causes[] = {
    CAUSE_RESET,     CAUSE_CLOSED,        CAUSE_REFUSED,
    CAUSE_NO_SOURCE, CAUSE_TLS_HANDSHAKE, CAUSE_TLS_IDENTITY,
};
static const enum cause icmp[] = {
    CAUSE_ICMP_PORT, CAUSE_ICMP_HOST, CAUSE_ICMP_NET,
    CAUSE_TOO_BIG,   CAUSE_NO_SOURCE,
};

static void do_end(struct fw *w, const struct step *s)
{
	struct fw_conn *c = conn(w, s->a, false);

	if (c)
		fw_down(w, c, causes[s->b % ARRAY_LEN(causes)]);
}

static void do_icmp(struct fw *w, const struct step *s)
{
	const struct fw_message *m = sent(w, ANY, s->a);
	struct fw_message copy;

	if (!m)
		return;
	copy = *m;
	fw_icmp(w, &copy, icmp[s->b % ARRAY_LEN(icmp)], s->c * (size_t)16);
}

static void do_time(struct fw *w, const struct step *s)
{
	static const int64_t ms[] = {1,    10,   100,   500,   1000,  2000,
				     4000, 8000, 12000, 32000, 64000, 200000};

	fw_run(w, MILLIS(ms[s->a % ARRAY_LEN(ms)]));
}

static void put_u16(struct buf *b, unsigned v)
{
	buf_char(b, (char)(v >> 8));
	buf_char(b, (char)v);
}

static void put_dns_name(struct buf *b, struct str name)
{
	while (name.n) {
		struct str label = str_cut(&name, '.');

		label = str_sub(label, 0, 63);
		if (!label.n)
			continue;
		buf_char(b, (char)label.n);
		buf_put(b, label);
	}
	buf_char(b, 0);
}

/* Data as text for addresses and SRV ("port target"), as they are for others.
 */
static void put_data(struct buf *b, uint16_t type, struct str text)
{
	struct addr a;
	uint32_t port = 5060;

	if ((type == DNS_A || type == DNS_AAAA) && addr_parse_ip(text, &a)) {
		buf_put(b, (struct str){(char *)a.ip,
					a.family == ADDR_V4 ? 4 : 16});
	} else if (type == DNS_SRV) {
		put_u16(b, 1);
		put_u16(b, 1);
		str_u32(str_cut(&text, ' '), 65535, &port);
		put_u16(b, port);
		put_dns_name(b, text);
	} else {
		buf_put(b, text);
	}
}

/* An answer with a record for each line of the text. */
static struct str dns_reply(struct fw *w, const struct query *q,
			    const struct step *s)
{
	struct str rest = s->text, data;
	struct buf out, rdata;
	unsigned n = 0;

	buf_arena(&out, w->arena, 512);
	put_u16(&out, 1);
	put_u16(&out, 0x8180 | (s->b == 4 ? 3 : 0));
	put_u16(&out, 1);
	for (size_t i = 0; i < s->text.n; i++)
		n += s->text.p[i] == '\n';
	put_u16(&out, n);
	put_u16(&out, 0);
	put_u16(&out, 0);
	put_dns_name(&out, str_from(q->name));
	put_u16(&out, q->type);
	put_u16(&out, 1);
	while (n-- > 0) {
		data = line(&rest);
		buf_arena(&rdata, w->arena, 64);
		put_data(&rdata, q->type, data);
		put_u16(&out, 0xc00c);
		put_u16(&out, q->type);
		put_u16(&out, 1);
		put_u16(&out, 0);
		put_u16(&out, s->c);
		put_u16(&out, (unsigned)rdata.n);
		buf_put(&out, buf_str(&rdata));
	}
	return buf_str(&out);
}

static void do_dns(struct fw *w, const struct step *s)
{
	static const enum answer_status how[] = {
	    ANSWER_REPLY,  ANSWER_REPLY, ANSWER_TIMEOUT,
	    ANSWER_FAILED, ANSWER_REPLY, ANSWER_NO_NAME};
	struct answer a = {.status = how[s->b % ARRAY_LEN(how)]};
	unsigned i;

	if (!w->queries)
		return;
	i = w->queries - 1 - s->a % w->queries;
	if (a.status == ANSWER_REPLY)
		a.bytes = s->b == 1 ? s->text : dns_reply(w, w->query[i].q, s);
	fw_answer(w, i, &a);
}

void step_run(struct fw *w, const struct step *s)
{
	struct hop from = peer(s->a);
	struct fw_conn *c;

	switch (s->op) {
	case 'D':
		fw_datagram(w, &from, expand(w, s->text));
		break;
	case 'O':
		fw_accept(w, &from.addr,
			  s->b & 1 ? TRANSPORT_TLS : TRANSPORT_TCP);
		break;
	case 'S':
		do_bytes(w, s);
		break;
	case 'U':
		c = conn(w, s->a, true);
		if (c)
			fw_up(w, c);
		break;
	case 'X':
		do_end(w, s);
		break;
	case 'A':
		do_answer(w, s);
		break;
	case 'P':
		do_again(w, s);
		break;
	case 'C':
		do_cancel(w, s);
		break;
	case 'K':
		do_ack(w, s);
		break;
	case 'B':
		do_in_dialog(w, s);
		break;
	case 'I':
		do_icmp(w, s);
		break;
	case 'Q':
		do_dns(w, s);
		break;
	case 'T':
		do_time(w, s);
		break;
	case 'M':
		fw_fail(w, s->a, s->b + 1, s->c + 1);
		break;
	case 'W':
		atomic_store(&w->node->draining, s->a & 1);
		break;
	case 'N':
		w->away = s->a & 1;
		break;
	default:
		break;
	}
}
