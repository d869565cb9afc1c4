/*
 * Certificates for unit tests of TLS, made in memory and put into files of a
 * folder of the test.
 */
#ifndef UNIT_CERTS_H
#define UNIT_CERTS_H

#include <openssl/evp.h>
#include <openssl/x509.h>

struct cert {
	X509 *x509;
	EVP_PKEY *key;
	char pem[128], key_pem[128]; /* the names of the files */
};

struct cert_conf {
	const char *name; /* of its files, and the common name of its subject */
	const char *san;  /* "DNS:a.example.com,URI:sip:example.com"; NULL */
	const char *usage;         /* "serverAuth"; NULL */
	const struct cert *issuer; /* NULL: it signs itself */
	int days;                  /* until it ends; 0: 30 */
	const char *pass_phrase;   /* of the key file */
};

/* Makes the folder when it is "". Fails the test when that cannot be. */
void cert_make(struct cert *c, char dir[64], const struct cert_conf *conf);
void cert_free(struct cert *c);
void certs_clear(const char *dir); /* removes the folder */

#endif
