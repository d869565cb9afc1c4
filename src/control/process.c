#include "control/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Since boot, in seconds: field 22 of /proc/self/stat, whose second may have
 * spaces and brackets in it. */
static double started_after_boot(void)
{
	char line[1024] = "", *p;
	unsigned long long ticks = 0;
	FILE *f = fopen("/proc/self/stat", "re");

	if (!f)
		return 0;
	p = fgets(line, sizeof(line), f);
	fclose(f);
	p = p ? strrchr(line, ')') : NULL;
	for (int field = 2; p && field < 22; field++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	if (!p || sscanf(p, "%llu", &ticks) != 1)
		return 0;
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static double seconds_of(clockid_t id)
{
	struct timespec ts = {0, 0};

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int64_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int64_t n = 0;

	if (!dir)
		return 0;
	for (const struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n - 1; /* the folder itself */
}

static void read_memory(struct process_facts *p)
{
	long long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return;
	if (fscanf(f, "%lld %lld", &total, &resident) == 2) {
		p->virtual = total * sysconf(_SC_PAGESIZE);
		p->resident = resident * sysconf(_SC_PAGESIZE);
	}
	fclose(f);
}

void process_facts(struct process_facts *out_r)
{
	struct rlimit limit = {0, 0};

	*out_r = (struct process_facts){.fds = count_fds()};
	read_memory(out_r);
	out_r->cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		out_r->max_fds = limit.rlim_cur == RLIM_INFINITY
				     ? INT64_MAX
				     : (int64_t)limit.rlim_cur;
}

double process_began(void)
{
	return seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) +
	       started_after_boot();
}
