#define _GNU_SOURCE
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "cgroup.h"
#include "clock.h"
#include "lookup.h"
#include "process.h"
#include "reaper.h"
#include "session.h"
#include "spare.h"
#include "task.h"
#include "terminal.h"
#include "tree.h"

/* How long a program may take to end when its terminal is hung up, before it is killed. */
#define HANG_UP_PATIENCE (SECOND)

/* --- the end --------------------------------------------------------------------------------------------- */

/* Whether the leader's death looks like the kernel's memory killer and a kill of that kind happened meanwhile. */
static bool out_of_memory(const struct command *command)
{
	bool killed = WIFSIGNALED(command->status) && WTERMSIG(command->status) == SIGKILL;
	bool told = WIFEXITED(command->status) && WEXITSTATUS(command->status) == 128 + SIGKILL;

	return (killed || told) && cgroup_oom_kills() > command->oom_kills;
}

/* From our own state and the kernel's, never from a number that the command chose. */
static uint32_t end_reason(const struct command *command)
{
	bool by_us = command->cause && WIFSIGNALED(command->status) && WTERMSIG(command->status) == SIGKILL;

	if (by_us)
		return command->cause;
	if (out_of_memory(command))
		return EXEC_OUT_OF_MEMORY;
	return WIFSIGNALED(command->status) ? EXEC_SIGNALED : EXEC_EXITED;
}

static void send_exit(struct task *task)
{
	const struct command *command = &task->command;
	uint32_t number = WIFSIGNALED(command->status) ? (uint32_t)WTERMSIG(command->status) : 0;
	uint32_t code = number ? 128 + number : (uint32_t)WEXITSTATUS(command->status);
	struct wire_writer writer;
	uint8_t frame[256];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_EXIT, task->channel->id);
	wire_put_uint(&writer, FIELD_REASON, end_reason(command));
	wire_put_uint(&writer, FIELD_EXIT_CODE, code);
	wire_put_uint(&writer, FIELD_SIGNAL, number);
	wire_put_uint(&writer, FIELD_DURATION_US,
		      command->ended_at > task->started ? command->ended_at - task->started : 0);
	wire_put_uint(&writer, FIELD_STDOUT_TOTAL, task->out.total);
	wire_put_uint(&writer, FIELD_STDERR_TOTAL, task->err.total);
	wire_put_uint(&writer, FIELD_KILLED, command->killed);
	wire_put_uint(&writer, FIELD_LEFT_RUNNING, command->left_running);
	wire_end(&writer);
	channel_end(task->channel, &writer);
}

/* Go on as far as possible: after every change. The task may be gone afterwards. */
static void advance(struct task *task)
{
	struct command *command = &task->command;

	if (task->channel) {
		if (!command->ended || (command->killing && task->pid) || (command->lost && tree_strays()))
			return;
		if (!command->settled) {
			command->settled = true;
			terminal_take(task);
			flow_settle(&task->out);
			flow_settle(&task->err);
		}
		if (flow_pending(&task->out) || flow_pending(&task->err))
			return;
		/* Who lives on has no terminal then, as after the end of any login. */
		if (command->terminal)
			terminal_hang_up(task);
		if (!command->survivors) {
			flow_close(&task->out);
			flow_close(&task->err);
		}
		send_exit(task);
	}
	if (task->pid == 0) {
		task_free(task);
	} else if (command->ended && !command->survivors && !command->killing && task->report.fd >= 0) {
		flow_close(&task->out);
		flow_close(&task->err);
		terminal_release(task);
		spare_keep(task);
	}
}

/* --- events ---------------------------------------------------------------------------------------------- */

static void on_failure(struct task *task, const struct reaper_report *report)
{
	const char *step = report->step <= STEP_SETUP ? reaper_steps[report->step] : "setup";

	if (task->channel)
		channel_fail(task->channel, report->error, report->err_no, step, UINT64_MAX);
}

/* While the command runs we hold its ends of the output pipes as well, so that the end of output, which wakes us for each
 * of them and says less than the report that follows, does not come before it. */
static void release_ends(struct command *command)
{
	for (int i = 0; i < 2; i++) {
		if (command->ends[i] >= 0)
			close(command->ends[i]);
		command->ends[i] = -1;
	}
}

static void on_end(struct task *task, const struct reaper_report *report)
{
	struct command *command = &task->command;

	command->ended = true;
	release_ends(command);
	command->survivors = report->survivors;
	command->status = (int)report->status;
	command->ended_at = report->at;
	task->deadline = NEVER;
	if (!command->survivors || command->killing)
		return;
	/* A command that a signal ended takes its tree along, and so does one that was hung up; one that came to its own end
	 * leaves it. */
	if (WIFSIGNALED(command->status) || command->cause)
		tree_kill(task);
	else if (task->channel)
		command->left_running = tree_count(task);
}

/* Take what the reaper or the command's process has told. False when there is nothing to be read. */
static bool take_report(struct task *task, bool *over)
{
	struct reaper_report report;
	ssize_t got = read(task->report.fd, &report, sizeof(report));

	*over = got == 0;
	if (got != (ssize_t)sizeof(report))
		return false;
	if (report.kind == REAPER_FAILED)
		on_failure(task, &report);
	else
		on_end(task, &report);
	return true;
}

static void exec_reported(struct task *task)
{
	const struct command *command = &task->command;
	bool over;

	(void)take_report(task, &over);
	/* One that serves no other command is told so by the end of the link. */
	if (over || (command->ended && (command->survivors || command->killing)))
		source_close(&task->report);
	else if (!command->ended)
		source_arm(&task->report, EPOLLIN);
	advance(task);
}

