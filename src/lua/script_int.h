/*
 * What the files of a script share: script*.c (its life, and the policy it is
 * for the core) and bind_*.c (the table tandem.core and its objects). Not for
 * others.
 *
 * Objects of the script come in two kinds. What lives as long as a request is
 * in the core's memory and is freed with it; handles to it are emptied. What a
 * script makes (timers, tasks, servers, ...) is a userdata of its own, a
 * *block*: anchored by a reference while C needs it, and kept by its handle
 * (user value 1) as long as the script does.
 */
#ifndef LUA_SCRIPT_INT_H
#define LUA_SCRIPT_INT_H

#include "lua/box.h"
#include "lua/error_rate.h"
#include "lua/sched.h"
#include "lua/script.h"
#include "lua/vm.h"
#include "util/err.h"

/* Bytes that are charged as one VM instruction (vm_charge); the longest path of
 * a data file. */
enum { SCRIPT_CHARGED = 16, SCRIPT_PATH = 4096 };

enum script_phase {
	SCRIPT_LOADING, /* until the plan is read */
	SCRIPT_LOADED,  /* not bound yet; no Lua runs */
	SCRIPT_BOUND,
	SCRIPT_RETIRED,  /* another one took over; only its requests go on */
	SCRIPT_STOPPING, /* the last Lua runs, nothing new begins */
	SCRIPT_UNBOUND,
};

/* A function given to core.handler. */
struct handler {
	struct list link;
	enum request_kind kind;
	struct str method; /* STR_NONE: any */
	int fn;
};

/* A module of tandem itself: errors are blamed on its callers. */
struct own_file {
	struct list link;
	struct str name; /* as errors show it */
};

/* A file whose content the script declares: sip.data, sip.netset. */
struct data_file {
	struct list link;
	const char *name; /* as the loader shows it */
};

/* The functions of the Lua half that C calls. */
enum hook {
	HOOK_FINISH,
	HOOK_START,
	HOOK_STOP,
	HOOK_POST,
	HOOK_ASK,
	HOOK_ATTEMPT,
	HOOK_SERVER,
	HOOK_N
};

struct script {
	struct script_conf conf;
	struct mem mem;
	struct arena_cache *arenas;
	struct arena *arena; /* what is kept until the end: plan, names */
	struct vm *vm;
	enum script_phase phase;
	struct core *core; /* while bound */
	struct core_user user;
	bool is_user; /* of the core, or was before it retired */
	unsigned generation;
	const struct script *before; /* whom it takes over from, until then */
	struct node *node;           /* from bind to free: holds the members */
	struct now now;
	struct rand rand;

	struct plan plan;
	struct str *domains;
	size_t n_domains;
	struct addr_net *trust;
	size_t n_trust;
	size_t lua_memory; /* 0: the default */
	int64_t lua_burst; /* microseconds; 0: the default */

	struct list handlers;
	int hook[HOOK_N];

	struct list calls;    /* struct call: requests */
	struct list timers;   /* struct ltimer */
	struct list tasks;    /* struct ltask */
	struct list facts;    /* struct facts */
	struct list rooms;    /* struct room, of bind_join.c */
	struct list owns;     /* struct ownreq */
	struct list counters; /* struct ucounter */
	size_t n_timers;      /* running */
	size_t errors;
	struct error_rate error_rate;
	bool quiet;        /* starts no timers any more */
	bool told_full;    /* that the memory is */
	unsigned rounds;   /* of drain in this entry */
	struct timer kick; /* brings an entry when something is ready */

	/* loading */
	bool main_file; /* the next the loader is asked for is the script */
	char *bytes;
	char shown[256];
	struct list own_files; /* names of the modules of tandem itself */
	struct list data_files;
};

struct script *script_of(lua_State *L);
struct core *script_core(lua_State *L); /* raises while loading */
bool script_is_bound(const struct script *s);
/* The script that is the core's user now; NULL when it has none. */
const struct script *script_heir(const struct script *s);
/* Makes sure that drain is called soon. */
void script_kick(struct script *s);
/* Seconds to microseconds; raises for what is no duration. */
int64_t script_us(lua_State *L, int idx, const char *what);
struct str script_str(lua_State *L, int idx); /* luaL_checklstring */
struct str script_tostr(lua_State *L, int idx);
/* Pushes STR_NONE as nil. */
void script_push(lua_State *L, struct str s);
/* A table of the parameters of a URI or a field; "" for one without '='. */
void script_push_params(lua_State *L, struct str params);
/* Raises with the text of an ERR_*. */
int script_raise(lua_State *L, const char *what, int err);

