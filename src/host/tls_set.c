#include "host/tls_int.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* When a certificate that ends is worth a line: two weeks. */
	SOON_DAYS = 14,
};

/* Always false. */
static bool __attribute__((format(printf, 2, 3)))
say(const struct words *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, why->n, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- files ---- */

/* OpenSSL's words for a missing file are not the system's. */
static bool check_readable(const char *what, const char *path,
			   const struct words *why)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return say(why, "%s: %s: %s", what, path, strerror(errno));
	fclose(f);
	return true;
}

static bool bad_file(const char *what, const char *path, const char *wanted,
		     const struct words *why)
{
	unsigned long e = ERR_peek_error();
	const char *text = ERR_reason_error_string(e);

	return say(why, "%s: %s: %s (%s)", what, path, wanted,
		   text ? text : "not PEM");
}

/* Instead of asking at the terminal. */
static int no_pass_phrase(char *out, int n, int writing, void *ctx)
{
	(void)out;
	(void)n;
	(void)writing;
	(void)ctx;
	return -1;
}

static bool load_certificate(SSL_CTX *ctx, const struct tls_conf *c,
			     const struct words *why)
{
	if (!check_readable("cert", c->cert, why) ||
	    !check_readable("key", c->key, why))
		return false;
	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, c->cert) != 1)
		return bad_file("cert", c->cert, "no certificate in it", why);
	if (SSL_CTX_use_PrivateKey_file(ctx, c->key, SSL_FILETYPE_PEM) == 1)
		return true;
	if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
		return say(why,
			   "key: %s: does not belong to the "
			   "certificate %s",
			   c->key, c->cert);
	return bad_file("key", c->key,
			"no private key that can be used without a pass phrase",
			why);
}

static bool load_ca(SSL_CTX *ctx, const struct tls_conf *c, bool is_server,
		    const struct words *why)
{
	if (!check_readable("ca", c->ca, why))
		return false;
	ERR_clear_error();
	if (SSL_CTX_load_verify_file(ctx, c->ca) != 1)
		return bad_file("ca", c->ca, "no certificate in it", why);
	if (is_server) /* so that clients know which of theirs to show */
		SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(c->ca));
	return true;
}

/* ---- contexts ---- */

static void set_options(SSL_CTX *ctx)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION |
				     SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
				     SSL_OP_CIPHER_SERVER_PREFERENCE |
				     /* many peers just close, and messages
				      * have a length of their own */
				     SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS |
				  SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
}

static void set_verify(SSL_CTX *ctx, const struct tls_conf *c, bool is_server)
{
	int mode = SSL_VERIFY_PEER;

	if (!c->verify) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		return;
	}
	if (is_server) {
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
		/* A proxy that calls us shows what it shows as a server (RFC
		 * 5922 6): many CAs issue nothing else. */
		SSL_CTX_set_purpose(ctx, X509_PURPOSE_ANY);
	}
	SSL_CTX_set_verify(ctx, mode, tls_on_verify);
}

static bool fill(SSL_CTX *ctx, const struct tls_conf *c, bool is_server,
		 const struct words *why)
{
	set_options(ctx);
	set_verify(ctx, c, is_server);
	if (is_server && !c->cert[0])
		return say(why, "a TLS listener needs cert and key");
	if (c->cert[0] && !load_certificate(ctx, c, why))
		return false;
	if (!c->cert[0])
		SSL_CTX_set_client_cert_cb(ctx, tls_on_certificate_wanted);
	if (c->ca[0])
		return load_ca(ctx, c, is_server, why);
	if (c->verify && SSL_CTX_set_default_verify_paths(ctx) != 1)
		return say(why, "the CAs of the system cannot be read");
	return true;
}

/* NULL with the reason. */
static SSL_CTX *make(const struct tls_conf *c, bool is_server,
		     const struct words *why)
{
	SSL_CTX *ctx =
	    SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

	if (!ctx) {
		say(why, "out of memory");
		return NULL;
	}
	if (!fill(ctx, c, is_server, why)) {
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
	ERR_clear_error(); /* of this thread, for whoever comes next */
	return ctx;
}

bool tls_check(const struct tls_conf *conf, bool is_server, char *why, size_t n)
{
	SSL_CTX *ctx = make(conf, is_server, &(struct words){why, n});

	SSL_CTX_free(ctx);
	return ctx != NULL;
}

/* ---- the end of a certificate ---- */

static void warn(struct logsink *log, const char *path, int days,
		 const ASN1_TIME *end)
{
	char text[TLS_TIME];

	logsink_say(log, LOG_WARN, "tls.certificate",
		    LOGF_STR("file", str_from(path)), LOGF_INT("days", days),
		    LOGF_STR("ends", str_from(tls_time_text(end, text))));
}

/* Days until it ends; less than 0 when it has. */
static void warn_if_soon(struct logsink *log, const SSL_CTX *ctx,
			 const char *path)
{
	X509 *cert = SSL_CTX_get0_certificate(ctx);
	const ASN1_TIME *end = cert ? X509_get0_notAfter(cert) : NULL;
	int days, seconds;

	if (!end || ASN1_TIME_diff(&days, &seconds, NULL, end) != 1)
		return;
	if (seconds < 0)
		days--;
	if (days < SOON_DAYS)
		warn(log, path, days, end);
}

/* ---- the set ---- */

static bool make_listeners(struct tls_set *set, const struct tls_set_conf *conf,
			   const struct words *why)
{
	for (unsigned i = 0; i < conf->listeners->n; i++) {
		const struct listener *l = &conf->listeners->l[i];

		/* Without a certificate: only to connect from. */
		if (l->transport != TRANSPORT_TLS || !l->tls.cert[0])
			continue;
		set->listener[i] = make(&l->tls, true, why);
		if (!set->listener[i])
			return false;
		warn_if_soon(conf->log, set->listener[i], l->tls.cert);
	}
	return true;
}

static bool make_clients(struct tls_set *set, const struct tls_set_conf *conf,
			 const struct words *why)
{
	for (unsigned i = 0; i < conf->clients->n; i++) {
		const struct tls_conf *c = &conf->clients->c[i];

		if (conf->used >> i & 1) {
			set->client[i] = make(c, false, why);
			if (!set->client[i])
				return false;
			warn_if_soon(conf->log, set->client[i], c->cert);
		} else if (conf->before && conf->before->client[i]) {
			set->client[i] = conf->before->client[i];
			SSL_CTX_up_ref(set->client[i]);
		}
	}
	return true;
}

struct tls_set *tls_set_new(const struct tls_set_conf *conf, char *why,
			    size_t n)
{
	struct tls_set *set = calloc(1, sizeof(*set));
	struct words w = {why, n};

	if (!set)
		say(&w, "out of memory");
	else if (!make_listeners(set, conf, &w) || !make_clients(set, conf, &w))
		tls_set_free(&set);
	return set;
}

void tls_set_free(struct tls_set **setp)
{
	struct tls_set *set = *setp;

	*setp = NULL;
	if (!set)
		return;
	for (unsigned i = 0; i < LISTENER_MAX; i++)
		SSL_CTX_free(set->listener[i]);
	for (unsigned i = 0; i < TLS_CLIENT_MAX; i++)
		SSL_CTX_free(set->client[i]);
	free(set);
}
