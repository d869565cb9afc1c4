/*
 * TLS between two ends in one process: who is believed, who is not, and in
 * which words.
 */
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/tls.h"
#include "host/tls_name.h"
#include "support/unit.h"
#include "unit/certs.h"

struct world {
	char dir[64];
	struct cert ca, other_ca;
	struct listeners ls;
	struct tls_clients clients;
	struct logsink *log;
	struct tls_set *set;
	int fd[2];
	struct tls *server, *client;
	char why[512];
};

static void use(struct tls_conf *c, const struct cert *cert,
		const struct cert *ca)
{
	if (cert) {
		strcpy(c->cert, cert->pem);
		strcpy(c->key, cert->key_pem);
	}
	if (ca)
		strcpy(c->ca, ca->pem);
}

/* A listener without demands, a client that trusts the one CA. */
static void begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	signal(SIGPIPE, SIG_IGN);
	cert_make(&w->ca, w->dir, &(struct cert_conf){.name = "Root"});
	cert_make(&w->other_ca, w->dir, &(struct cert_conf){.name = "Other"});
	w->log = logsink_new(STDERR_FILENO, false, LOG_ERROR);
	w->ls.n = 1;
	w->ls.l[0].transport = TRANSPORT_TLS;
	tls_clients_init(&w->clients);
	w->clients.n = 2;
	w->clients.c[1].verify = true;
	use(&w->clients.c[1], NULL, &w->ca);
}

static void end(struct world *w)
{
	tls_free(&w->server);
	tls_free(&w->client);
	tls_set_free(&w->set);
	close(w->fd[0]);
	close(w->fd[1]);
	cert_free(&w->ca);
	cert_free(&w->other_ca);
	logsink_free(&w->log);
	certs_clear(w->dir);
}

static void read_set(struct world *w)
{
	struct tls_set_conf conf = {.listeners = &w->ls,
				    .clients = &w->clients,
				    .used = 2,
				    .log = w->log};

	w->set = tls_set_new(&conf, w->why, sizeof(w->why));
	CHECK_STR(str_from(w->why), "");
	CHECK(w->set != NULL);
}

static bool is_over(enum sock_result r)
{
	return r == SOCK_DONE || r == SOCK_FAILED;
}

/* Both ends, until each has come to something. */
static void shake(struct world *w, const char *name, enum sock_result *client_r,
		  enum sock_result *server_r)
{
	if (!w->set)
		read_set(w);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w->fd) == 0);
	w->client = tls_connect(w->set, 1, w->fd[0], name);
	w->server = tls_accept(w->set, 0, w->fd[1]);
	*client_r = *server_r = SOCK_WANT_READ;
	for (int i = 0; i < 20; i++) {
		if (!is_over(*client_r))
			*client_r = tls_handshake(w->client);
		if (!is_over(*server_r))
			*server_r = tls_handshake(w->server);
	}
}

/* A server with this certificate, and what comes of it for the client. */
static enum sock_result try_server(struct world *w, const struct cert *cert,
				   const char *name)
{
	enum sock_result client, server;

	use(&w->ls.l[0].tls, cert, NULL);
	shake(w, name, &client, &server);
	return client;
}

static struct cert issue(struct world *w, const struct cert_conf *conf)
{
	struct cert c;

	cert_make(&c, w->dir, conf);
	return c;
}

/* ---- it works ---- */

TEST(bytes_go_both_ways)
{
	struct world w;
	struct cert c;
	char bytes[16];
	size_t n;

	begin(&w);
	c = issue(&w, &(struct cert_conf){.name = "pbx",
					  .san = "DNS:pbx.example.com",
					  .issuer = &w.ca});
	CHECK_INT(try_server(&w, &c, "pbx.example.com"), SOCK_DONE);
	CHECK(tls_identity(w.server) == NULL);
	CHECK(tls_identity(w.client) == NULL);
	CHECK_INT(tls_write(w.client, "hello", 5, &n), SOCK_DONE);
	CHECK_INT(n, 5);
	CHECK_INT(tls_read(w.server, bytes, sizeof(bytes), &n), SOCK_DONE);
	CHECK_INT(n, 5);
	CHECK_INT(tls_read(w.server, bytes, sizeof(bytes), &n), SOCK_WANT_READ);
	tls_finish(w.client);
	CHECK_INT(tls_read(w.server, bytes, sizeof(bytes), &n), SOCK_END);
	cert_free(&c);
	end(&w);
}