/* script_log.c */
void script_log(struct script *s, const struct log_event *e);
/* Counts and logs what went wrong in a task or callback. */
struct call;
void script_error(struct script *s, const char *what, const char *trace,
		  enum vm_limit limit, const struct call *call);
/* Tells of errors that were left out of the log, when it is time for that. */
void script_tell_errors(struct script *s);
/* The same as script_error for what vm_do has just returned. */
void script_failed(struct script *s, const char *what);

/* script.c: what vm_do has just failed with, in one line. */
void script_copy_error(const struct script *s, char *err, size_t errlen);

/* script_plan.c: the table at idx; raises. */
void plan_read(lua_State *L, int idx, struct script *s);

/* script_policy.c */
struct core_user policy_user(struct script *s);
/* All requests are answered 500 and forget the script. */
void policy_stop(struct script *s);

/* ---- requests ---- */

/* A request as the script sees it: request_user(). */
struct call {
	struct list link; /* script.calls */
	struct script *s;
	struct request *r;
	struct task *task; /* of the handler; NULL when it has ended */
	struct box *box, *uri_box, *params_box;
	struct list responses;  /* struct lres */
	struct list waits;      /* tasks in req:_try */
	int vars, state, watch; /* references */
	const char *verb;       /* the one that was used, or NULL */
	bool try_open;
	bool ended;    /* the handler has; no more verbs */
	bool owes;     /* a 500 as soon as the try is over */
	bool watching; /* on_response is running */
};

/* A handle to a response: of a call, or in a block of its own. */
struct lres {
	struct list link;
	struct call *call; /* NULL: an answer to a request of our own */
	struct response *res;
	const struct member *member;
	struct box *box;
	struct own *own; /* the dialog of our own INVITE, or NULL */
};

extern const struct box_type request_type, response_type;

struct call *call_check(lua_State *L, int idx);
/* The same for a verb: raises where none is possible. */
struct call *call_check_verb(lua_State *L, int idx, const char *verb);
/* Remembers that the verb was used. */
void call_answered(struct call *c, const char *verb);
void response_push(lua_State *L, struct call *c, struct response *res);
/* A copy that lives as long as its handle. */
struct lres *response_push_own(lua_State *L, const struct response *res,
			       const struct member *member);
struct lres *response_check(lua_State *L, int idx);
struct lres *response_test(lua_State *L, int idx);
struct try_wait;
/* bind_try.c: the outcome is there; the request is gone. */
void try_on_outcome(struct call *c, const struct outcome *o);
void try_on_free(struct call *c);
int try_call(lua_State *L); /* req:_try */
/* bind_why.c */
/* The handler gives up with that word, as relay has said it. */
void note_returned(struct call *c, const char *word);
/* The verb that is about to end the request, and the line that calls it. */
void note_verb(lua_State *L, struct call *c, const char *verb);
/* { cause, address, provisional } */
void push_detail(lua_State *L, enum cause cause, const struct addr *a,
		 bool provisional);
void push_addr(lua_State *L, const struct addr *a);
/* "10.0.0.1:5060;transport=udp" */
void push_place(lua_State *L, const struct addr *a, unsigned transport);

/* bind_header.c: header methods over the edits of a message */
int header_get(lua_State *L, struct edits *e);
int header_all(lua_State *L, struct edits *e);
int header_set(lua_State *L, struct edits *e);
int header_add(lua_State *L, struct edits *e);
int header_del(lua_State *L, struct edits *e);
/* { {name, value}... } at idx as lines, in the scratch arena. `reserved`: the
 * names we write ourselves raise. */
struct str header_lines(lua_State *L, int idx, struct script *s,
			bool *has_type_r);

/* bind_ruri.c: pushes req.ruri; sets all of it from the string at idx */
void ruri_push(lua_State *L, struct call *c);
void ruri_set(lua_State *L, struct call *c, int idx);
struct str ruri_text(const struct call *c);
void ruri_empty(struct call *c);

/* bind_uri.c */
struct field_uri;
void push_uri(lua_State *L, const struct field_uri *u); /* fills the top */

/* ---- what scripts make ---- */

