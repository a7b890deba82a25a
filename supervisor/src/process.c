#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session.h"

/* Kernels before 5.9 and profiles of that time have no close_range. */
static void close_span(unsigned int first, unsigned int last)
{
	struct rlimit limit;

	if (syscall(SYS_close_range, first, last, 0) == 0 || errno == EINVAL)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		limit.rlim_cur = 65536;
	for (unsigned int fd = first; fd <= last && fd < limit.rlim_cur; fd++)
		close((int)fd);
}

void process_close_from(int first)
{
	close_span((unsigned int)first, UINT_MAX);
}

void process_keep_only(const int *keep, size_t count)
{
	int next = 3;

	for (int fd = 0; fd < 3; fd++)
		dup2(session.null_fd, fd);
	for (;;) {
		int lowest = INT_MAX;

		for (size_t i = 0; i < count; i++)
			if (keep[i] >= next && keep[i] < lowest)
				lowest = keep[i];
		if (lowest == INT_MAX)
			break;
		if (lowest > next)
			close_span((unsigned int)next, (unsigned int)lowest - 1);
		next = lowest + 1;
	}
	process_close_from(next);
}

/* By the kernel's own call: libc keeps a few real-time signals for itself and refuses them. Behind the handler there are no
 * flags and an empty mask, in the kernel's structure of every architecture. */
void process_set_signals(void (*handler)(int))
{
	const unsigned long action[8] = {(unsigned long)handler};

	for (int number = 1; number < NSIG; number++)
		if (number != SIGCHLD)
			(void)syscall(SYS_rt_sigaction, number, action, NULL, (size_t)(NSIG - 1) / 8);
}

void process_yield(void)
{
	int fd = openat(session.proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* Where a runtime has no such file there is nothing to be had, and the command runs all the same. */
	if (fd >= 0) {
		(void)!write(fd, "1000", 4);
		close(fd);
	}
	(void)setpriority(PRIO_PROCESS, 0, 19);
}

/* Whoever may lower its score finds the same floor: what the runtime left there, which only a capability that nobody here has
 * gets below. So PID 1 goes to that floor first, and with its few pages it is never a better choice than a command. */
void process_stand_back(void)
{
	int fd = openat(session.proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	int refused = -1001, taken = 1000;

	if (fd < 0)
		return;
	while (taken - refused > 1) {
		int score = refused + (taken - refused) / 2;
		char text[8];
		int length = snprintf(text, sizeof(text), "%d", score);

		if (length > 0 && pwrite(fd, text, (size_t)length, 0) == length)
			taken = score;
		else
			refused = score;
	}
	close(fd);
}

bool process_pipe(int ends[2], int ours)
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	if (ours < 0)
		return true;
	if (fcntl(ends[ours], F_SETFL, O_NONBLOCK) == 0 && fchmod(ends[1 - ours], 0666) == 0)
		return true;
	close(ends[0]);
	close(ends[1]);
	return false;
}

bool process_widen_pipe(int fd)
{
	return fcntl(fd, F_SETPIPE_SZ, PIPE_WIDE) >= PIPE_WIDE;
}
