#define _GNU_SOURCE
#include "exec_start.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "cgroup.h"
#include "channel.h"
#include "clock.h"
#include "exec.h"
#include "exec_ends.h"
#include "lookup.h"
#include "managed.h"
#include "pause.h"
#include "reaper.h"
#include "session.h"
#include "spare.h"
#include "task.h"
#include "terminal.h"
#include "tree.h"

/* A spare that waits for its order, or a new reaper. NULL with errno. */
static struct task *launch(struct channel *channel, const struct wire_message *message,
			   const struct identity *identity, struct exec_ends *ends)
{
	bool terminal = channel->operation == OPERATION_TERMINAL;
	struct launch launch = {
		.message = message, .identity = identity,
		.in = ends->in[0] >= 0 ? ends->in[0] : session.null_fd,
		.out = terminal ? ends->in[0] : ends->out[1], .err = terminal ? ends->in[0] : ends->err[1],
		.begun = ends->begun[1] >= 0 ? ends->begun[1] : 0,
	};
	uint64_t now = clock_monotonic();
	/* A spare is kept for those that somebody waits for to the end. */
	struct task *task = launch.begun ? NULL : spare_launch(&launch);

	if (task) {
		task->kind = &exec_kind;
		task->channel = channel;
		task->started = now;
		return task;
	}
	task = task_new(&exec_kind, channel);
	if (!task) {
		errno = EAGAIN;
		return NULL;
	}
	if (reaper_link(ends->link)) {
		launch.link = ends->link[1];
		task->pid = fork();
		if (task->pid == 0)
			reaper_main(&launch);
		if (task->pid > 0)
			return task;
		task->pid = 0;
	} else {
		ends->link[0] = ends->link[1] = -1;
	}
	task_free(task);
	return NULL;
}

static void fail_start(struct channel *channel, int err_no)
{
	bool no_process = err_no == EAGAIN;

	channel_fail(channel, no_process ? ERROR_PROCESS_LIMIT : err_no == ENOMEM ? ERROR_OUT_OF_MEMORY : ERROR_IO,
		     (uint32_t)err_no, no_process ? "fork" : "setup", UINT64_MAX);
}

void exec_start(struct channel *channel, const struct wire_message *message, const struct identity *identity)
{
	struct exec_ends ends;
	uint64_t timeout = wire_uint(message, FIELD_TIMEOUT_MS, 0);
	uint64_t oom_kills = cgroup_oom_kills();
	enum operation operation = channel->operation;
	struct managed *managed = NULL;
	struct task *task = NULL;
	uint32_t error = 0;
	int err_no;

	/* A pause may have begun while the user was looked up. */
	if (pause_active()) {
		channel_fail(channel, ERROR_PAUSED, 0, "open", UINT64_MAX);
		return;
	}
	if (operation == OPERATION_START && !(managed = managed_new(message, &error))) {
		channel_fail(channel, error, 0, "setup", UINT64_MAX);
		return;
	}
	if (exec_ends_make(&ends, operation, wire_flag(message, FIELD_STDIN)))
		task = launch(channel, message, identity, &ends);
	err_no = errno;
	if (task) {
		channel->task = task;
		task->command.managed = managed;
		task->command.oom_kills = oom_kills;
		task->command.terminal = operation == OPERATION_TERMINAL;
		exec_ends_hold(&task->command, &ends);
		if (timeout)
			task->deadline = clock_after_ms(task->started, timeout);
		if (exec_ends_connect(task, &ends, message)) {
			exec_ends_close(&ends);
			return;
		}
		err_no = errno;
	}
	exec_ends_close(&ends);
	if (managed)
		managed_discard(managed);
	fail_start(channel, err_no);
	/* One that runs already dies with its tree; its slot is freed when it has been reaped. */
	if (task)
		tree_kill(task);
}

void exec_open(struct channel *channel, const struct wire_message *message)
{
	bool terminal = channel->operation == OPERATION_TERMINAL;
	uint32_t error = arguments_check(message);
	uint32_t length;
	const uint8_t *user = wire_bytes(message, FIELD_USER, &length);

	if (!error && terminal && !terminal_size(message, &channel->rows, &channel->columns))
		error = ERROR_INVALID;
	if (error) {
		channel_fail(channel, error, 0, "setup", UINT64_MAX);
		return;
	}
	channel->input_open = terminal || (channel->operation == OPERATION_EXEC && wire_flag(message, FIELD_STDIN));
	if (!user || (length == strlen(session.user_spec) && memcmp(user, session.user_spec, length) == 0))
		exec_start(channel, message, &session.user);
	else
		lookup_for_exec(channel, message, user, length);
}
