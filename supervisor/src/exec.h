/* Commands: from the process that runs one to EXIT, and what lives on behind it. PID 1's side. */
#ifndef FUMEHOOD_EXEC_H
#define FUMEHOOD_EXEC_H

#include <stdint.h>

#include "task.h"

extern const struct task_kind exec_kind;

/* Of a managed process: its program has begun, or will not; see managed.c. */
void exec_begun(struct task *task);
/* Take what is known of its end already, before something is done to it. The task may be gone afterwards. */
void exec_refresh(struct task *task);
/* Ask the whole tree to end, and kill it when the time is over. */
void exec_stop(struct task *task, uint64_t grace_ms);

#endif