TEST(an_end_without_a_word_is_an_end)
{
	struct world w;
	struct cert c;
	char bytes[16];
	size_t n;

	begin(&w);
	c = issue(&w, &(struct cert_conf){.name = "pbx",
					  .san = "IP:10.0.0.1",
					  .issuer = &w.ca});
	CHECK_INT(try_server(&w, &c, "10.0.0.1"), SOCK_DONE);
	shutdown(w.fd[0], SHUT_WR);
	CHECK_INT(tls_read(w.server, bytes, sizeof(bytes), &n), SOCK_END);
	cert_free(&c);
	end(&w);
}

/* ---- servers that are not believed ---- */

static void refuse(const struct cert_conf *conf, bool by_other,
		   enum cause cause, const char *words)
{
	struct world w;
	struct cert_conf cc = *conf;
	struct cert c;

	begin(&w);
	if (cc.issuer)
		cc.issuer = by_other ? &w.other_ca : &w.ca;
	c = issue(&w, &cc);
	CHECK_INT(try_server(&w, &c, "pbx.example.com"), SOCK_FAILED);
	CHECK_INT(tls_cause(w.client), cause);
	if (!strstr(tls_why(w.client), words))
		fprintf(stderr, "why: %s\n", tls_why(w.client));
	CHECK(strstr(tls_why(w.client), words) != NULL);
	cert_free(&c);
	end(&w);
}

static const struct cert some_issuer;

/* RFC 5922 4. */
TEST(another_name)
{
	refuse(&(struct cert_conf){.name = "pbx.example.com",
				   .san = "DNS:sip.other.example",
				   .issuer = &some_issuer},
	       false, CAUSE_TLS_IDENTITY,
	       "the server presents sip.other.example, not pbx.example.com");
}

TEST(expired)
{
	refuse(&(struct cert_conf){.name = "pbx",
				   .san = "DNS:pbx.example.com",
				   .issuer = &some_issuer,
				   .days = -1},
	       false, CAUSE_TLS_HANDSHAKE, "certificate has expired on 20");
}

TEST(signed_by_itself)
{
	refuse(&(struct cert_conf){.name = "pbx", .san = "DNS:pbx.example.com"},
	       false, CAUSE_TLS_HANDSHAKE, "self-signed certificate");
}

TEST(unknown_authority)
{
	refuse(&(struct cert_conf){.name = "pbx",
				   .san = "DNS:pbx.example.com",
				   .issuer = &some_issuer},
	       true, CAUSE_TLS_HANDSHAKE, "unknown CA (issuer Other)");
}

TEST(whoever_it_is_if_nobody_asks)
{
	struct world w;
	struct cert c;

	begin(&w);
	w.clients.c[1].verify = false;
	c = issue(&w, &(struct cert_conf){.name = "x", .days = -1});
	CHECK_INT(try_server(&w, &c, "pbx.example.com"), SOCK_DONE);
	cert_free(&c);
	end(&w);
}

/* Number 0, which nobody has told anything. */
TEST(authorities_of_the_system)
{
	static const enum sock_result want[] = {SOCK_DONE, SOCK_FAILED};
	struct cert c[2];
	struct world w;

	begin(&w);
	c[0] = issue(&w, &(struct cert_conf){.name = "known",
					     .san = "DNS:pbx.example.com",
					     .issuer = &w.ca});
	c[1] = issue(&w, &(struct cert_conf){.name = "unknown",
					     .san = "DNS:pbx.example.com",
					     .issuer = &w.other_ca});
	CHECK(setenv("SSL_CERT_FILE", w.ca.pem, 1) == 0);
	w.clients.c[1] = w.clients.c[0];
	for (int i = 0; i < 2; i++) {
		CHECK_INT(try_server(&w, &c[i], "pbx.example.com"), want[i]);
		tls_free(&w.client);
		tls_free(&w.server);
		tls_set_free(&w.set);
		close(w.fd[0]);
		close(w.fd[1]);
		cert_free(&c[i]);
	}
	w.fd[0] = w.fd[1] = -1;
	end(&w);
}

/* ---- clients ---- */

