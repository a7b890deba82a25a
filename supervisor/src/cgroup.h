/* What the container's cgroup says about itself, in either version. */
#ifndef FUMEHOOD_CGROUP_H
#define FUMEHOOD_CGROUP_H

#include <stdint.h>

#define CGROUP_NO_LIMIT UINT64_MAX

struct cgroup_limits {
	uint32_t version;          /* 1 or 2; 0: none can be seen */
	uint64_t memory, swap, pids, cpu_quota_us, cpu_period_us;
};

/* Open what is read again and again. */
void cgroup_init(void);
/* How many processes the memory killer has killed here; 0 where nobody counts. */
uint64_t cgroup_oom_kills(void);
void cgroup_read(struct cgroup_limits *limits);

/* Nanoseconds that the container's processes have run, PID 1 among them; 0 where nobody counts. */
uint64_t cgroup_ran_ns(void);

/* What the kernel holds for the container that tells of writes to disks, in bytes; 0 where nobody counts. */
struct cgroup_writes {
	uint64_t dirty;            /* pages that are not yet on their disk */
	uint64_t kernel;           /* memory of the kernel's own, in which every new file has a part */
};
void cgroup_written(struct cgroup_writes *writes);

#endif
