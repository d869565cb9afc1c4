#include "host/tls_name.h"

#include <openssl/x509v3.h>
#include <string.h>

#include "message/scan.h"
#include "util/addr.h"
#include "util/buf.h"

/* The names of one kind in a certificate, one after the other. */
struct names {
	GENERAL_NAMES *list; /* NULL: there is no such extension */
	int at;
};

static void names_begin(struct names *n, X509 *cert)
{
	n->list = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	n->at = 0;
}

static void names_end(struct names *n)
{
	GENERAL_NAMES_free(n->list);
}

static struct str text_of(const ASN1_STRING *s)
{
	return (struct str){(const char *)ASN1_STRING_get0_data(s),
			    (size_t)ASN1_STRING_length(s)};
}

/* A SIP domain: a URI of scheme sip without a user (RFC 5922 7.1). STR_NONE:
 * none. */
static struct str domain_of_uri(struct str text)
{
	struct uri u;

	if (!scan_uri(text, &u) || !u.is_sip || u.is_sips || u.user.p)
		return STR_NONE;
	return u.host;
}

static struct str domain_of(const GENERAL_NAME *g, int type)
{
	if (g->type != type)
		return STR_NONE;
	if (type == GEN_URI)
		return domain_of_uri(text_of(g->d.uniformResourceIdentifier));
	return text_of(g->d.dNSName);
}

/* The next SIP domain among the names of the type; false: no more. */
static bool names_next(struct names *n, int type, struct str *out_r)
{
	while (n->list && n->at < sk_GENERAL_NAME_num(n->list)) {
		*out_r =
		    domain_of(sk_GENERAL_NAME_value(n->list, n->at++), type);
		/* No wildcards (RFC 5922 7.2), and nothing that only looks like
		 * one name. */
		if (out_r->n && str_find(*out_r, '*') == out_r->n &&
		    str_find(*out_r, '\0') == out_r->n)
			return true;
	}
	n->at = 0;
	return false;
}

/* The subject's common name; it lives as long as the certificate. */
static struct str common_name(X509 *cert)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	if (i < 0)
		return STR_NONE;
	return text_of(
	    X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
}

static struct str without_dot(struct str s)
{
	if (s.n && s.p[s.n - 1] == '.')
		s.n--;
	return s;
}

static bool is_same(struct str a, struct str b)
{
	return str_caseeq(without_dot(a), without_dot(b));
}

/* ---- is it? ---- */

static bool has_address(const struct names *n, const struct addr *wanted)
{
	size_t len = wanted->family == ADDR_V6 ? 16 : 4;

	for (int i = 0; n->list && i < sk_GENERAL_NAME_num(n->list); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(n->list, i);
		struct str ip;

		if (g->type != GEN_IPADD)
			continue;
		ip = text_of(g->d.iPAddress);
		if (ip.n == len && memcmp(ip.p, wanted->ip, len) == 0)
			return true;
	}
	return false;
}

static bool has_domain(struct names *n, X509 *cert, struct str wanted)
{
	static const int types[] = {GEN_URI, GEN_DNS};
	struct str s;

	for (int i = 0; i < 2; i++) {
		bool any = false, found = false;

		while (names_next(n, types[i], &s)) {
			any = true;
			found = found || is_same(s, wanted);
		}
		/* With URIs in it only they count (RFC 5922 7.1). */
		if (any)
			return found;
	}
	return !n->list && is_same(common_name(cert), wanted);
}

bool tls_name_is(X509 *cert, const char *wanted)
{
	struct str name = str_from(wanted);
	struct addr a;
	struct names n;
	bool is;

	names_begin(&n, cert);
	is = addr_parse_ip(name, &a) ? has_address(&n, &a)
				     : has_domain(&n, cert, name);
	names_end(&n);
	return is;
}

/* ---- who is it? ---- */

static void copy(struct str s, char *out, size_t n)
{
	if (s.n >= n || str_find(s, '\0') != s.n)
		s = STR_NONE;
	if (s.n)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

void tls_name_first(X509 *cert, char *out, size_t n)
{
	struct names names;
	struct str s = STR_NONE;

	names_begin(&names, cert);
	if (!names_next(&names, GEN_URI, &s) &&
	    !names_next(&names, GEN_DNS, &s))
		s = names.list ? STR_NONE : common_name(cert);
	copy(s, out, n);
	names_end(&names);
}

static void list_one(struct buf *b, struct str name)
{
	buf_put(b, buf_str(b).n ? STR(", ") : STR(""));
	buf_put(b, name);
}

void tls_name_list(X509 *cert, char *out, size_t n)
{
	struct names names;
	struct buf b;

	buf_fixed(&b, out, n - 1);
	names_begin(&names, cert);
	for (int i = 0; names.list && i < sk_GENERAL_NAME_num(names.list);
	     i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names.list, i);

		if (g->type == GEN_URI)
			list_one(&b, text_of(g->d.uniformResourceIdentifier));
		else if (g->type == GEN_DNS)
			list_one(&b, text_of(g->d.dNSName));
	}
	if (!buf_str(&b).n)
		list_one(&b, common_name(cert));
	if (!buf_str(&b).n)
		list_one(&b, STR("nobody"));
	out[buf_str(&b).n] = '\0';
	names_end(&names);
}
