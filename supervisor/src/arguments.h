/* A program's argv and environment, and the search for it. In the command's own process, after fork. */
#ifndef FUMEHOOD_ARGUMENTS_H
#define FUMEHOOD_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"
#include "users.h"

struct arguments {
	char **argv;               /* an empty one: the shell of whoever runs it */
	const char *shell;         /* as the user database has it; empty for none */
	char **envp;
	const char *path;          /* $PATH of the command itself */
	uint32_t error;            /* ERROR_*, after arguments_exec came back */
};

/* Whether an OPEN's arguments, environment, directory can be handed to a program at all: 0 or an ERROR_*. In PID 1. */
uint32_t arguments_check(const struct wire_message *message);

/* Session's environment, then the command's own, the last one of a name wins; then HOME and PATH, and TERM at a terminal, if
 * they are missing. False when memory is out. */
bool arguments_make(struct arguments *arguments, const struct wire_message *message,
		    const struct identity *identity);

/* execve, with the search of $PATH. Comes back with errno and `error` set. */
void arguments_exec(struct arguments *arguments);

/* A terminated copy of a path whose length is at most WIRE_MAX_PATH (checked before). */
void arguments_path(char *out, const uint8_t *path, uint32_t length);

#endif
