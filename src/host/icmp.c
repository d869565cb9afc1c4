#include "host/icmp.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/errqueue.h> /* needs <time.h> before it */

enum {
	/* A router quotes 8 to 1400 bytes; a branch is within the first 300. */
	QUOTE_MAX = 2048,
	DRAIN_MAX = 64, /* per call; the socket stays readable for the rest */
};

static enum cause cause_of_errno(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return CAUSE_ICMP_PORT;
	case ENETUNREACH:
		return CAUSE_ICMP_NET;
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENONET:
	case ENOPROTOOPT: /* no UDP there: nobody will ever answer */
	case EACCES:      /* administratively prohibited */
		return CAUSE_ICMP_HOST;
	default:
		return CAUSE_NONE;
	}
}

/* RFC 3261 18.4: what says that nobody is there; the rest says nothing. */
enum cause icmp_cause(const struct sock_extended_err *e)
{
	/* The kernel's errno is the right grain for both protocols; types and
	 * codes beyond it (prohibited by whom?) change nothing we would do. */
	if (e->ee_origin != SO_EE_ORIGIN_ICMP &&
	    e->ee_origin != SO_EE_ORIGIN_ICMP6)
		return CAUSE_NONE;
	return cause_of_errno((int)e->ee_errno);
}

enum cause icmp_send_cause(int err, bool is_ours)
{
	switch (err) {
	case EMSGSIZE:
		return CAUSE_TOO_BIG;
	case EADDRNOTAVAIL:
	case EINVAL: /* that source cannot be used towards that address */
		return CAUSE_NO_SOURCE;
	case ENETUNREACH:
		return is_ours ? CAUSE_ICMP_NET : CAUSE_NO_SOURCE;
	default:
		return CAUSE_ICMP_HOST; /* EPERM: our own packet filter */
	}
}

bool icmp_may_be_stale(int err)
{
	return cause_of_errno(err) != CAUSE_NONE || err == EMSGSIZE ||
	       err == EPROTO || err == EOPNOTSUPP;
}

static const struct sock_extended_err *find_error(struct msghdr *m)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if ((c->cmsg_level == IPPROTO_IP &&
		     c->cmsg_type == IP_RECVERR) ||
		    (c->cmsg_level == IPPROTO_IPV6 &&
		     c->cmsg_type == IPV6_RECVERR))
			return (const void *)CMSG_DATA(c);
	return NULL;
}

unsigned icmp_drain(int fd, const struct hop *from, struct dgram_queue *out)
{
	struct sockaddr_storage to;
	_Alignas(struct cmsghdr) char control[512];
	char quoted[QUOTE_MAX];
	unsigned n;

	for (n = 0; n < DRAIN_MAX; n++) {
		struct iovec iov = {quoted, sizeof(quoted)};
		struct msghdr m = {
		    .msg_name = &to,
		    .msg_namelen = sizeof(to),
		    .msg_iov = &iov,
		    .msg_iovlen = 1,
		    .msg_control = control,
		    .msg_controllen = sizeof(control),
		};
		const struct sock_extended_err *e;
		struct hop hop = *from;
		ssize_t len = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

		if (len < 0)
			break;
		e = find_error(&m);
		if (!e || !m.msg_namelen || icmp_cause(e) == CAUSE_NONE)
			continue;
		addr_from_sockaddr(&hop.addr, (struct sockaddr *)&to);
		/* When it does not fit there are thousands like it. */
		dgram_queue_add(out, &hop, icmp_cause(e),
				(struct str){quoted, (size_t)len});
	}
	return n;
}
