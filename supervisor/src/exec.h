/* Commands: from OPEN(exec) to EXIT, and what lives on behind it. PID 1's side. */
#ifndef FUMEHOOD_EXEC_H
#define FUMEHOOD_EXEC_H

#include "channel.h"
#include "fields.h"
#include "users.h"

/* Start a command on a channel, or fail it. */
void exec_open(struct channel *channel, const struct wire_message *message);

/* The same once its user is known. */
void exec_start(struct channel *channel, const struct wire_message *message, const struct identity *identity);

/* tree.c has killed the whole of a command's tree (or it was gone): nothing of it is alive. Called when its reaper
 * has been reaped, which is the kernel's word for it. */
extern const struct task_kind exec_kind;

#endif
