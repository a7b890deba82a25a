#define _GNU_SOURCE
#include "task.h"

#include <sys/wait.h>

#include "clock.h"
#include "terminal.h"
#include "tree.h"

/* Live channels, and trees whose command has ended. Each takes at least two of the container's processes. */
#define MAX_TASKS 1024
/* Children reaped in one turn. */
#define REAP_STEP 64

static struct task tasks[MAX_TASKS];
static uint32_t high;

struct task *task_new(const struct task_kind *kind, struct channel *channel)
{
	for (uint32_t i = 0; i < MAX_TASKS; i++) {
		struct task *task = &tasks[i];

		if (task->kind)
			continue;
		*task = (struct task){.kind = kind, .channel = channel, .deadline = NEVER, .held = NEVER};
		task->report.fd = task->out.source.fd = task->err.source.fd = task->way.fd = task->terminal = -1;
		task->out.rests_until = task->err.rests_until = NEVER;
		task->started = clock_monotonic();
		if (i >= high)
			high = i + 1;
		return task;
	}
	return NULL;
}

void task_free(struct task *task)
{
	source_close(&task->report);
	terminal_release(task);
	flow_close(&task->out);
	flow_close(&task->err);
	task->kind = NULL;
	while (high && !tasks[high - 1].kind)
		high--;
}

uint32_t task_high(void)
{
	return high;
}

struct task *task_at(uint32_t index)
{
	return &tasks[index];
}

struct task *task_of_pid(pid_t pid)
{
	for (uint32_t i = 0; i < high; i++)
		if (tasks[i].kind && tasks[i].pid == pid)
			return &tasks[i];
	return NULL;
}

static void report_ready(struct source *source)
{
	struct task *task = container_of(source, struct task, report);

	task->kind->reported(task);
}

bool task_open_report(struct task *task, int fd)
{
	return source_open(&task->report, fd, EPOLLIN, report_ready);
}

bool tasks_reap(void)
{
	for (int i = 0; i < REAP_STEP; i++) {
		int status;
		struct task *task;
		pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);

		if (pid <= 0)
			return false;
		task = task_of_pid(pid);
		if (!task) {
			tree_stray_seen();
			continue;
		}
		task->pid = 0;
		task->kind->reaped(task, status);
	}
	return true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t tasks_deadline(void)
{
	uint64_t first = NEVER;

	for (uint32_t i = 0; i < high; i++) {
		const struct task *task = &tasks[i];

		if (!task->kind)
			continue;
		first = earlier(first, task->deadline);
		first = earlier(first, earlier(task->out.rests_until, task->err.rests_until));
	}
	return first;
}

void tasks_due(uint64_t now)
{
	for (uint32_t i = 0; i < high; i++) {
		struct task *task = &tasks[i];

		/* Each of these may end it. */
		if (task->kind)
			flow_due(&task->out, now);
		if (task->kind)
			flow_due(&task->err, now);
		if (task->kind && task->deadline <= now)
			task->kind->due(task, now);
	}
}
