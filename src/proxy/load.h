/*
 * What one server has to do beyond plain numbers: how fast new calls come, and
 * the units of its named resources ("pstn", "conf") that calls take. Any worker
 * may count; nothing here decides whether there is room, that is the policy's.
 */
#ifndef PROXY_LOAD_H
#define PROXY_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "util/str.h"
#include "util/tick.h"

enum {
	LOAD_RESOURCES = 8, /* of one server: a byte each in `load_units` */
	LOAD_NAME = 32,
	LOAD_MAX_UNITS = 255 /* of one resource that one call takes */
};

/* What one call takes: byte i counts for the server's resource i. */
typedef uint64_t load_units;

struct resource {
	char name[LOAD_NAME]; /* "": never used */
	bool declared;        /* by the newest generation */
	_Atomic int64_t used;
};

struct load {
	_Atomic uint64_t rate; /* two windows of a second, packed */
	struct resource resource[LOAD_RESOURCES];
};

/* The resources of a server, at most LOAD_RESOURCES; while a generation is
 * switched. Those that are known keep what they count. A new one takes the
 * place of one that is no longer declared, best one that nobody uses: units
 * still in use there count for the new one until their calls end. */
void load_declare(struct load *l, const char names[][LOAD_NAME], unsigned n);
/* The index of a declared resource, or -1. */
int load_find(const struct load *l, struct str name);
/* 0 when there is no such resource. */
int64_t load_used(const struct load *l, struct str name);
/* Adds to what a call takes; n at most LOAD_MAX_UNITS. */
load_units load_units_set(load_units u, int resource, unsigned n);
void load_take(struct load *l, load_units u);
void load_give(struct load *l, load_units u);

/* A call begins. */
void load_begin(struct load *l, tick_t now);
/* How many began within the last second: exact at the end of a window, between
 * two an estimate that takes those of the one before as evenly spread. */
double load_rate(const struct load *l, tick_t now);

#endif
