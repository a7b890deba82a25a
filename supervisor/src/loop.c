#define _GNU_SOURCE
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "disk.h"
#include "late.h"
#include "lease.h"
#include "listener.h"
#include "session.h"
#include "spare.h"
#include "task.h"
#include "tree.h"

#define EVENT_STEP 64
/* PID 1 did not run for so long: paused, suspended, restored. Nobody could be heard meanwhile. */
#define GAP (2 * SECOND)

static int epoll_fd = -1;
static struct source signals = {.fd = -1};
static bool children;

/* --- sources --------------------------------------------------------------------------------------------- */

static bool control(struct source *source, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLONESHOT, .data.ptr = source};

	return epoll_ctl(epoll_fd, operation, source->fd, &event) == 0;
}

bool source_open(struct source *source, int fd, uint32_t events, void (*ready)(struct source *source))
{
	*source = (struct source){.fd = fd, .armed = events != 0, .ready = ready};
	if (control(source, EPOLL_CTL_ADD, events))
		return true;
	source->fd = -1;
	return false;
}

void source_arm(struct source *source, uint32_t events)
{
	source->armed = control(source, EPOLL_CTL_MOD, events);
}

void source_take_over(struct source *source, struct source *other, void (*ready)(struct source *source))
{
	*source = (struct source){.fd = other->fd, .ready = ready};
	/* The entry in the epoll set stays, and from now on it means this source. */
	(void)control(source, EPOLL_CTL_MOD, 0);
	other->fd = -1;
	other->armed = false;
}

void source_close(struct source *source)
{
	if (source->fd < 0)
		return;
	/* Explicitly: a child that was forked a moment ago may still hold the same open file. */
	(void)control(source, EPOLL_CTL_DEL, 0);
	close(source->fd);
	source->fd = -1;
	source->armed = false;
}

/* --- signals --------------------------------------------------------------------------------------------- */

static void signals_ready(struct source *source)
{
	struct signalfd_siginfo info[4];
	ssize_t got = read(source->fd, info, sizeof(info));

	for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(info[0]); i++) {
		if (info[i].ssi_signo == SIGCHLD)
			children = true;
		/* From outside the container it comes with no sender. From inside anybody may send it; what the kernel
		 * sends to the owner of a descriptor has no sender either, and another code. */
		else if (info[i].ssi_signo == SIGTERM && info[i].ssi_code == SI_USER && info[i].ssi_pid == 0)
			session_end(END_STOPPED);
	}
	source_arm(source, EPOLLIN);
}

bool loop_init(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return false;
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd >= 0 && source_open(&signals, fd, EPOLLIN, signals_ready);
}

/* --- turns ----------------------------------------------------------------------------------------------- */

static uint64_t earliest(void)
{
	uint64_t deadlines[] = {lease_deadline(), connections_deadline(), listener_deadline(), tasks_deadline(),
				trees_deadline(), late_deadline(), spare_deadline(), disk_deadline()};
	uint64_t first = NEVER;

	for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++)
		if (deadlines[i] < first)
			first = deadlines[i];
	return first;
}

/* Microseconds from now, NEVER for no end. */
static uint64_t wait_until(uint64_t deadline, uint64_t now)
{
	if (deadline == NEVER)
		return NEVER;
	return deadline <= now ? 0 : deadline - now;
}

/* epoll_wait counts in milliseconds and its finer successor is missing from many seccomp profiles, so a wait with a
 * finer end is poll's. */
static int wait_for_events(struct epoll_event *events, uint64_t wait)
{
	struct pollfd set = {.fd = epoll_fd, .events = POLLIN};
	struct timespec time = {
		.tv_sec = (time_t)(wait / SECOND), .tv_nsec = (long)(wait % SECOND * (1000000000 / SECOND)),
	};

	if (wait == NEVER)
		return epoll_wait(epoll_fd, events, EVENT_STEP, -1);
	if (wait && ppoll(&set, 1, &time, NULL) <= 0)
		return 0;
	return epoll_wait(epoll_fd, events, EVENT_STEP, 0);
}

/* Between two looks at the clock there may lie `expected` and a little work. If there lies much more, this process was not
 * running. Boot time, so that a suspended host counts. */
static void check_gap(uint64_t expected)
{
	static uint64_t looked;
	uint64_t now = clock_boottime();

	if (looked && now - looked > expected + GAP)
		connections_excuse(clock_monotonic());
	looked = now;
}

static void wait_and_handle(bool busy)
{
	bool spare = !busy && spare_wanted();
	struct epoll_event events[EVENT_STEP];
	uint64_t wait = busy || spare ? 0 : wait_until(earliest(), clock_monotonic());
	int got = wait_for_events(events, wait);

	/* A wait without an end is as long as it is: nobody has to be heard then. */
	check_gap(wait < NEVER - GAP ? wait : NEVER - GAP);
	/* With nothing else to do, be ready for the next command. */
	if (got == 0 && spare)
		spare_make();
	for (int i = 0; i < got; i++) {
		struct source *source = events[i].data.ptr;

		/* A handler before this one may have closed it. */
		if (source->fd < 0)
			continue;
		source->armed = false;
		source->ready(source);
	}
}

_Noreturn void loop_run(void)
{
	bool busy = false;

	while (!session_ending()) {
		uint64_t now;

		wait_and_handle(busy);
		if (children)
			children = tasks_reap();
		busy = connections_turn() || children;
		now = clock_monotonic();
		disk_turn(now);
		if (earliest() <= now) {
			check_gap(0);
			tasks_due(now);
			trees_due(now);
			late_due(now);
			listener_due(now);
			connections_due(now);
			lease_due(now);
			disk_due(now);
			busy |= connections_turn();
		}
	}
	session_finish();
}
