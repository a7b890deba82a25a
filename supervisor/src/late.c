#define _GNU_SOURCE
#include "late.h"

#include <signal.h>

#include "clock.h"

static const uint64_t waits[] = {5 * MILLISECOND, 20 * MILLISECOND, 100 * MILLISECOND, 500 * MILLISECOND};
/* Empty when there was no memory for it: better all go on than one that never does. */
static struct procs known;
static uint32_t looks;
static uint64_t look_at = NEVER;

/* Not for a tracer: that is nobody's signal. Nor by itself, or by somebody else, after it was born. */
static bool is_late(const struct proc *proc)
{
	return proc->pid != 1 && proc->state == 'T' && procs_unborn(proc) &&
	       !procs_same(proc, procs_find(&known, proc->pid));
}

void late_watch(const struct procs *picture)
{
	(void)procs_copy(&known, picture);
	looks = 0;
	look_at = clock_monotonic() + waits[0];
}

void late_excuse(struct procs *picture)
{
	if (look_at == NEVER)
		return;
	for (uint32_t i = 0; i < picture->count; i++)
		if (is_late(&picture->list[i]))
			picture->list[i].state = 'R';
}

void late_forget(void)
{
	procs_free(&known);
	look_at = NEVER;
}

static void continue_late(void)
{
	struct procs now = {0};

	if (!procs_scan(&now))
		return;
	for (uint32_t i = now.count; i-- > 0;)
		if (is_late(&now.list[i]))
			(void)kill(now.list[i].pid, SIGCONT);
	procs_free(&now);
}

uint64_t late_deadline(void)
{
	return look_at;
}

void late_due(uint64_t now)
{
	if (look_at > now)
		return;
	continue_late();
	looks++;
	if (looks < sizeof(waits) / sizeof(waits[0]))
		look_at = now + waits[looks];
	else
		late_forget();
}
