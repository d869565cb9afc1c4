#include "host/cputick.h"

#include <signal.h>
#include <unistd.h>

enum { EVERY_MS = 5 };

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if (info->si_code == SI_TIMER)
		ticker_fire(info->si_value.sival_ptr);
}

static bool handle_signal(void)
{
	struct sigaction act = {.sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO | SA_RESTART};

	sigemptyset(&act.sa_mask);
	return sigaction(SIGVTALRM, &act, NULL) == 0;
}

static void let_through(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGVTALRM);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

bool cputick_start(struct cputick *c, struct ticker *ticker)
{
	struct timespec every = {0, EVERY_MS * 1000000L};
	struct itimerspec when = {every, every};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
				 .sigev_signo = SIGVTALRM,
				 .sigev_value.sival_ptr = ticker};

	event._sigev_un._tid = gettid();
	c->ticker = ticker;
	if (!handle_signal() ||
	    timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &c->timer) != 0)
		return false;
	if (timer_settime(c->timer, 0, &when, NULL) != 0) {
		timer_delete(c->timer);
		return false;
	}
	let_through();
	c->is_on = true;
	ticker_begin(ticker);
	return true;
}

void cputick_stop(struct cputick *c)
{
	if (!c->is_on)
		return;
	c->is_on = false;
	ticker_end(c->ticker);
	timer_delete(c->timer);
}
