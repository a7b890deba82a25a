/* Asks for every advantage over others that a scheduler has to give, then computes for ever in many processes. Prints
 * which advantages there were, and "up". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINNERS 30

/* As the kernel has it; libc may not. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void tell(const char *what, int worked)
{
	if (worked)
		printf("%s\n", what);
}

static int set_attributes(uint32_t policy, int nice, uint32_t priority)
{
	struct attributes attributes = {
		.size = sizeof(attributes), .policy = policy, .nice = nice, .priority = priority,
		.runtime = 1000000, .deadline = 1000000, .period = 1000000,
	};

	return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int done = fd >= 0 && write(fd, text, strlen(text)) > 0;

	close(fd);
	return done;
}

static void ask_for_weight(void)
{
	struct sched_param highest = {.sched_priority = 1};
	struct rlimit no_limit = {RLIM_INFINITY, RLIM_INFINITY};

	tell("a priority", setpriority(PRIO_PROCESS, 0, -20) == 0 || setpriority(PRIO_PROCESS, 0, 18) == 0);
	tell("its group's priority", setpriority(PRIO_PGRP, 0, 18) == 0);
	tell("its user's priority", setpriority(PRIO_USER, 0, 18) == 0);
	tell("real time, in turn", sched_setscheduler(0, SCHED_FIFO, &highest) == 0);
	tell("real time, by slices", sched_setscheduler(0, SCHED_RR, &highest) == 0);
	tell("a deadline", set_attributes(6, 0, 0));
	tell("a priority by attributes", set_attributes(0, 0, 0));
	tell("real time by attributes", set_attributes(1, 19, 99));
	tell("a higher limit of priorities", setrlimit(RLIMIT_NICE, &no_limit) == 0);
	tell("a higher limit of real time", setrlimit(RLIMIT_RTPRIO, &no_limit) == 0);
	tell("real time for its files", syscall(SYS_ioprio_set, 1, 0, 1 << 13) == 0);
}

/* What is anybody's right. */
static void take_what_there_is(void)
{
	struct sched_param none = {0};
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	(void)sched_setscheduler(0, SCHED_BATCH, &none);
	(void)sched_setaffinity(0, sizeof(all), &all);
	(void)set_attributes(0, 19, 0);
	(void)write_text("/proc/self/autogroup", "0");
	(void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	(void)setsid();
}

int main(void)
{
	ask_for_weight();
	fflush(stdout);
	for (int i = 0; i < SPINNERS; i++) {
		if (fork() == 0) {
			take_what_there_is();
			for (;;)
				sched_yield();
		}
	}
	(void)!write(1, "up\n", 3);
	for (;;)
		getpid();
}
