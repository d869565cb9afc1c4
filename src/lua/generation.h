/*
 * Generations: the scripts that one load makes, one per worker, and how they
 * take over from those before them, in all workers or in none. The scripts
 * before keep the requests they began until those end.
 */
#ifndef LUA_GENERATION_H
#define LUA_GENERATION_H

#include "lua/script.h"

/* Each costs its Lua state in every worker. */
enum { GENERATION_RETIRED_MAX = 8 };

struct generation {
	struct script *script[NODE_MAX_WORKERS];
	unsigned n;
};

/* Fills in how worker `i` loads: everything but the number of the worker. */
typedef void generation_conf(void *ctx, unsigned i, struct script_conf *out_r);
/* Loads a script for each of so many workers that has none in `g` yet; 0: as
 * many as it declares. What they declare must not depend on the worker. 0, or
 * ERR_* with the reason in why[n] and nothing loaded. */
int generation_load(struct generation *g, unsigned workers,
		    generation_conf *conf, void *ctx, char *why, size_t n);
/* Frees what is left of it. */
void generation_free(struct generation *g);

/* The scripts of one worker, owned. */
struct succession {
	struct script *present; /* NULL: a node without script */
	struct script *retired[GENERATION_RETIRED_MAX];
	unsigned n;
	size_t errors; /* of scripts that are gone */
};

/* Puts the generation, loaded for as many workers, in place of the present one:
 * settings, servers and scripts. Called while no worker runs. 0, or ERR_* with
 * the reason in why[n], and then nothing has changed. The generation is empty
 * afterwards or still the caller's. Listeners, the number of workers, key and
 * state directory stay what they are; a script that declares others is told so
 * in the log. */
int generation_switch(struct generation *g, struct node *node,
		      struct succession *const *worker, struct now now,
		      char *why, size_t n);
/* Frees the scripts whose last request has ended. Between two entries of the
 * worker's core; costs nothing when there are none. */
void succession_sweep(struct succession *s);
/* All of them leave the core, the present one last. */
void succession_unbind(struct succession *s, struct now now);
void succession_free(struct succession *s);
/* The sums over all of them. */
void succession_stats(const struct succession *s, struct script_stats *out_r);

#endif
