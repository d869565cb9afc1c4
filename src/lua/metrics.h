/*
 * The counters of a core as Lua values: for the script (core.metrics) and for
 * the simulator. What they mean is in lua/tandem/control/catalog.lua.
 */
#ifndef LUA_METRICS_H
#define LUA_METRICS_H

#include <lua.h>
#include <stddef.h>
#include "util/counters.h"

/* Pushes a list of { name, labels, value }; labels as "a=x,b=y". [-0, +1, m] */
void metrics_push_counters(lua_State *L, const struct counters *c);
/* Pushes a list of { name =, labels =, sum = seconds, counts = { of each bucket
 * alone, the last without a bound } }. [-0, +1, m] */
void metrics_push_histograms(lua_State *L, const struct counters *c);
/* Pushes a list of { name =, help =, labels = (as a="x",b="y", in quotes),
 * value = }: n of the counters that the script made, without the first `from`.
 * [-0, +1, m] */
struct script;
void metrics_push_user(lua_State *L, const struct script *s, size_t from,
		       size_t n);
/* Puts what is alive in the core into the table at the top: bytes, servers,
 * clients, requests, timers, calls, flows. [-0, +0, m] */
struct core;
void metrics_set_alive(lua_State *L, const struct core *c);
/* Pushes the list of the bounds of all buckets but the last, in seconds.
 * [-0, +1, m] */
void metrics_push_bounds(lua_State *L);

#endif
