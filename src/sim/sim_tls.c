#include "sim/sim_stream.h"

#include <stdio.h>
#include <string.h>

static bool is_sip(const char *name)
{
	return str_starts(str_from(name), STR("sip:"));
}

/* RFC 5922 7.1: where there is a name of a SIP URI only those count. */
static bool names_it(const struct sim_tls *shown, const char *wanted)
{
	bool sip = false;

	for (unsigned i = 0; i < shown->names; i++)
		sip = sip || is_sip(shown->name[i]);
	for (unsigned i = 0; i < shown->names; i++) {
		const char *name = shown->name[i];

		if (is_sip(name) != sip)
			continue;
		if (str_caseeq(str_from(name + (sip ? strlen("sip:") : 0)),
			       str_from(wanted)))
			return true;
	}
	return shown->names == 0;
}

/* Whoever checks it: is it valid, by someone we know? */
static bool is_valid(const struct sim_tls *shown, char text[TLS_TEXT])
{
	if (shown->expired)
		snprintf(text, TLS_TEXT, "certificate has expired");
	else if (!strcmp(shown->issuer, "self"))
		snprintf(text, TLS_TEXT, "self-signed certificate");
	else if (shown->issuer[0])
		snprintf(text, TLS_TEXT, "unknown CA (issuer %s)",
			 shown->issuer);
	else
		return true;
	return false;
}

enum cause sim_tls_server(const struct tls_conf *conf, const char *wanted,
			  const struct sim_tls *shown, char text[TLS_TEXT])
{
	if (!conf->verify || !shown)
		return CAUSE_NONE;
	if (!is_valid(shown, text))
		return CAUSE_TLS_HANDSHAKE;
	if (!wanted || names_it(shown, wanted))
		return CAUSE_NONE;
	snprintf(text, TLS_TEXT, "the server presents %.100s, not %.200s",
		 shown->name[0], wanted);
	return CAUSE_TLS_IDENTITY;
}

enum cause sim_tls_client(const struct tls_conf *conf,
			  const struct sim_tls *shown, const char **name_r,
			  char text[TLS_TEXT])
{
	*name_r = NULL;
	if (!conf->verify || !shown)
		return CAUSE_NONE;
	if (!shown->names) {
		snprintf(text, TLS_TEXT, "the client shows no certificate");
		return CAUSE_TLS_HANDSHAKE;
	}
	if (!is_valid(shown, text))
		return CAUSE_TLS_HANDSHAKE;
	*name_r =
	    shown->name[0] + (is_sip(shown->name[0]) ? strlen("sip:") : 0);
	return CAUSE_NONE;
}
