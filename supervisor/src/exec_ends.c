#define _GNU_SOURCE
#include "exec_ends.h"

#include <unistd.h>

#include "channel.h"
#include "managed.h"
#include "process.h"
#include "task.h"
#include "terminal.h"

static void close_pair(int ends[2])
{
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
}

void exec_ends_close(struct exec_ends *ends)
{
	close_pair(ends->in);
	close_pair(ends->out);
	close_pair(ends->err);
	close_pair(ends->link);
	close_pair(ends->begun);
}

/* At a terminal there is the way to it instead. */
bool exec_ends_make(struct exec_ends *ends, enum operation operation, bool input)
{
	*ends = (struct exec_ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	if (operation == OPERATION_TERMINAL)
		return terminal_way(ends->in);
	if (operation == OPERATION_START && !process_pipe(ends->begun, 0)) {
		ends->begun[0] = ends->begun[1] = -1;
		return false;
	}
	if (input && !process_pipe(ends->in, 1)) {
		ends->in[0] = ends->in[1] = -1;
		return false;
	}
	if (!process_pipe(ends->out, 0)) {
		ends->out[0] = ends->out[1] = -1;
		return false;
	}
	if (!process_pipe(ends->err, 0)) {
		ends->err[0] = ends->err[1] = -1;
		return false;
	}
	return true;
}

/* At a terminal there are none. */
void exec_ends_hold(struct command *command, struct exec_ends *ends)
{
	command->ends[0] = ends->out[1];
	command->ends[1] = ends->err[1];
	ends->out[1] = ends->err[1] = -1;
}

static bool connect_terminal(struct task *task, struct exec_ends *ends)
{
	if (!terminal_await(task, ends->in[1]))
		return false;
	ends->in[1] = -1;
	return true;
}

static bool connect_managed(struct task *task, struct exec_ends *ends)
{
	int ours[] = {ends->out[0], ends->err[0], ends->begun[0], ends->in[1]};
	bool done = managed_connect(task->command.managed, task, ours);

	ends->out[0] = ours[MANAGED_OUT];
	ends->err[0] = ours[MANAGED_ERR];
	ends->begun[0] = ours[MANAGED_BEGUN];
	ends->in[1] = ours[MANAGED_IN];
	return done;
}

static bool connect_streams(struct task *task, struct exec_ends *ends, const struct wire_message *message)
{
	struct channel *channel = task->channel;

	if (!flow_open(&task->out, ends->out[0], task, channel, FRAME_STDOUT,
		       wire_uint(message, FIELD_STDOUT_LIMIT, 0)))
		return false;
	ends->out[0] = -1;
	if (!flow_open(&task->err, ends->err[0], task, channel, FRAME_STDERR,
		       wire_uint(message, FIELD_STDERR_LIMIT, 0)))
		return false;
	ends->err[0] = -1;
	if (ends->in[1] >= 0) {
		if (!channel_connect_input(channel, ends->in[1]))
			return false;
		ends->in[1] = -1;
	}
	return true;
}

bool exec_ends_connect(struct task *task, struct exec_ends *ends, const struct wire_message *message)
{
	if (ends->link[0] >= 0) {
		if (!task_open_report(task, ends->link[0]))
			return false;
		ends->link[0] = -1;
	}
	if (task->command.managed)
		return connect_managed(task, ends);
	return task->command.terminal ? connect_terminal(task, ends) : connect_streams(task, ends, message);
}
