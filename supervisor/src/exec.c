#define _GNU_SOURCE
#include "exec.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "managed.h"
#include "outcome.h"
#include "reaper.h"
#include "spare.h"
#include "task.h"
#include "terminal.h"
#include "tree.h"

/* How long a program may take to end when its terminal is hung up, before it is killed. */
#define HANG_UP_PATIENCE (SECOND)

/* --- the end --------------------------------------------------------------------------------------------- */

static void send_exit(struct task *task)
{
	struct outcome outcome;
	struct wire_writer writer;
	uint8_t frame[256];

	outcome_of(task, task->out.total, task->err.total, &outcome);
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_EXIT, task->channel->id);
	outcome_put(&writer, &outcome);
	wire_end(&writer);
	channel_end(task->channel, &writer);
}

/* Whether the command is over: its leader is, and its tree where that is to go too. */
static bool is_over(const struct task *task)
{
	const struct command *command = &task->command;

	if (!command->ended || (command->lost && tree_strays()))
		return false;
	return !task->pid || !(command->killing || (command->stopping && command->survivors));
}

/* Nobody is left, and the reaper may serve another command. */
static bool has_idle_reaper(const struct task *task)
{
	const struct command *command = &task->command;

	return command->ended && !command->survivors && !command->killing && task->report.fd >= 0;
}

/* Tell the channel, once all that was in the pipes is on its way. False until then. */
static bool answer(struct task *task)
{
	struct command *command = &task->command;

	if (task->channel->operation == OPERATION_START) {
		/* It was given up before its program had begun. */
		channel_fail(task->channel, ERROR_CANCELLED, 0, "", UINT64_MAX);
		return true;
	}
	if (!command->settled) {
		command->settled = true;
		terminal_take(task);
		flow_settle(&task->out);
		flow_settle(&task->err);
	}
	if (flow_pending(&task->out) || flow_pending(&task->err))
		return false;
	/* Who lives on has no terminal then, as after the end of any login. */
	if (command->terminal)
		terminal_hang_up(task);
	if (!command->survivors) {
		flow_close(&task->out);
		flow_close(&task->err);
	}
	send_exit(task);
	return true;
}

/* Go on as far as possible: after every change. The task may be gone afterwards. */
static void advance(struct task *task)
{
	struct managed *managed = task->command.managed;

	if ((managed || task->channel) && !is_over(task))
		return;
	if (managed ? !managed_finish(managed) : task->channel && !answer(task))
		return;
	if (task->pid && !has_idle_reaper(task))
		return;
	if (managed)
		managed_gone(managed);
	if (task->pid) {
		flow_close(&task->out);
		flow_close(&task->err);
		terminal_release(task);
		spare_keep(task);
	} else {
		task_free(task);
	}
}

/* --- events ---------------------------------------------------------------------------------------------- */

static void on_failure(struct task *task, const struct reaper_report *report)
{
	const char *step = report->step <= STEP_SETUP ? reaper_steps[report->step] : "setup";

	if (task->command.managed)
		managed_discard(task->command.managed);
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
	/* Of one that was asked to end, the others may still do so by themselves. */
	if (!command->stopping || !command->survivors)
		task->deadline = NEVER;
	if (!command->survivors || command->killing || command->stopping)
		return;
	/* A command that a signal ended takes its tree along, and so does one that was hung up; one that came to its own end
	 * leaves it. */
	if (WIFSIGNALED(command->status) || command->cause)
		tree_kill(task);
	else if (task->channel || command->managed)
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

/* One that serves no other command is told so by the end of the link. */
static void settle_link(struct task *task, bool over)
{
	const struct command *command = &task->command;

	if (over || (command->ended && (command->survivors || command->killing)))
		source_close(&task->report);
	else if (!command->ended)
		source_arm(&task->report, EPOLLIN);
}

static void exec_reported(struct task *task)
{
	bool over;

	(void)take_report(task, &over);
	settle_link(task, over);
	advance(task);
}

/* The same for all that has been told by now, without waiting for the loop to say so. */
static void take_all(struct task *task)
{
	bool over = false;

	if (task->report.fd < 0 || task->command.ended)
		return;
	while (!task->command.ended && take_report(task, &over))
		;
	settle_link(task, over);
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
		task->command.cause = task->command.managed ? EXEC_CANCELLED : EXEC_TIMED_OUT;
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
	if (command->managed)
		managed_discard(command->managed);
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

/* --- managed processes: what is different ------------------------------------------------------------------ */

void exec_begun(struct task *task)
{
	struct managed *managed;
	struct wire_writer writer;
	uint8_t frame[128];

	/* What it told before comes first: that it could not begin, say. */
	take_all(task);
	managed = task->command.managed;
	if (managed && !managed->pid) {
		/* Killed on its way, by whoever is short of memory. */
		managed_discard(managed);
		channel_fail(task->channel, ERROR_OUT_OF_MEMORY, 0, "setup", UINT64_MAX);
		tree_kill(task);
	} else if (managed) {
		managed->known = true;
		wire_writer_init(&writer, frame, sizeof(frame));
		wire_begin(&writer, FRAME_DONE, task->channel->id);
		wire_put_uint(&writer, FIELD_PROCESS, managed->id);
		wire_put_uint(&writer, FIELD_PID, (uint64_t)managed->pid);
		wire_put_uint(&writer, FIELD_STARTED_NS, managed->started_ns);
		wire_end(&writer);
		channel_end(task->channel, &writer);
	}
	advance(task);
}

void exec_refresh(struct task *task)
{
	take_all(task);
	advance(task);
}

void exec_stop(struct task *task, uint64_t grace_ms)
{
	struct command *command = &task->command;
	uint64_t deadline = clock_after_ms(clock_monotonic(), grace_ms);

	command->left_running = 0;
	if (!command->stopping && !command->killing && grace_ms)
		tree_signal(task, SIGTERM);
	if (!command->killing && (!command->stopping || deadline < task->deadline))
		task->deadline = deadline;
	command->stopping = true;
}
