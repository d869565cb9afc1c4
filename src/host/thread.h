/*
 * Threads that are waited for only so long, by a clock that nobody sets, and
 * what they tell each other once.
 */
#ifndef HOST_THREAD_H
#define HOST_THREAD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Posted by one thread, waited for by another, each as often as the other. */
struct latch {
	sem_t sem;
	/* Orders memory where the race detector does not know the wait. */
	atomic_uint posted;
};

void latch_init(struct latch *l);
void latch_fini(struct latch *l);
void latch_post(struct latch *l);
void latch_wait(struct latch *l);
/* False: nobody has posted it within so many seconds. */
bool latch_wait_for(struct latch *l, int seconds);

struct thread {
	pthread_t id;
	struct latch ended;
	void (*run)(void *arg);
	void *arg;
};

/* 0, or an errno. `t` stays where it is until the thread was joined. */
int thread_start(struct thread *t, void (*run)(void *arg), void *arg);
/* Waits for its end. False: it goes on after so many seconds, and may use `t`
 * still; it can be joined again. */
bool thread_join(struct thread *t, int seconds);

#endif
