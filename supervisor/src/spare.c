#define _GNU_SOURCE
#include "spare.h"

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

/* While commands run, a fork of PID 1 would take time from them: wait until none was launched for so long. Commands that
 * are closer to each other follow each other. */
#define QUIET (10 * MILLISECOND)
/* After a failure: the process limit is reached, or memory is short and the killer takes what waits first. */
#define RETRY (SECOND)
/* Reapers kept while commands come and go, in a container that may hold plenty of processes. Once it is quiet, one is. */
#define KEPT 4
#define PLENTY 256

/* Reapers without a command. The last one is the next to be used, and no other has been called. */
static struct task *spares[KEPT];
static uint32_t count;
static bool called;
static bool follows;
static uint64_t launched, failed_until;

static void forget(const struct task *task)
{
	uint32_t at = 0;

	while (at < count && spares[at] != task)
		at++;
	if (at == count)
		return;
	called = called && at < count - 1;
	count--;
	for (; at < count; at++)
		spares[at] = spares[at + 1];
}

/* It says nothing until it has an order: whatever comes is its end. */
static void spare_over(struct task *task)
{
	forget(task);
	source_close(&task->report);
	failed_until = clock_monotonic() + RETRY;
	if (task->pid)
		kill(task->pid, SIGKILL);
	else
		task_free(task);
}

static void spare_reaped(struct task *task, int status)
{
	(void)status;
	if (task->report.fd >= 0)
		spare_over(task);
	else
		task_free(task);
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

/* --- having one -------------------------------------------------------------------------------------------- */

/* Of commands that follow each other one by one, each has its process made while the one before it runs. A reaper alone
 * would have to do so between the two, when the client wants the processor too. So for them there are two, by turns. */
static bool wants_second(void)
{
	return follows && channel_count() == 1 && session.process_limit >= PLENTY;
}

static uint64_t wanted_at(void)
{
	if (!session.ready)
		return NEVER;
	if (count && !called)
		return 0;
	if (count)
		return count > 1 ? launched + QUIET : NEVER;
	if (channel_count() == 0 || wants_second() || launched + QUIET < failed_until)
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

static void call_last(void)
{
	called = reaper_call(spares[count - 1]->report.fd);
	if (!called)
		spare_over(spares[count - 1]);
}

static void make(void)
{
	int link[2];
	struct task *task = task_new(&spare_kind, NULL);

	if (!task || !reaper_link(link)) {
		if (task)
			task_free(task);
		failed_until = clock_monotonic() + RETRY;
		return;
	}
	task->pid = fork();
	if (task->pid == 0)
		reaper_spare(link[1]);
	close(link[1]);
	if (task->pid < 0)
		task->pid = 0;
	if (task->pid == 0 || !task_open_report(task, link[0])) {
		close(link[0]);
		spare_over(task);
		return;
	}
	spares[count++] = task;
	call_last();
}

void spare_make(void)
{
	if (count == 0)
		make();
	else if (!called)
		call_last();
	else
		while (count > 1)
			source_close(&spares[0]->report), forget(spares[0]);
}

void spare_keep(struct task *task)
{
	uint32_t most = session.process_limit >= PLENTY ? KEPT : 1;

	task->kind = &spare_kind;
	task->deadline = NEVER;
	if (count == most) {
		source_close(&task->report);
		return;
	}
	source_arm(&task->report, EPOLLIN);
	spares[count++] = task;
	if (called) {
		spares[count - 1] = spares[count - 2];
		spares[count - 2] = task;
	}
}

/* --- using it ---------------------------------------------------------------------------------------------- */

/* Whether it has died and the news waits to be read. */
static bool is_over(const struct task *task)
{
	struct pollfd report = {.fd = task->report.fd, .events = POLLIN};

	return poll(&report, 1, 0) != 0;
}

struct task *spare_launch(const struct launch *launch)
{
	struct task *task = count ? spares[count - 1] : NULL;
	uint64_t now = clock_monotonic();

	follows = now - launched < QUIET;
	launched = now;
	if (!task || launch->message->length > REAPER_ORDER_BODY || is_over(task) ||
	    (!called && !reaper_call(task->report.fd)) || !reaper_order(task->report.fd, launch))
		return NULL;
	forget(task);
	task->command = (struct command){0};
	return task;
}
