#include "host/tls_int.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/tls_name.h"

/* ---- what OpenSSL asks in the middle of a handshake ---- */

int tls_on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
	    store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = SSL_get_app_data(ssl);

	/* Afterwards the certificate would not be there to ask. */
	if (!ok)
		tls_words_verify(X509_STORE_CTX_get_error(store),
				 X509_STORE_CTX_get_current_cert(store), t->why,
				 sizeof(t->why));
	return ok;
}

int tls_on_certificate_wanted(SSL *ssl, X509 **cert_r, EVP_PKEY **key_r)
{
	struct tls *t = SSL_get_app_data(ssl);

	(void)cert_r;
	(void)key_r;
	t->is_asked = true;
	return 0; /* none */
}

/* ---- life ---- */

static struct tls *tls_new(SSL_CTX *ctx, int fd)
{
	struct tls *t = ctx ? calloc(1, sizeof(*t)) : NULL;

	if (!t)
		return NULL;
	t->ssl = SSL_new(ctx);
	if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1)
		tls_free(&t);
	else
		SSL_set_app_data(t->ssl, t);
	return t;
}

struct tls *tls_accept(const struct tls_set *set, unsigned listener, int fd)
{
	struct tls *t = tls_new(set->listener[listener], fd);

	if (t) {
		t->is_server = true;
		SSL_set_accept_state(t->ssl);
	}
	return t;
}

static bool is_address(const char *name)
{
	struct addr a;

	return addr_parse_ip(str_from(name), &a);
}

struct tls *tls_connect(const struct tls_set *set, unsigned client, int fd,
			const char *name)
{
	struct tls *t = NULL;

	if (client < TLS_CLIENT_MAX)
		t = tls_new(set->client[client], fd);
	if (!t)
		return NULL;
	SSL_set_connect_state(t->ssl);
	if (name)
		snprintf(t->name, sizeof(t->name), "%s", name);
	if (name && !is_address(name) &&
	    SSL_set_tlsext_host_name(t->ssl, name) != 1)
		tls_free(&t);
	return t;
}

void tls_free(struct tls **tp)
{
	struct tls *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}

/* ---- results ---- */

static void prepare(void)
{
	ERR_clear_error(); /* SSL_get_error looks at what others left there */
	errno = 0;
}

static enum sock_result fail(struct tls *t, enum cause cause)
{
	/* Of a connection that is broken nothing can be said any more, and
	 * OpenSSL must not try to at its end. */
	SSL_set_quiet_shutdown(t->ssl, 1);
	t->cause = cause;
	return SOCK_FAILED;
}

/* A protocol error, or an alert of the peer. */
static enum sock_result fail_protocol(struct tls *t)
{
	if (!t->why[0])
		tls_words_error(ERR_peek_error(), t->is_asked, t->why,
				sizeof(t->why));
	/* In TLS 1.3 a server judges our certificate when we are up already. */
	return fail(t, t->is_up && (t->has_heard || t->is_server)
			   ? CAUSE_RESET
			   : CAUSE_TLS_HANDSHAKE);
}

/* A server that refuses our certificate says so and closes; what we sent
 * meanwhile makes that a reset, and the reason is still there to be read. */
static bool has_reason(struct tls *t)
{
	size_t n;
	char byte;
	int ret;

	if (t->is_server || t->has_heard)
		return false;
	prepare();
	ret = SSL_read_ex(t->ssl, &byte, 1, &n);
	return ret != 1 && SSL_get_error(t->ssl, ret) == SSL_ERROR_SSL;
}

static enum sock_result fail_socket(struct tls *t, int err)
{
	if (t->is_up && has_reason(t))
		return fail_protocol(t);
	if (t->is_up) {
		errno = err ? err : ECONNRESET;
		return fail(t, CAUSE_NONE);
	}
	snprintf(t->why, sizeof(t->why), "%s during the handshake",
		 err ? strerror(err) : "the peer has closed it");
	return fail(t, CAUSE_TLS_HANDSHAKE);
}

/* What an operation that did not succeed comes to. */
static enum sock_result result(struct tls *t, int ret)
{
	int err = errno;

	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return SOCK_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return SOCK_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return t->is_up ? SOCK_END : fail_socket(t, 0);
	case SSL_ERROR_SYSCALL:
		return fail_socket(t, err);
	default:
		return fail_protocol(t);
	}
}

/* ---- the handshake ---- */

static enum sock_result check_server(struct tls *t, X509 *cert)
{
	char names[TLS_NAMES];

	if (SSL_get_verify_mode(t->ssl) == SSL_VERIFY_NONE || !t->name[0])
		return SOCK_DONE;
	if (cert && tls_name_is(cert, t->name))
		return SOCK_DONE;
	if (cert)
		tls_name_list(cert, names, sizeof(names));
	snprintf(t->why, sizeof(t->why), "the server presents %s, not %s",
		 cert ? names : "no certificate", t->name);
	return fail(t, CAUSE_TLS_IDENTITY);
}

enum sock_result tls_handshake(struct tls *t)
{
	X509 *cert;
	int ret;

	prepare();
	ret = SSL_do_handshake(t->ssl);
	if (ret != 1)
		return result(t, ret);
	cert = SSL_get0_peer_certificate(t->ssl);
	if (t->is_server && cert)
		tls_name_first(cert, t->name, sizeof(t->name));
	else if (!t->is_server && check_server(t, cert) != SOCK_DONE)
		return SOCK_FAILED;
	t->is_up = true;
	return SOCK_DONE;
}

/* ---- bytes ---- */

enum sock_result tls_read(struct tls *t, void *p, size_t n, size_t *n_r)
{
	int ret;

	*n_r = 0;
	prepare();
	ret = SSL_read_ex(t->ssl, p, n, n_r);
	if (ret != 1)
		return result(t, ret);
	t->has_heard = true;
	return SOCK_DONE;
}

enum sock_result tls_write(struct tls *t, const void *p, size_t n, size_t *n_r)
{
	int ret;

	*n_r = 0;
	prepare();
	ret = SSL_write_ex(t->ssl, p, n, n_r);
	return ret == 1 ? SOCK_DONE : result(t, ret);
}

void tls_finish(struct tls *t)
{
	prepare();
	SSL_shutdown(t->ssl);
}

enum cause tls_cause(const struct tls *t)
{
	return t->cause;
}

const char *tls_why(const struct tls *t)
{
	return t->why;
}

const char *tls_identity(const struct tls *t)
{
	return t->is_server && t->name[0] ? t->name : NULL;
}

const char *tls_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}
