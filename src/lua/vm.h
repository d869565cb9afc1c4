/*
 * One Lua state with its limits: what a worker has per generation of the
 * script. It knows nothing of SIP. It owns the lua_State, the memory and the
 * budgets, the environment scripts see, and the only protected calls; the
 * coroutines are in sched.h, the handles to C objects in box.h.
 *
 * A limit is not an error. An entry into Lua (one vm_do, or one resume of a
 * task) has a budget of work, of CPU time and of memory. Once it is spent the
 * entry is *condemned*: nothing the script does can catch that. A task yields
 * from the hook and is never resumed; where it may not yield an error is
 * raised which our pcall and xpcall pass on.
 *
 * The rule for bindings: Lua may raise (longjmp) out of nearly every API call.
 * So touch a lua_State only (1) in a lua_CFunction called by Lua, (2) in one
 * called through vm_do, (3) where this file or sched.h says "protected".
 * Check arguments and allocate on the Lua side first, change the C side last.
 */
#ifndef LUA_VM_H
#define LUA_VM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lua.h>
#include <lauxlib.h>
#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

struct vm;
struct ticker; /* ticker.h */

enum vm_limit {
	VM_LIMIT_NONE,
	VM_LIMIT_INSTRUCTIONS,
	VM_LIMIT_CPU,
	VM_LIMIT_MEMORY,
};

const char *vm_limit_name(enum vm_limit limit); /* "instructions", ... */

/* What the state asks of its surroundings. `ctx` is handed back. Only the
 * loader may take long; none of them may call into Lua. */
struct vm_host {
	void *ctx;
	/* The text of a module ("tandem.pool") or of the script. Called only
	 * while loading. The bytes are borrowed until the next call. Not
	 * found: p == NULL and *why_r is a text, borrowed likewise.
	 * *file_r (preset to NULL) may be set to the name errors should show.
	 */
	struct str (*loader)(void *ctx, const char *name, const char **file_r,
			     const char **why_r);
	/* What scripts print, and what goes wrong in here. `trace` may be
	 * empty. Both are untrusted text of any length without a final LF. */
	void (*log)(void *ctx, enum log_level level, struct str message,
		    struct str trace);
	double (*mono)(void *ctx); /* seconds, any epoch: os.clock */
	double (*wall)(void *ctx); /* seconds since 1970: os.time, os.date */
	uint64_t (*rand)(void *ctx);
	/* CPU time of this thread in microseconds. NULL in simulations: then
	 * there is no CPU budget and a run depends on its inputs only. */
	int64_t (*cpu_us)(void *ctx);
	/* Borrowed; NULL: limits are looked at from the start of an entry. */
	struct ticker *ticker;
	/* Nobody waits for this load any more. NULL: somebody always does. */
	bool (*give_up)(void *ctx);
	/* Is this a file of the proxy's own, which no error is blamed on? NULL:
	 * none is. */
	bool (*is_own)(void *ctx, const char *file);
};

/* 0 means no limit, except where a default is given. */
struct vm_conf {
	struct vm_host host;
	struct mem *mem;       /* for struct vm and tasks; not Lua's memory */
	size_t memory;         /* bytes, the whole state */
	size_t memory_entry;   /* bytes, net growth in one entry */
	uint64_t instructions; /* per entry. One VM instruction is 1; library
				* functions charge by the work they do, large
				* allocations 1 per 16 bytes. Checked about
				* every 1000. */
	uint64_t load_instructions; /* the same while loading */
	int64_t cpu_us;             /* per entry; not while loading */
	/* For tests: all garbage is collected before every n-th entry, and the
	 * collector never rests in between. 0: as Lua thinks best. */
	uint32_t collect_every;
	uint32_t match_steps; /* per find/match/gmatch step/gsub; 0: 1e6 */
	uint32_t tasks_max;   /* alive at once; 0: 100000 */
	uint32_t pool_max;    /* idle coroutines kept; 0: 256 */
};

/* NULL when memory ran out. The environment is ready: add modules of our own
 * with vm_do and vm_set_module, then call vm_load. */
struct vm *vm_new(const struct vm_conf *conf);
/* Cancels the wait of every task (no Lua runs, no on_end is called), closes
 * the state, and so sets the slots of all handles to NULL. Not from inside
 * Lua. *vm becomes NULL; NULL inside is fine. */
void vm_free(struct vm **vm);

/* After loading, when the script itself has said how much it may have: as the
 * members of the same names in vm_conf. */
