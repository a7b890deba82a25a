#define _GNU_SOURCE
#include "tree.h"

#include <signal.h>

#include "clock.h"
#include "exec.h"
#include "late.h"
#include "pause.h"
#include "procs.h"
#include "session.h"
#include "task.h"

/* How long killed processes may take to be gone: they have to run to end, at the lowest weight, and a container may
 * have a small part of one CPU. */
#define KILL_PATIENCE (5 * SECOND)
/* Until the next look at what was killed, doubling. */
#define FIRST_WAIT (2 * MILLISECOND)
#define LONGEST_WAIT (64 * MILLISECOND)

static struct procs now_picture, last_picture, calm_picture;
static bool strays;
static uint64_t strays_began, strays_next = NEVER;
static uint32_t strays_rounds;

static bool is_killing(const struct task *task)
{
	return task->kind == &exec_kind && task->pid && task->command.killing;
}

/* Whose death this round is for. A reaper ends by itself, and proves by it that nothing is left. */
static bool is_condemned(const struct proc *proc)
{
	if (proc->root == ROOT_STRAY)
		return true;
	return proc->root >= 0 && is_killing(task_at((uint32_t)proc->root)) &&
	       proc->pid != task_at((uint32_t)proc->root)->pid;
}

static bool was_victim(const struct proc *proc)
{
	const struct proc *before = procs_find(&last_picture, proc->pid);

	return procs_same(proc, before) && before->victim;
}

static void kill_tracer(pid_t tracer)
{
	(void)kill(tracer, SIGKILL);
}

/* Whoever traces a process hears of its end before its reaper does, and keeps the dead from it for as long as it likes.
 * Such a tracer may belong to another command, of the same user: it gets in the way of this one's end, and dies. */
static void release_dead(const struct proc *proc)
{
	if (proc->state == 'Z' || proc->state == 't')
		procs_each_tracer(proc->pid, kill_tracer);
}

/* Kill what is condemned in the picture. Returns how many of them had not been killed before. */
static uint32_t kill_condemned(void)
{
	uint32_t fresh = 0;

	for (uint32_t i = 0; i < now_picture.count; i++) {
		struct proc *proc = &now_picture.list[i];

		if (!is_condemned(proc))
			continue;
		proc->victim = true;
		(void)kill(proc->pid, SIGKILL);
		if (was_victim(proc))
			release_dead(proc);
		if (!procs_alive(proc) || was_victim(proc))
			continue;
		fresh++;
		if (proc->root >= 0)
			task_at((uint32_t)proc->root)->command.killed++;
	}
	return fresh;
}

/* Let go on what is not condemned and was not stopped before we stopped it. */
static void continue_innocent(void)
{
	for (uint32_t i = 0; i < now_picture.count; i++) {
		const struct proc *proc = &now_picture.list[i];
		const struct proc *before = procs_find(&calm_picture, proc->pid);

		if (proc->pid == 1 || proc->victim)
			continue;
		if (procs_same(proc, before) && procs_stands_still(before))
			continue;
		(void)kill(proc->pid, SIGCONT);
	}
}

/* One look, one kill of what is condemned in it. False when there is no picture: then nothing can be promised. */
static bool kill_round(bool freeze, uint32_t *fresh)
{
	struct procs swap;

	if (freeze) {
		if (!procs_scan(&calm_picture))
			return false;
		late_excuse(&calm_picture);
		(void)kill(-1, SIGSTOP);
	}
	if (!procs_scan(&now_picture)) {
		if (freeze)
			(void)kill(-1, SIGCONT);
		return false;
	}
	procs_attribute(&now_picture);
	*fresh = kill_condemned();
	if (freeze)
		continue_innocent();
	/* In a pause everybody stands still anyway; its end is what they wait for. */
	if (freeze && !pause_active())
		late_watch(&now_picture);
	swap = last_picture;
	last_picture = now_picture;
	now_picture = swap;
	return true;
}

/* --- what is under way ----------------------------------------------------------------------------------- */

static uint64_t wait_after(uint32_t rounds)
{
	uint64_t wait = rounds < 8 ? FIRST_WAIT << rounds : LONGEST_WAIT;

	return wait < LONGEST_WAIT ? wait : LONGEST_WAIT;
}

