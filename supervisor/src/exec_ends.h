/* The two ends of all that joins a command to PID 1: its pipes or its terminal, and the link with its reaper. */
#ifndef FUMEHOOD_EXEC_ENDS_H
#define FUMEHOOD_EXEC_ENDS_H

#include <stdbool.h>

#include "fields.h"

struct command;
struct task;

/* [0] is for reading; -1 where there is none: no `in` when there is no input, `link` for a new reaper alone, `begun` for a
 * managed process. */
struct exec_ends {
	int in[2], out[2], err[2], link[2], begun[2];
};

/* Make what the operation needs, all but the link. False with errno; what was made until then is in `ends`. */
bool exec_ends_make(struct exec_ends *ends, enum operation operation, bool input);
/* Keep the write ends of the output as long as the command runs: see release_ends in exec.c. */
void exec_ends_hold(struct command *command, struct exec_ends *ends);
/* Hand our ends over to the task and its channel, and forget them. False with errno. */
bool exec_ends_connect(struct task *task, struct exec_ends *ends, const struct wire_message *message);
/* Close what has not been handed over. */
void exec_ends_close(struct exec_ends *ends);

#endif
