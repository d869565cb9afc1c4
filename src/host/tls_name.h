/*
 * Who a certificate is for (RFC 5922 7.1, 7.2; of a client 7.4): the SIP
 * domains in it, and whether one of them is the one we wanted. Whether the
 * certificate can be trusted is another question (tls.h).
 */
#ifndef HOST_TLS_NAME_H
#define HOST_TLS_NAME_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* Is it for this domain, or address (RFC 5922 7.2, 7.1)? Names are whole: "*"
 * is none. A URI counts before a DNS name, and the subject's common name only
 * when there is no alternative name at all. */
bool tls_name_is(X509 *cert, const char *wanted);
/* The first domain it is for, into out[n]; "" when there is none. */
void tls_name_first(X509 *cert, char *out, size_t n);
/* For a person: all it is for, or the subject. */
void tls_name_list(X509 *cert, char *out, size_t n);

#endif
