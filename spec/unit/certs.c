#include "unit/certs.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/unit.h"

static void add(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	CHECK(e != NULL && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static void fill(struct cert *c, const struct cert_conf *conf)
{
	static const long day = 24 * 3600;
	long days = conf->days ? conf->days : 30;
	X509 *issuer = conf->issuer ? conf->issuer->x509 : c->x509;
	X509_NAME *subject = X509_get_subject_name(c->x509);

	X509_set_version(c->x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c->x509), rand());
	X509_gmtime_adj(X509_getm_notBefore(c->x509), -60 * day);
	X509_gmtime_adj(X509_getm_notAfter(c->x509), days * day);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
				   (const unsigned char *)conf->name, -1, -1,
				   0);
	X509_set_issuer_name(c->x509, X509_get_subject_name(issuer));
	X509_set_pubkey(c->x509, c->key);
	add(c->x509, issuer, NID_basic_constraints,
	    conf->issuer ? "CA:FALSE" : "CA:TRUE");
	if (conf->san)
		add(c->x509, issuer, NID_subject_alt_name, conf->san);
	if (conf->usage)
		add(c->x509, issuer, NID_ext_key_usage, conf->usage);
	CHECK(X509_sign(c->x509, conf->issuer ? conf->issuer->key : c->key,
			EVP_sha256()) > 0);
}

static void write_files(const struct cert *c, const char *pass_phrase)
{
	FILE *f = fopen(c->pem, "w");

	CHECK(f && PEM_write_X509(f, c->x509) == 1 && fclose(f) == 0);
	f = fopen(c->key_pem, "w");
	CHECK(f &&
	      PEM_write_PrivateKey(
		  f, c->key, pass_phrase ? EVP_aes_128_cbc() : NULL,
		  (const unsigned char *)pass_phrase,
		  pass_phrase ? (int)strlen(pass_phrase) : 0, NULL, NULL) == 1);
	CHECK(fclose(f) == 0);
}

void cert_make(struct cert *c, char dir[64], const struct cert_conf *conf)
{
	if (!dir[0]) {
		strcpy(dir, "/tmp/tandem-unit-XXXXXX");
		CHECK(mkdtemp(dir) != NULL);
	}
	snprintf(c->pem, sizeof(c->pem), "%s/%.40s.pem", dir, conf->name);
	snprintf(c->key_pem, sizeof(c->key_pem), "%s/%.40s.key", dir,
		 conf->name);
	c->key = EVP_EC_gen("P-256");
	c->x509 = X509_new();
	CHECK(c->key && c->x509);
	fill(c, conf);
	write_files(c, conf->pass_phrase);
}

void cert_free(struct cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
}

void certs_clear(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK_INT(system(command), 0);
}
