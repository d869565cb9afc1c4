/*
 * When limits are looked at. A count hook makes Lua look at every instruction,
 * which costs a request as much as its own policy does; and hardly any entry
 * ever comes near a limit. So a host that can interrupt its own thread fires a
 * ticker every few milliseconds of processor time, and an entry counts from the
 * first tick on. Without one (the simulator, where a run depends on its inputs
 * only) the hook is always there.
 */
#ifndef LUA_TICKER_H
#define LUA_TICKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct vm;

/* One per thread that runs Lua. All zero: nobody fires it. */
struct ticker {
	_Atomic(struct vm *) inside; /* the state that runs in `owner` */
	/* Who fires it and whom it interrupts. What another thread runs (a
	 * load, a change of the generation) has its hook from the start. */
	pthread_t owner; /* set before live */
	atomic_bool live;
};

/* From the calling thread on it is fired. */
void ticker_begin(struct ticker *t);
/* No more; in the same thread. */
void ticker_end(struct ticker *t);
/* Called by a signal handler in the thread of the ticker: async-signal-safe.
 * Does nothing when no Lua runs. */
void ticker_fire(struct ticker *t);

#endif
