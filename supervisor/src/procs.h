/* A picture of all processes of the container, from /proc. */
#ifndef FUMEHOOD_PROCS_H
#define FUMEHOOD_PROCS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Who a process belongs to, besides the index of a task. */
enum { ROOT_UNKNOWN = -1, ROOT_OUTSIDE = -2, ROOT_STRAY = -3 };

struct proc {
	pid_t pid, parent;
	uint64_t began;            /* start time: tells a pid that is used again */
	uint64_t faults;           /* pages that it, or the kernel for it, has touched for the first time */
	uint32_t threads;
	char state;                /* as in /proc/PID/stat */
	bool victim;               /* was sent SIGKILL when this picture was taken */
	int root;                  /* index of the task that it descends from, or a ROOT_* */
};

struct procs {
	struct proc *list;         /* by rising pid */
	uint32_t count, capacity;
};

/* Look at all processes. False when /proc cannot be read or memory is out. */
bool procs_scan(struct procs *procs);
/* Find out the root of each. */
void procs_attribute(struct procs *procs);
const struct proc *procs_find(const struct procs *procs, pid_t pid);
/* The parent of one process; 0 when there is none such. */
pid_t procs_parent(pid_t pid);
bool procs_alive(const struct proc *proc);
/* Stopped, by a signal or by a tracer. */
bool procs_stands_still(const struct proc *proc);
/* Whether it may not have run yet since its birth: a process that does needs pages of its own. Not the other way round: one
 * that shares its memory with its parent needs none. */
bool procs_unborn(const struct proc *proc);
/* Whether two pictures show one process, and not another one of its number; NULL is in none of them. */
bool procs_same(const struct proc *a, const struct proc *b);
/* Tell of every process that traces a thread of this one. */
void procs_each_tracer(pid_t pid, void (*found)(pid_t tracer));

/* Make `to` the same picture. False when there is no memory for it: then it is empty. */
bool procs_copy(struct procs *to, const struct procs *from);
void procs_free(struct procs *procs);

#endif