static void exec_reaped(struct task *task, int status)
{
	struct command *command = &task->command;
	bool over;

	/* What it told before it ended comes first. */
	while (task->report.fd >= 0 && !command->ended && take_report(task, &over))
		;
	source_close(&task->report);
	release_ends(command);
	if (!command->ended && WIFEXITED(status)) {
		command->ended = true;
		if (task->channel)
			channel_fail(task->channel, ERROR_IO, 0, "setup", UINT64_MAX);
	} else if (!command->ended) {
		/* The memory killer took the reaper. What it had adopted is PID 1's now: strays, all of them. */
		command->ended = command->lost = true;
		command->status = SIGKILL;
		command->ended_at = clock_monotonic();
		tree_stray_seen();
	}
	advance(task);
}

static void exec_due(struct task *task, uint64_t now)
{
	(void)now;
	task->deadline = NEVER;
	if (!task->command.cause)
		task->command.cause = EXEC_TIMED_OUT;
	tree_kill(task);
	advance(task);
}

/* Whoever has a terminal is told first, and may save what it has. What it still says goes nowhere. */
static void hang_up(struct task *task)
{
	terminal_hang_up(task);
	task->deadline = clock_monotonic() + HANG_UP_PATIENCE;
}

/* What is still in the pipes is not wanted, and nobody can be made to wait for credit that may never come. */
static void exec_cancel(struct task *task)
{
	struct command *command = &task->command;

	task->out.limit = task->err.limit = 0;
	flow_resume(&task->out);
	flow_resume(&task->err);
	if (command->ended && !command->survivors)
		return;
	if (!command->cause)
		command->cause = EXEC_CANCELLED;
	command->left_running = 0;
	if (command->terminal && !command->ended) {
		hang_up(task);
		return;
	}
	task->deadline = NEVER;
	tree_kill(task);
}

static void exec_input_ended(struct task *task)
{
	(void)task;
}

const struct task_kind exec_kind = {
	.reported = exec_reported, .reaped = exec_reaped, .due = exec_due, .cancel = exec_cancel,
	.flowed = advance, .input_ended = exec_input_ended, .runs_command = true,
};

/* --- the start ------------------------------------------------------------------------------------------- */

/* Both ends of each pipe, and of the link with a new reaper; there is no `in` when there is no input. */
struct ends {
	int in[2], out[2], err[2], link[2];
};

static void close_pair(int ends[2])
{
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
}

static void close_ends(struct ends *ends)
{
	close_pair(ends->in);
	close_pair(ends->out);
	close_pair(ends->err);
	close_pair(ends->link);
}

/* At a terminal there is the way to it instead. */
static bool make_ends(struct ends *ends, bool terminal, bool input)
{
	*ends = (struct ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	if (terminal)
		return terminal_way(ends->in);
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

/* See release_ends. At a terminal there are none. */
static void hold_ends(struct command *command, struct ends *ends)
{
	command->ends[0] = ends->out[1];
	command->ends[1] = ends->err[1];
	ends->out[1] = ends->err[1] = -1;
}

static bool connect_terminal(struct task *task, struct ends *ends)
{
	if (!terminal_await(task, ends->in[1]))
		return false;
	ends->in[1] = -1;
	return true;
}

static bool connect_streams(struct task *task, struct ends *ends, const struct wire_message *message)
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

/* Hand our ends over to the task and its channel, and forget them. */
static bool connect_ends(struct task *task, struct ends *ends, const struct wire_message *message)
{
	if (ends->link[0] >= 0) {
		if (!task_open_report(task, ends->link[0]))
			return false;
		ends->link[0] = -1;
	}
	return task->command.terminal ? connect_terminal(task, ends) : connect_streams(task, ends, message);
}

/* A spare that waits for its order, or a new reaper. NULL with errno. */
static struct task *launch(struct channel *channel, const struct wire_message *message,
			   const struct identity *identity, struct ends *ends)
{
	bool terminal = channel->operation == OPERATION_TERMINAL;
	struct launch launch = {
		.message = message, .identity = identity,
		.in = ends->in[0] >= 0 ? ends->in[0] : session.null_fd,
		.out = terminal ? ends->in[0] : ends->out[1], .err = terminal ? ends->in[0] : ends->err[1],
	};
	uint64_t now = clock_monotonic();
	struct task *task = spare_launch(&launch);

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
	struct ends ends;
	uint64_t timeout = wire_uint(message, FIELD_TIMEOUT_MS, 0);
	uint64_t oom_kills = cgroup_oom_kills();
	bool terminal = channel->operation == OPERATION_TERMINAL;
	struct task *task = NULL;
	int err_no;

	if (make_ends(&ends, terminal, wire_flag(message, FIELD_STDIN)))
		task = launch(channel, message, identity, &ends);
	err_no = errno;
	if (task) {
		channel->task = task;
		task->command.oom_kills = oom_kills;
		task->command.terminal = terminal;
		hold_ends(&task->command, &ends);
		if (timeout)
			task->deadline = clock_after_ms(task->started, timeout);
		if (connect_ends(task, &ends, message)) {
			close_ends(&ends);
			return;
		}
		err_no = errno;
	}
	close_ends(&ends);
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
	channel->input_open = terminal || wire_flag(message, FIELD_STDIN);
	if (!user || (length == strlen(session.user_spec) && memcmp(user, session.user_spec, length) == 0))
		exec_start(channel, message, &session.user);
	else
		lookup_for_exec(channel, message, user, length);
}
