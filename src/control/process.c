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

/* "max", or bytes; of a group of control groups. */
static size_t group_limit(const char *path)
{
	char name[512];
	unsigned long long n = 0;
	FILE *f = NULL;

	if ((size_t)snprintf(name, sizeof(name), "/sys/fs/cgroup%s/memory.max",
			     path) < sizeof(name))
		f = fopen(name, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%llu", &n) != 1)
		n = 0;
	fclose(f);
	return (size_t)n;
}

/* The group of this process and all that it is in. */
static size_t smallest_limit(size_t memory)
{
	char line[512] = "", *path, *end;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return memory;
	/* version 2 has one line: "0::/a/b" */
	path = fgets(line, sizeof(line), f) && strncmp(line, "0::/", 4) == 0
		   ? line + 3
		   : NULL;
	fclose(f);
	end = path ? path + strcspn(path, "\n") : NULL;
	while (end) {
		size_t limit;

		*end = '\0';
		limit = group_limit(path);
		if (limit && limit < memory)
			memory = limit;
		end = strrchr(path, '/');
	}
	return memory;
}

size_t process_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0
		   ? smallest_limit((size_t)pages * (size_t)size)
		   : 0;
}

double process_began(void)
{
	return seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) +
	       started_after_boot();
}
