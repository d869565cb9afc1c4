/*
 * What the files of TLS share. Nobody else includes this.
 */
#ifndef HOST_TLS_INT_H
#define HOST_TLS_INT_H

#include <openssl/ssl.h>

#include "host/tls.h"

enum {
	TLS_WHY = 512,
	TLS_TIME = 40,
	/* Of names of a peer that go into a line of the log. */
	TLS_NAMES = 160,
};

struct tls_set {
	SSL_CTX *listener[LISTENER_MAX];
	SSL_CTX *client[TLS_CLIENT_MAX]; /* NULL: nobody uses it */
};

struct tls {
	SSL *ssl;
	bool is_server;
	bool is_up;
	bool has_heard;      /* bytes of the peer */
	bool is_asked;       /* for a certificate, and we have none */
	char name[DNS_NAME]; /* who it has to be, or who it is; "" */
	enum cause cause;    /* of a failure */
	char why[TLS_WHY];   /* the same in words */
};

/* tls.c, for contexts: what is wrong with a certificate of the peer; that it
 * wants one of ours. */
int tls_on_verify(int ok, X509_STORE_CTX *store);
int tls_on_certificate_wanted(SSL *ssl, X509 **cert_r, EVP_PKEY **key_r);

/* Where the words go that say why something failed (util/err.h has names that
 * OpenSSL has too). */
struct words {
	char *text;
	size_t n;
};

/* tls_words.c: failures for a person, without a full stop */
const char *tls_time_text(const ASN1_TIME *t, char out[TLS_TIME]);
/* Of a certificate that could not be verified. */
void tls_words_verify(int err, X509 *cert, char *out, size_t n);
/* Of the first error in the queue; `is_asked`: the server wanted a certificate
 * of ours. */
void tls_words_error(unsigned long err, bool is_asked, char *out, size_t n);

#endif