void vm_set_limits(struct vm *vm, size_t memory, size_t memory_entry,
		   uint64_t instructions, int64_t cpu_us);

/* Runs the script: the loader is asked for `name`. 0, or ERR_CONFIG (see
 * vm_error), or ERR_NOMEM. A state whose loading failed is only good for
 * vm_free. Afterwards `require` finds only what is already loaded. */
int vm_load(struct vm *vm, const char *name);

/* Calls fn(L) with `arg` as a light userdata at index 1: the one way from C
 * into Lua. May be called from inside a lua_CFunction too: then it shares the
 * budget of the entry that is running. What fn returns is dropped. Nothing in
 * it can yield; an attempt says that it is not possible in `where` (for
 * instance "a policy function") and what to do instead (`instead`, may be
 * NULL). 0, ERR_STATE for a Lua error, ERR_LIMIT when condemned; for both
 * vm_error has the text. Not logged. */
int vm_do(struct vm *vm, lua_CFunction fn, void *arg, const char *where,
	  const char *instead);
/* The same for a function and its arguments on the stack of L, inside a
 * lua_CFunction that wants to see the failure. Results as lua_pcall; on
 * failure function and arguments are gone and nothing is pushed. After
 * ERR_LIMIT return to Lua soon: the caller is condemned too. */
int vm_call(lua_State *L, int nargs, int nresults, const char *where,
	    const char *instead);
/* The same once more, as lua_call does it: errors go on to the caller, as they
 * are. `where` and `instead` are literals. */
void vm_steady(lua_State *L, int nargs, int nresults, const char *where,
	       const char *instead);
/* Message and traceback of the last failure of vm_load, vm_do or vm_call, cut
 * at 4 kB; valid until the next. Never NULL. */
const char *vm_error(const struct vm *vm);
enum vm_limit vm_error_limit(const struct vm *vm); /* NONE: not a limit */

struct vm *vm_of(lua_State *L); /* any thread of the state */
void *vm_ctx(lua_State *L);     /* host.ctx of its conf */
/* The main thread, to hand to functions that say so. Not protected. */
lua_State *vm_main(const struct vm *vm);
bool vm_inside(const struct vm *vm);  /* is Lua running? */
bool vm_loading(const struct vm *vm); /* is the script still declaring? */

/* The state hit its whole memory limit once, and should be reloaded. */
bool vm_full(const struct vm *vm);
size_t vm_bytes(const struct vm *vm); /* held by Lua now */
/* Lua's memory: for failure injection and leak checks in specs. */
struct mem *vm_mem(struct vm *vm);
/* Instructions (to about 1000) and charges of the running or last entry. */
uint64_t vm_spent(const struct vm *vm);
/* A step of the garbage collection, as an allocation makes: for specs, which
 * look at what one does. */
void vm_idle(struct vm *vm);
/* All of it at once, so that what nobody holds any more is gone. */
void vm_collect(struct vm *vm);

/* --- inside a lua_CFunction ------------------------------------------- */

/* Charges work that the VM does not see (elements, steps, 16 bytes each).
 * Raises when the budget is spent. */
void vm_charge(lua_State *L, uint64_t work);
/* Pushes "file:line" of the innermost line of the script from `level` on, and
 * returns true; false when there is none. */
bool vm_where(lua_State *L, int level);
/* The same as text for C, which costs no Lua memory; nothing when there is
 * none. */
void vm_write_where(lua_State *L, int level, struct buf *out);
/* luaL_error for what the script did wrong: the message names its line, not
 * that of a module of ours in between. Does not return. */
int vm_raise(lua_State *L, const char *format, ...);
/* True when the running entry is condemned: stop, and return to Lua. */
bool vm_condemned(lua_State *L);
/* Makes the value at the top the result of require(name); pops it. */
void vm_set_module(lua_State *L, const char *name);
/* Pushes what require(name) gives; raises as require does. */
void vm_require(lua_State *L, const char *name);
/* Adds a variable to the environment of all scripts; pops the value. */
void vm_set_global(lua_State *L, const char *name);
/* References to Lua values kept in C: as luaL_ref, in a table of our own that
 * specs can count. vm_unref may be called anywhere, also with LUA_NOREF. */
int vm_ref(lua_State *L); /* pops the value */
void vm_push_ref(lua_State *L, int ref);
void vm_unref(struct vm *vm, int ref);
size_t vm_refs(const struct vm *vm);

#endif