/* A server's facts, core.member. */
struct facts {
	struct list link;
	struct script *s;
	struct member *m; /* NULL until bound */
	struct box *box;
	int anchor; /* of its handle, which keeps the block */
	char name[MEMBER_NAME];
	struct server_places places; /* that the script says */
	bool fixed_transport;
	uint32_t max_duration;
	char resource[LOAD_RESOURCES][LOAD_NAME];
	unsigned n_resources;
	/* options of the pool */
	bool record_route, shared_dialogs;
	bool judged;  /* some answers count as failures */
	uint8_t path; /* enum member_path */
	/* How connections to it are opened; NULL: not told, or no TLS. */
	const struct tls_conf *tls; /* in script.arena */
	uint8_t tls_client;         /* its number, once script_tls was called */
	char tls_name[DNS_NAME];
};

extern const struct box_type facts_type;
int facts_bind(struct script *s); /* 0 or ERR_NOMEM */
void facts_release(struct script *s);
/* The options of core.member at idx; raises. */
void facts_read(lua_State *L, int idx, struct facts *f);
/* Makes them the member's, in worker 0 while nobody else reads it. */
void facts_fill(struct member *m, struct facts *f);
/* bind_tls.c: the files that the table at idx names; raises. False: it is what
 * a client is without being told anything. */
bool tls_conf_read(lua_State *L, int idx, bool is_server,
		   struct tls_conf *out_r);
/* bind_tls.c: the path of the program that is named at idx; raises. */
void program_find(lua_State *L, int idx, char out[SCRIPT_PATH]);
/* NULL for none, and for who is no server of the script. */
struct facts *facts_find(struct script *s, const struct member *m);
/* The facts of a server, or nil. */
void facts_push(lua_State *L, const struct member *m);
/* What the Lua half makes of it: a Server, or nil. */
void server_push(lua_State *L, const struct member *m);
struct member *facts_member(lua_State *L, int idx); /* raises */
/* bind_join.c: servers that are found while it runs */
int rooms_bind(struct script *s); /* 0 or ERR_NOMEM */
typedef int facts_tls_fn(struct facts *f, struct tls_clients *clients,
			 uint32_t *used);
int rooms_tls(struct script *s, facts_tls_fn *add, struct tls_clients *clients,
	      uint32_t *used);
void facts_leave(struct facts *f);

/* A task that is no handler: core.spawn, timers, messages. */
struct ltimer;
struct ltask {
	struct list link;
	struct script *s;
	struct task *task; /* NULL: ended */
	struct box *box;
	struct list waiters;
	struct ltimer *timer; /* whose run this is */
	int anchor;
	bool ok;
	bool in_request; /* was started by a handler */
};

/* Starts the function below nargs arguments at the top; pops them and leaves
 * the block. */
struct ltask *ltask_start(lua_State *L, int nargs, const struct task_ops *ops);
void ltask_on_end(lua_State *L, struct task *t, void *owner,
		  const struct task_end *end);
void ltask_cancel(struct ltask *t);
bool task_is_handler(const struct task *t);
/* bind_timer.c */
void timers_bind(struct script *s);
void timers_stop(struct script *s);
void ltimer_run_ended(struct ltimer *lt);

/* bind_own.c */
void owns_stop(struct script *s);
void owns_sweep(struct script *s);
void own_release(struct script *s, struct own *o);

/* bind_counter.c: values go over from one generation to the next */
void counters_bind(struct script *s);
void counters_keep(struct script *s);
/* Takes over the values of the script before. */
void counters_inherit(struct script *s, const struct script *before);

/* bind_metrics.c */
/* facts:count(name[, n]), facts:stats() -> { name = n } */
int facts_count(lua_State *L);
int facts_stats(lua_State *L);

/* Each adds its functions to the table at the top. [-0, +0, m] */
void bind_core(lua_State *L);
void bind_request(lua_State *L);
void bind_response(lua_State *L);
void bind_member(lua_State *L);
void bind_join(lua_State *L);
void bind_tls(lua_State *L);
void bind_timer(lua_State *L);
void bind_task(lua_State *L);
void bind_own(lua_State *L);
void bind_shared(lua_State *L);
void bind_json(lua_State *L);
void bind_uri(lua_State *L);
void bind_ruri(lua_State *L);
void bind_counter(lua_State *L);
void bind_metrics(lua_State *L);
void bind_sticky(lua_State *L);
void bind_locate(lua_State *L);
void bind_why(lua_State *L);

/* Registers the type, and puts the table of its methods into the table at the
 * top as NAME: Lua adds some. */
void extended_register(lua_State *L, const struct box_type *type,
		       const char *name, const luaL_Reg *methods);
/* A handle for a block at the top of the stack, which it replaces. */
void block_push_handle(lua_State *L, void *block, struct box **slot,
		       const struct box_type *type);

#endif