/* A listener that demands a certificate of Root, and a client that shows one;
 * what comes of it for the server. */
static enum sock_result demand(struct world *w, const struct cert *client)
{
	struct cert c =
	    issue(w, &(struct cert_conf){
			 .name = "pbx", .san = "DNS:pbx", .issuer = &w->ca});
	enum sock_result cr, sr;
	char byte;
	size_t n;

	use(&w->ls.l[0].tls, &c, &w->ca);
	w->ls.l[0].tls.verify = true;
	use(&w->clients.c[1], client, NULL);
	shake(w, "pbx", &cr, &sr);
	/* TLS 1.3: the client is up before it learns what the server says. */
	CHECK_INT(cr, SOCK_DONE);
	CHECK_INT(tls_read(w->client, &byte, 1, &n),
		  sr == SOCK_DONE ? SOCK_WANT_READ : SOCK_FAILED);
	cert_free(&c);
	return sr;
}

/* RFC 3261 26.3.1, RFC 5922 7.4. */
TEST(client_proves_who_it_is)
{
	struct world w;
	struct cert c;

	begin(&w);
	c = issue(&w,
		  &(struct cert_conf){.name = "client",
				      .san = "DNS:a.example,URI:sip:b.example",
				      .issuer = &w.ca});
	CHECK_INT(demand(&w, &c), SOCK_DONE);
	CHECK_STR(str_from(tls_identity(w.server)), "b.example");
	cert_free(&c);
	end(&w);
}

/* What public CAs sign is for servers, and proxies have nothing else. */
TEST(client_with_a_certificate_for_servers)
{
	struct world w;
	struct cert c;

	begin(&w);
	c = issue(&w, &(struct cert_conf){.name = "client",
					  .san = "DNS:b.example",
					  .usage = "serverAuth",
					  .issuer = &w.ca});
	CHECK_INT(demand(&w, &c), SOCK_DONE);
	CHECK_STR(str_from(tls_identity(w.server)), "b.example");
	cert_free(&c);
	end(&w);
}

TEST(client_without_certificate)
{
	struct world w;

	begin(&w);
	CHECK_INT(demand(&w, NULL), SOCK_FAILED);
	CHECK_STR(str_from(tls_why(w.server)),
		  "the client shows no certificate");
	CHECK_INT(tls_cause(w.server), CAUSE_TLS_HANDSHAKE);
	CHECK_STR(str_from(tls_why(w.client)),
		  "the peer demands a client certificate");
	CHECK_INT(tls_cause(w.client), CAUSE_TLS_HANDSHAKE);
	end(&w);
}

TEST(why_is_found_behind_a_reset)
{
	enum sock_result client, server;
	struct world w;
	size_t n;

	begin(&w);
	use(&w.ls.l[0].tls, &w.ca, &w.ca);
	w.ls.l[0].tls.verify = true;
	w.clients.c[1].verify = false;
	shake(&w, NULL, &client, &server);
	CHECK_INT(client, SOCK_DONE);
	CHECK_INT(server, SOCK_FAILED);
	close(w.fd[1]); /* its alert is there, and nobody to write to */
	w.fd[1] = -1;
	CHECK_INT(tls_write(w.client, "INVITE", 6, &n), SOCK_FAILED);
	CHECK_INT(tls_cause(w.client), CAUSE_TLS_HANDSHAKE);
	CHECK_STR(str_from(tls_why(w.client)),
		  "the peer demands a client certificate");
	end(&w);
}

TEST(client_of_another_authority)
{
	struct world w;
	struct cert c;

	begin(&w);
	c = issue(&w,
		  &(struct cert_conf){.name = "client", .issuer = &w.other_ca});
	CHECK_INT(demand(&w, &c), SOCK_FAILED);
	CHECK_STR(str_from(tls_why(w.server)), "unknown CA (issuer Other)");
	CHECK_STR(str_from(tls_why(w.client)),
		  "the peer does not know the CA of our certificate");
	cert_free(&c);
	end(&w);
}

TEST(client_that_has_expired)
{
	struct world w;
	struct cert c;

	begin(&w);
	c = issue(&w, &(struct cert_conf){
			  .name = "client", .issuer = &w.ca, .days = -1});
	CHECK_INT(demand(&w, &c), SOCK_FAILED);
	CHECK(strstr(tls_why(w.server), "certificate has expired on ") != NULL);
	CHECK_STR(str_from(tls_why(w.client)),
		  "the peer says that our certificate has expired");
	cert_free(&c);
	end(&w);
}