static bool strays_alive(void)
{
	for (uint32_t i = 0; i < last_picture.count; i++)
		if (last_picture.list[i].root == ROOT_STRAY)
			return true;
	return false;
}

/* Commands that lost their reaper wait for the strays to be gone. */
static void strays_gone(void)
{
	strays = false;
	strays_next = NEVER;
	for (uint32_t i = 0; i < task_high(); i++) {
		struct task *task = task_at(i);

		if (task->kind == &exec_kind && task->command.lost)
			task->kind->flowed(task);
	}
}

/* Set the next look of everything under way; true when something has been for too long. */
static bool schedule(uint64_t now)
{
	bool late = false;

	for (uint32_t i = 0; i < task_high(); i++) {
		struct task *task = task_at(i);

		if (!is_killing(task))
			continue;
		late |= now - task->command.kill_began > KILL_PATIENCE;
		task->command.next_round = now + wait_after(task->command.rounds++);
	}
	if (strays && !strays_alive()) {
		strays_gone();
	} else if (strays) {
		late |= now - strays_began > KILL_PATIENCE;
		strays_next = now + wait_after(strays_rounds++);
	}
	return late;
}

/* Whether something under way has been looked at before: then what is new in the picture was born since. */
static bool is_repeated(void)
{
	for (uint32_t i = 0; i < task_high(); i++)
		if (is_killing(task_at(i)) && task_at(i)->command.rounds > 0)
			return true;
	return strays && strays_rounds > 0;
}

void trees_due(uint64_t now)
{
	uint32_t fresh;
	bool repeated;

	if (trees_deadline() > now)
		return;
	repeated = is_repeated();
	if (!kill_round(false, &fresh) || (repeated && fresh && !kill_round(true, &fresh)) ||
	    schedule(clock_monotonic()))
		session_end(END_RESOURCES);
}

uint64_t trees_deadline(void)
{
	uint64_t first = strays_next;

	for (uint32_t i = 0; i < task_high(); i++)
		if (is_killing(task_at(i)) && task_at(i)->command.next_round < first)
			first = task_at(i)->command.next_round;
	return first;
}

void tree_kill(struct task *task)
{
	if (task->command.killing || !task->pid)
		return;
	task->command.killing = true;
	task->command.rounds = 0;
	task->command.next_round = task->command.kill_began = clock_monotonic();
}

void tree_stray_seen(void)
{
	if (strays)
		return;
	strays = true;
	strays_rounds = 0;
	strays_began = strays_next = clock_monotonic();
}

bool tree_strays(void)
{
	return strays;
}

void tree_signal(const struct task *task, int number)
{
	int index = (int)(task - task_at(0));

	if (!procs_scan(&calm_picture))
		return;
	procs_attribute(&calm_picture);
	for (uint32_t i = 0; i < calm_picture.count; i++) {
		const struct proc *proc = &calm_picture.list[i];

		if (proc->root != index || proc->pid == task->pid || !procs_alive(proc))
			continue;
		(void)kill(proc->pid, number);
		/* Who is stopped can do nothing about it; in a pause, it will when that is over. */
		if (!pause_active())
			(void)kill(proc->pid, SIGCONT);
	}
}

uint32_t tree_count(const struct task *task)
{
	int index = (int)(task - task_at(0));
	uint32_t count = 0;

	/* A picture of its own: the others belong to a kill that may be under way. */
	if (!procs_scan(&calm_picture))
		return 0;
	procs_attribute(&calm_picture);
	for (uint32_t i = 0; i < calm_picture.count; i++) {
		const struct proc *proc = &calm_picture.list[i];

		count += proc->root == index && proc->pid != task->pid && procs_alive(proc);
	}
	return count;
}

uint32_t trees(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < task_high(); i++) {
		const struct task *task = task_at(i);

		/* A reaper that had nobody left is only on its way out. */
		count += task->kind == &exec_kind && task->pid && (!task->command.ended || task->command.survivors);
	}
	return count;
}

void tree_kill_all(void)
{
	if (!procs_scan(&now_picture)) {
		(void)kill(-1, SIGKILL);
		return;
	}
	procs_attribute(&now_picture);
	for (uint32_t i = 0; i < now_picture.count; i++)
		if (now_picture.list[i].root != ROOT_OUTSIDE)
			(void)kill(now_picture.list[i].pid, SIGKILL);
}
