/* Commands: from OPEN(exec) to EXIT, and what lives on behind it. PID 1's side. */
#ifndef FUMEHOOD_EXEC_H
#define FUMEHOOD_EXEC_H

#include "channel.h"
#include "fields.h"
#include "users.h"

/* Start a command on a channel, for EXEC or START, or fail it. */
void exec_open(struct channel *channel, const struct wire_message *message);

/* The same once its user is known. */
void exec_start(struct channel *channel, const struct wire_message *message, const struct identity *identity);

/* Of a managed process: its program has begun, or will not; see managed.c. */
void exec_begun(struct task *task);
/* Take what is known of its end already, before something is done to it. The task may be gone afterwards. */
void exec_refresh(struct task *task);
/* Ask the whole tree to end, and kill it when the time is over. */
void exec_stop(struct task *task, uint64_t grace_ms);

/* tree.c has killed the whole of a command's tree (or it was gone): nothing of it is alive. Called when its reaper
 * has been reaped, which is the kernel's word for it. */
extern const struct task_kind exec_kind;

#endif
