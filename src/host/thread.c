#include "host/thread.h"

#include <errno.h>
#include <time.h>

void latch_init(struct latch *l)
{
	sem_init(&l->sem, 0, 0);
	atomic_init(&l->posted, 0);
}

void latch_fini(struct latch *l)
{
	sem_destroy(&l->sem);
}

void latch_post(struct latch *l)
{
	atomic_fetch_add(&l->posted, 1);
	sem_post(&l->sem);
}

void latch_wait(struct latch *l)
{
	while (sem_wait(&l->sem) < 0)
		; /* a signal */
	atomic_load(&l->posted);
}

bool latch_wait_for(struct latch *l, int seconds)
{
	struct timespec until;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	do
		err = sem_clockwait(&l->sem, CLOCK_MONOTONIC, &until);
	while (err < 0 && errno == EINTR);
	atomic_load(&l->posted);
	return err == 0;
}

static void *run(void *arg)
{
	struct thread *t = arg;

	t->run(t->arg);
	latch_post(&t->ended);
	return NULL;
}

int thread_start(struct thread *t, void (*fn)(void *arg), void *arg)
{
	int err;

	t->run = fn;
	t->arg = arg;
	latch_init(&t->ended);
	err = pthread_create(&t->id, NULL, run, t);
	if (err)
		latch_fini(&t->ended);
	return err;
}

bool thread_join(struct thread *t, int seconds)
{
	if (!latch_wait_for(&t->ended, seconds))
		return false;
	pthread_join(t->id, NULL);
	latch_fini(&t->ended);
	return true;
}
