#include "transport/limits.h"

#include "util/tick.h"

void stream_limits_init(struct stream_limits *l)
{
	*l = (struct stream_limits){
	    .connect = SECONDS(2),
	    .handshake = SECONDS(5),
	    .header = SECONDS(10),
	    .idle = SECONDS(120),
	    .per_source = 64,
	    .connections = 20000,
	    .message = 65535,
	    .queue = 262144,
	};
}

void dns_limits_init(struct dns_limits *l)
{
	*l = (struct dns_limits){
	    .deadline = SECONDS(2),
	    .ttl_min = SECONDS(1),
	    .ttl_max = SECONDS(3600),
	    .negative = SECONDS(30),
	    .stale = SECONDS(3600),
	    .names = 4096,
	};
}
