/* Commands: from OPEN to a process that runs them. PID 1's side; exec.c goes on from there. */
#ifndef FUMEHOOD_EXEC_START_H
#define FUMEHOOD_EXEC_START_H

#include "channel.h"
#include "fields.h"
#include "users.h"

/* Start a command on a channel, for EXEC, TERMINAL or START, or fail it. */
void exec_open(struct channel *channel, const struct wire_message *message);

/* The same once its user is known. */
void exec_start(struct channel *channel, const struct wire_message *message, const struct identity *identity);

#endif
