#include "host/tls_int.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/tls_name.h"

const char *tls_time_text(const ASN1_TIME *t, char out[TLS_TIME])
{
	struct tm tm;

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1 ||
	    strftime(out, TLS_TIME, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(out, TLS_TIME, "an unknown day");
	return out;
}

/* The issuer in one line: its common name, or all of it. */
static const char *issuer_of(X509 *cert, char *out, size_t n)
{
	const X509_NAME *issuer = cert ? X509_get_issuer_name(cert) : NULL;

	out[0] = '\0';
	if (!issuer)
		return "?";
	if (X509_NAME_get_text_by_NID(issuer, NID_commonName, out, (int)n) < 0)
		X509_NAME_oneline(issuer, out, (int)n);
	return out;
}

void tls_words_verify(int err, X509 *cert, char *out, size_t n)
{
	char when[TLS_TIME], who[TLS_NAMES];

	switch (err) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		snprintf(out, n, "certificate has expired on %s",
			 tls_time_text(cert ? X509_get0_notAfter(cert) : NULL,
				       when));
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		snprintf(out, n, "certificate is not valid before %s",
			 tls_time_text(cert ? X509_get0_notBefore(cert) : NULL,
				       when));
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		snprintf(out, n, "self-signed certificate");
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		snprintf(out, n, "unknown CA (issuer %s)",
			 issuer_of(cert, who, sizeof(who)));
		break;
	default:
		snprintf(out, n, "%s", X509_verify_cert_error_string(err));
	}
}

/* Alerts of the peer about our certificate, and what they come to. */
static const struct {
	int reason;
	const char *text;
} WORDS[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
     "the client shows no certificate"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
     "the peer demands a client certificate"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA,
     "the peer does not know the CA of our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
     "the peer says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer rejects our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer rejects our certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
     "the peer rejects our certificate: not of a kind it takes"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
     "the peer says that our certificate is revoked"},
    {SSL_R_UNSUPPORTED_PROTOCOL,
     "no version of TLS in common: 1.2 and 1.3 are spoken here"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
     "no version of TLS in common: 1.2 and 1.3 are spoken here"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common"},
    {SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS"},
    {SSL_R_HTTP_REQUEST, "the peer does not speak TLS but HTTP"},
    {SSL_R_UNKNOWN_PROTOCOL, "the peer does not speak TLS"},
};

void tls_words_error(unsigned long err, bool is_asked, char *out, size_t n)
{
	int reason = ERR_GET_REASON(err);
	const char *text = ERR_reason_error_string(err);

	/* TLS 1.2 has no alert of its own for that. */
	if (is_asked && reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE)
		reason = SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED;
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++)
		if (WORDS[i].reason == reason)
			text = WORDS[i].text;
	snprintf(out, n, "%s", text ? text : "the handshake has failed");
}
