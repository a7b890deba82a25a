#define _GNU_SOURCE
#include "spare.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "session.h"
#include "task.h"

/* While commands run, a fork of ours would take time from them: wait until none was launched for so long. */
#define QUIET (10 * MILLISECOND)
/* After a failure: the process limit is reached, or memory is short and the killer takes what waits first. */
#define RETRY (SECOND)

static struct task *spare;
static int orders = -1;
static uint64_t launched, failed_until;

static void drop(void)
{
	if (orders >= 0)
		close(orders);
	orders = -1;
	spare = NULL;
}

/* It says nothing until it has an order: whatever comes is its end. */
static void spare_over(struct task *task)
{
	source_close(&task->report);
	if (task == spare)
		drop();
	failed_until = clock_monotonic() + RETRY;
	if (task->pid)
		kill(task->pid, SIGKILL);
	else
		task_free(task);
}

static void spare_reaped(struct task *task, int status)
{
	(void)status;
	spare_over(task);
}

static void spare_due(struct task *task, uint64_t now)
{
	(void)now;
	task->deadline = NEVER;
}

static void spare_nothing(struct task *task)
{
	(void)task;
}

static const struct task_kind spare_kind = {
	.reported = spare_over, .reaped = spare_reaped, .due = spare_due,
	.cancel = spare_nothing, .flowed = spare_nothing, .input_ended = spare_nothing,
};

static uint64_t wanted_at(void)
{
	if (spare || !session.ready)
		return NEVER;
	if (channel_count() == 0 || launched + QUIET < failed_until)
		return failed_until;
	return launched + QUIET;
}

bool spare_wanted(void)
{
	uint64_t when = wanted_at();

	if (when == NEVER)
		return false;
	return clock_monotonic() >= when;
}

uint64_t spare_deadline(void)
{
	return wanted_at();
}

/* Both pairs, closed on exec. */
static bool make_pairs(int report[2], int order[2])
{
	if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, order) == 0)
		return true;
	close(report[0]);
	close(report[1]);
	return false;
}

void spare_make(void)
{
	int report[2], order[2];
	struct task *task = task_new(&spare_kind, NULL);

	if (!task || !make_pairs(report, order)) {
		if (task)
			task_free(task);
		failed_until = clock_monotonic() + RETRY;
		return;
	}
	task->pid = fork();
	if (task->pid == 0)
		reaper_spare(report[1], order[1]);
	close(report[1]);
	close(order[1]);
	if (task->pid < 0)
		task->pid = 0;
	if (task->pid == 0 || !task_open_report(task, report[0])) {
		close(report[0]);
		close(order[0]);
		spare_over(task);
		return;
	}
	spare = task;
	orders = order[0];
}

static bool send_order(const struct launch *launch)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control = {.bytes = {0}};
	struct reaper_order order = {
		.has_identity = launch->identity != &session.user, .body_length = launch->message->length,
	};
	/* sendmsg takes no pointers to const, and changes nothing. */
	struct iovec parts[] = {
		{&order, sizeof(order)},
		{(void *)(uintptr_t)launch->identity, sizeof(*launch->identity)},
		{(void *)(uintptr_t)launch->message->payload, launch->message->length},
	};
	struct msghdr message = {
		.msg_iov = parts, .msg_iovlen = 3, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	int ends[3] = {launch->in, launch->out, launch->err};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(ends));
	memcpy(CMSG_DATA(header), ends, sizeof(ends));
	return sendmsg(orders, &message, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

/* Whether it has died and the news waits to be read. */
static bool is_over(void)
{
	struct pollfd report = {.fd = spare->report.fd, .events = POLLIN};

	return poll(&report, 1, 0) != 0;
}

struct task *spare_launch(const struct launch *launch)
{
	struct task *task = spare;

	launched = clock_monotonic();
	if (!task || is_over() || launch->message->length > REAPER_ORDER_BODY || !send_order(launch))
		return NULL;
	drop();
	task->command = (struct command){0};
	return task;
}
