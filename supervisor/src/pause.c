#define _GNU_SOURCE
#include "pause.h"

#include <signal.h>

#include "channel.h"
#include "clock.h"
#include "connection.h"
#include "fields.h"
#include "late.h"
#include "lease.h"
#include "procs.h"
#include "task.h"

static bool active;
static bool lasting;              /* not only for the sake of some connections */
static uint32_t stopped;
static uint64_t began, total;     /* monotonic; of the pauses that are over */
/* As everything was before it was stopped: what stood still then is left so. */
static struct procs before;
static struct procs after;

bool pause_active(void)
{
	return active;
}

uint64_t pause_total_ms(void)
{
	return (total + (active ? clock_monotonic() - began : 0)) / MILLISECOND;
}

/* Reapers and helpers are ours and go on: files can be read and written, and a command's end is noticed. So do the
 * relays of other clients and whatever else the engine has put here. */
static void continue_others(void)
{
	for (uint32_t i = 0; i < after.count; i++) {
		const struct proc *proc = &after.list[i];
		bool ours = proc->root >= 0 && proc->pid == task_at((uint32_t)proc->root)->pid;

		if (proc->pid != 1 && (ours || proc->root == ROOT_OUTSIDE))
			(void)kill(proc->pid, SIGCONT);
	}
}

/* A command's time counts while it can run. */
static void hold_deadlines(uint64_t now)
{
	for (uint32_t i = 0; i < task_high(); i++) {
		struct task *task = task_at(i);

		if (!task->kind || !task->kind->runs_command || task->deadline == NEVER)
			continue;
		task->held = task->deadline > now ? task->deadline - now : 0;
		task->deadline = NEVER;
	}
}

static void release_deadlines(uint64_t now)
{
	for (uint32_t i = 0; i < task_high(); i++) {
		struct task *task = task_at(i);

		if (!task->kind || task->held == NEVER)
			continue;
		task->deadline = now + task->held;
		task->held = NEVER;
	}
}

/* Not of the pair that waits for the next command. */
static bool is_commands(const struct proc *proc)
{
	const struct task *task = proc->root >= 0 ? task_at((uint32_t)proc->root) : NULL;

	return task && task->kind && task->kind->runs_command && proc->pid != task->pid && procs_alive(proc);
}

/* False when there is no picture of the processes: then nothing has changed. */
static bool begin(void)
{
	if (!procs_scan(&before))
		return false;
	procs_attribute(&before);
	late_excuse(&before);
	/* One signal for all at one moment. A child whose fork is under way gets it too, and is born stopped later. */
	(void)kill(-1, SIGSTOP);
	/* Who has come since the first picture must not stay stopped. */
	if (!procs_scan(&after)) {
		(void)kill(-1, SIGCONT);
		procs_free(&before);
		return false;
	}
	procs_attribute(&after);
	continue_others();
	procs_free(&after);
	late_forget();
	stopped = 0;
	for (uint32_t i = 0; i < before.count; i++) {
		stopped += is_commands(&before.list[i]);
	}
	active = true;
	began = clock_monotonic();
	hold_deadlines(began);
	if (connection_count())
		lease_busy();
	return true;
}

static bool stood_still_before(const struct proc *proc)
{
	const struct proc *was = procs_find(&before, proc->pid);

	return procs_same(proc, was) && procs_stands_still(was);
}

/* Children before their parents: a shell that looks after its jobs would otherwise see them stopped. Who is there now, not
 * who was there: children were born stopped in between. Without a picture, better all than one that never goes on. */
static void end(void)
{
	if (!procs_scan(&after))
		(void)kill(-1, SIGCONT);
	for (uint32_t i = after.count; i-- > 0;) {
		const struct proc *proc = &after.list[i];

		if (proc->pid != 1 && !stood_still_before(proc))
			(void)kill(proc->pid, SIGCONT);
	}
	late_watch(&after);
	procs_free(&before);
	procs_free(&after);
	active = false;
	total += clock_monotonic() - began;
	release_deadlines(clock_monotonic());
	if (channel_count() == 0)
		lease_quiet();
}

/* Whether anybody wants the commands to stand still. */
static bool is_held(void)
{
	bool held = lasting;

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++)
		held |= connection_at(i)->holds_pause;
	return held;
}

static bool hold(struct connection *connection, bool tied)
{
	if (!active && !begin())
		return false;
	if (tied)
		connection->holds_pause = true;
	else
		lasting = true;
	return true;
}

/* Without a tie, whoever holds it: the session's users have the last word. */
static void release(struct connection *connection, bool tied)
{
	if (tied) {
		connection->holds_pause = false;
	} else {
		lasting = false;
		for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++)
			connection_at(i)->holds_pause = false;
	}
	if (active && !is_held())
		end();
}

void pause_left(struct connection *connection)
{
	if (connection->holds_pause)
		release(connection, true);
}

void pause_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	struct wire_writer writer;
	uint8_t frame[128];
	bool tied = wire_flag(message, FIELD_TIED);

	if (wire_uint(message, FIELD_OPERATION, 0) != OPERATION_PAUSE) {
		release(connection, tied);
	} else if (!hold(connection, tied)) {
		channel_refuse(connection, channel, ERROR_OUT_OF_MEMORY, "pause");
		return;
	}
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, channel);
	wire_put_uint(&writer, FIELD_ENTRIES, stopped);
	wire_end(&writer);
	connection_send(connection, &writer);
}