/* ---- not TLS, or not ours ---- */

/* What the server makes of these bytes. */
static const char *hear(struct world *w, struct str bytes)
{
	use(&w->ls.l[0].tls, &w->ca, NULL);
	read_set(w);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w->fd) == 0);
	w->server = tls_accept(w->set, 0, w->fd[1]);
	CHECK_INT(send(w->fd[0], bytes.p, bytes.n, 0), bytes.n);
	shutdown(w->fd[0], SHUT_WR);
	CHECK_INT(tls_handshake(w->server), SOCK_FAILED);
	CHECK_INT(tls_cause(w->server), CAUSE_TLS_HANDSHAKE);
	return tls_why(w->server);
}

TEST(plain_text_is_no_tls)
{
	struct world w;

	begin(&w);
	CHECK_STR(str_from(hear(&w, STR("OPTIONS sip:a SIP/2.0\r\n\r\n"))),
		  "the peer does not speak TLS");
	end(&w);
}

TEST(silence_until_the_end)
{
	struct world w;

	begin(&w);
	CHECK_STR(str_from(hear(&w, STR(""))),
		  "the peer has closed it during the handshake");
	end(&w);
}

/* RFC 3261 26.2.1. */
TEST(old_versions_are_refused)
{
	struct world w;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *old;

	begin(&w);
	use(&w.ls.l[0].tls, &w.ca, NULL);
	read_set(&w);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w.fd) == 0);
	w.server = tls_accept(w.set, 0, w.fd[1]);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
	old = SSL_new(ctx);
	SSL_set_fd(old, w.fd[0]);
	CHECK(SSL_connect(old) != 1);
	CHECK_INT(tls_handshake(w.server), SOCK_FAILED);
	CHECK(strstr(tls_why(w.server), "no version of TLS in common") != NULL);
	SSL_free(old);
	SSL_CTX_free(ctx);
	end(&w);
}

/* ---- files ---- */

static void check_files(struct world *w, const struct tls_conf *c,
			bool is_server, const char *words)
{
	bool ok = tls_check(c, is_server, w->why, sizeof(w->why));

	CHECK(ok == !words);
	if (words && !strstr(w->why, words))
		fprintf(stderr, "why: %s\n", w->why);
	CHECK(!words || strstr(w->why, words) != NULL);
}

TEST(files_are_checked)
{
	struct world w;
	struct tls_conf c = {.verify = false};
	struct cert locked;

	begin(&w);
	check_files(&w, &c, false, NULL);
	check_files(&w, &c, true, "needs cert and key");
	use(&c, &w.ca, NULL);
	check_files(&w, &c, true, NULL);
	strcpy(c.key, w.other_ca.key_pem);
	check_files(&w, &c, true,
		    "Other.key: does not belong to the "
		    "certificate");
	strcpy(c.key, "/nonexistent.key");
	check_files(&w, &c, true, "key: /nonexistent.key: No such file");
	strcpy(c.key, w.ca.pem);
	check_files(&w, &c, true, "no private key");
	strcpy(c.cert, w.ca.key_pem);
	check_files(&w, &c, true, "Root.key: no certificate in it");
	locked = issue(
	    &w, &(struct cert_conf){.name = "locked", .pass_phrase = "secret"});
	use(&c, &locked, NULL);
	check_files(&w, &c, true, "pass phrase");
	use(&c, &w.ca, &w.ca);
	strcpy(c.ca, w.ca.key_pem);
	check_files(&w, &c, false, "ca: ");
	cert_free(&locked);
	end(&w);
}

/* RFC 5922 6. */
TEST(a_set_is_read_as_a_whole)
{
	struct world w;
	struct tls_set *again;
	struct tls_set_conf conf = {.listeners = &w.ls, .clients = &w.clients};

	begin(&w);
	use(&w.ls.l[0].tls, &w.ca, NULL);
	read_set(&w);
	conf.log = w.log;
	conf.before = w.set;
	/* Who is not used any more is not read, and stays. */
	strcpy(w.clients.c[1].ca, "/nonexistent.pem");
	again = tls_set_new(&conf, w.why, sizeof(w.why));
	CHECK(again != NULL);
	tls_set_free(&w.set);
	w.set = again;
	conf.before = again;
	w.client = tls_connect(again, 1, 0, NULL);
	CHECK(w.client != NULL);
	conf.used = 2;
	CHECK(tls_set_new(&conf, w.why, sizeof(w.why)) == NULL);
	CHECK(strstr(w.why, "/nonexistent.pem") != NULL);
	end(&w);
}

