/*
 * What the system says of this process, by the names that every Prometheus
 * client uses. Only the control thread asks: it reads files of /proc.
 */
#ifndef CONTROL_PROCESS_H
#define CONTROL_PROCESS_H

#include <stddef.h>
#include <stdint.h>

struct process_facts {
	double cpu;       /* seconds of all threads, user and system */
	int64_t resident; /* bytes */
	int64_t virtual;  /* bytes */
	int64_t fds, max_fds;
};

/* Whatever cannot be read is 0. */
void process_facts(struct process_facts *out_r);
/* Bytes of memory that the machine has, or less if a control group (of version
 * 2) allows us less; 0: unknown. */
size_t process_memory(void);
/* When it began, in seconds since 1970. Ask once: the system counts from its
 * start, by a clock that is being set right all the time, and whoever sees the
 * figure change takes it for another process. */
double process_began(void);

#endif
