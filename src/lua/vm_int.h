/*
 * What the files of the VM share among themselves; not for bindings.
 */
#ifndef LUA_VM_INT_H
#define LUA_VM_INT_H

#include "lua/small.h"
#include "lua/vm.h"
#include "util/list.h"

enum {
	/* Instructions between two hooks. A prime, so that a loop is not met
	 * at the same instruction each time. */
	VM_STEP = 997,
	/* Bytes; smaller allocations are what a few instructions make, and
	 * those are counted. */
	VM_CHARGED_FROM = 1024,
	VM_BYTES_PER_UNIT = 16,
	/* Uncounted work that brings the next hook forward: about 1 ms. */
	VM_HURRY = 100000,
	VM_ERROR_MAX = 4096,
	/* Of unpack, byte, codepoint: a later instruction may copy all of
	 * them. No frame needs more than a few times that. */
	VM_RESULTS_MAX = 4000,
	VM_FRAME_MAX = 2 * VM_RESULTS_MAX,
	/* Of pcall and xpcall in one entry. Lua makes room on the C stack by
	 * unwinding, so recursion through pcall could otherwise go on, each
	 * error costing more than the last. */
	VM_PCALLS_MAX = 190,
	VM_ERROR_COST = 100, /* of catching one */
	VM_REFUSALS_MAX = 8,
};

#define VM_STOPPED "stopped: over its limit of %s"

/* The budget of the entry that is running. */
struct entry {
	lua_State *running;  /* the thread the hook is on; NULL: none */
	enum vm_limit limit; /* not NONE: condemned */
	bool hurry;          /* the hook comes at the next instruction */
	bool counting;       /* a hook has come */
	bool cpu_known;
	int pcalls;           /* nested now */
	int refusals;         /* of memory */
	uint64_t spent, work; /* counted by hooks; charged since the last */
	size_t bytes_at_start;
	int64_t cpu_at_start;
};

struct sched {
	struct list ready, waiting, idle; /* struct task */
	struct task *current;             /* its code runs */
	struct task *ending;              /* its end is being told */
	size_t tasks, pooled;
	size_t left; /* resumes of this drain */
	bool draining;
	char trace[VM_ERROR_MAX];
};

enum { VM_BOX_TYPES = 16 };

/* The metatable of a type of handles. */
struct vm_meta {
	const struct box_type *type;
	const void *at;
};

struct vm {
	struct vm_conf conf;
	struct mem mem; /* Lua's; spare blocks are not in it */
	struct small small;
	lua_State *L;
	struct entry e;
	int depth; /* of vm_do, vm_call and resumes; > 0: e is in force */
	bool full;
	/* The allocation that was refused last: Lua collects and asks the same
	 * again, and only a second refusal counts. */
	bool refused;
	const void *refused_p;
	size_t refused_n;
	bool loading, loaded;
	const char *where, *instead; /* why nothing can yield here */
	uint64_t serial;             /* of handles and of tostring */
	struct list boxes;           /* box.c: all handles */
	struct vm_meta meta[VM_BOX_TYPES];
	unsigned metas;
	uint32_t entries; /* since conf.collect_every of them */
	size_t refs;
	int refs_table;
	enum vm_limit err_limit;
	char err[VM_ERROR_MAX];
	struct sched sched;
};

/* limit.c */
void *limit_alloc(void *ud, void *p, size_t osize, size_t nsize);
void limit_begin(struct vm *vm, lua_State *L); /* a new entry, running in L */
void limit_end(struct vm *vm);
/* The entry goes on in another thread (or the same) / comes back. */
void limit_arm(struct vm *vm, lua_State *L);
void limit_condemn(struct vm *vm, enum vm_limit limit);
int limit_raise(lua_State *L); /* the error of a condemned entry */

/* vm.c: message handler; message and traceback to vm->err. */
int vm_on_error(lua_State *L);
/* Message and traceback of `of` into text; the message is at its top. Runs
 * __tostring unless condemned: protected. */
void vm_describe(lua_State *L, lua_State *of, int level, char *text,
		 size_t cap);
void vm_log(struct vm *vm, enum log_level level, const char *message,
	    const char *trace);

/* sched.c */
void sched_init(struct vm *vm);
void sched_fini(struct vm *vm); /* before the state is closed */

/* The environment. Each fills the table at the top. [-0, +0, m] */
void env_open(lua_State *L);    /* env.c: makes everything; no table */
void env_base(lua_State *L);    /* base.c */
void env_require(lua_State *L); /* load.c */
void env_table(lua_State *L);   /* tablib.c */
void env_os(lua_State *L);      /* oslib.c */
void env_math(lua_State *L);
void env_string(lua_State *L); /* strlib.c */
void env_utf8(lua_State *L);
/* Helpers (env.c): stock functions into the table below the top; ours around
 * them; and the stock function of such a wrapper, called. */
void env_take(lua_State *L, const char *const *names);
void env_wrap(lua_State *L, const luaL_Reg *wraps);
int env_stock(lua_State *L);
/* order.c: lua_CFunctions */
int order_pairs(lua_State *L); /* order.c: lua_CFunctions */
int order_next(lua_State *L);
/* env.c: as luaL_tolstring, without addresses. */
const char *env_tolstring(lua_State *L, int idx, size_t *len);
bool box_order(lua_State *L, int idx, uint64_t *id_r); /* box.c */
void box_fini(struct vm *vm); /* what finalizers left; the state is closed */

#endif