TEST(clients_are_numbered)
{
	struct tls_clients clients;
	struct tls_conf c = {.verify = true};

	tls_clients_init(&clients);
	CHECK_INT(tls_clients_add(&clients, &c), 0); /* nothing special */
	for (int round = 0; round < 2; round++) {
		for (int i = 1; i < TLS_CLIENT_MAX; i++) {
			snprintf(c.ca, sizeof(c.ca), "%d.pem", i);
			CHECK_INT(tls_clients_add(&clients, &c), i);
		}
	}
	c.verify = false;
	CHECK_INT(tls_clients_add(&clients, &c), -1);
}

/* ---- names (RFC 5922 7) ---- */

struct names {
	const char *subject, *san, *wanted;
	bool is;
};

/* RFC 5922 7.2. */
TEST(names_are_compared)
{
	static const struct names table[] = {
	    {"x", "DNS:pbx.example.com", "pbx.example.com", true},
	    {"x", "DNS:pbx.example.com", "PBX.Example.Com", true},
	    {"x", "DNS:pbx.example.com", "pbx.example.com.", true},
	    {"x", "DNS:*.example.com", "pbx.example.com", false},
	    {"x", "DNS:example.com", "pbx.example.com", false},
	    {"x", "DNS:a.example,DNS:b.example", "b.example", true},
	    {"x", "URI:sip:example.com", "example.com", true},
	    {"x", "URI:sips:example.com", "example.com", false},
	    {"x", "URI:sip:alice@example.com", "example.com", false},
	    {"x", "URI:https://example.com", "example.com", false},
	    /* with a URI, only URIs */
	    {"x", "URI:sip:a.example,DNS:b.example", "b.example", false},
	    {"x", "URI:sip:alice@a.example,DNS:b.example", "b.example", true},
	    /* the subject only when there is nothing else */
	    {"b.example", NULL, "b.example", true},
	    {"b.example", "DNS:a.example", "b.example", false},
	    {"b.example", "email:a@b.example", "b.example", false},
	    {"10.0.0.1", NULL, "10.0.0.1", false},
	    {"x", "IP:10.0.0.1", "10.0.0.1", true},
	    {"x", "IP:10.0.0.1", "10.0.0.2", false},
	    {"x", "DNS:10.0.0.1", "10.0.0.1", false},
	    {"x", "IP:2001:db8::1", "[2001:db8::1]", true},
	};
	char dir[64] = "";

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct cert c;

		cert_make(&c, dir,
			  &(struct cert_conf){.name = table[i].subject,
					      .san = table[i].san});
		if (tls_name_is(c.x509, table[i].wanted) != table[i].is)
			fprintf(stderr, "row %zu\n", i);
		CHECK(tls_name_is(c.x509, table[i].wanted) == table[i].is);
		cert_free(&c);
	}
	certs_clear(dir);
}

/* RFC 5922 7.1. */
TEST(a_certificate_names_somebody)
{
	static const char *const table[][4] = {
	    {"x", "DNS:a.example,URI:sip:b.example", "b.example",
	     "a.example, sip:b.example"},
	    {"x", "DNS:*.example,DNS:a.example", "a.example",
	     "*.example, a.example"},
	    {"c.example", NULL, "c.example", "c.example"},
	    {"c.example", "IP:10.0.0.1", "", "c.example"},
	};
	char dir[64] = "", out[64];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct cert c;

		cert_make(&c, dir,
			  &(struct cert_conf){.name = table[i][0],
					      .san = table[i][1]});
		tls_name_first(c.x509, out, sizeof(out));
		CHECK(strcmp(out, table[i][2]) == 0);
		tls_name_list(c.x509, out, sizeof(out));
		CHECK(strcmp(out, table[i][3]) == 0);
		cert_free(&c);
	}
	certs_clear(dir);
}
