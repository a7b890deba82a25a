#define _GNU_SOURCE
#include "arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

/* What a program finds when nobody says otherwise: the same as Docker's. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* Which terminal it is when nobody says: what every terminal program of today understands. */
#define DEFAULT_TERM "xterm-256color"

static bool has_nul(const uint8_t *value, uint32_t length)
{
	return memchr(value, 0, length) != NULL;
}

static bool is_terminal(const struct wire_message *message)
{
	return wire_uint(message, FIELD_OPERATION, 0) == OPERATION_TERMINAL;
}

uint32_t arguments_check(const struct wire_message *message)
{
	const uint8_t *value;
	uint32_t length, cursor = 0;

	value = wire_bytes(message, FIELD_ARGUMENT, &length);
	if (value ? length == 0 : !is_terminal(message))
		return ERROR_INVALID;
	while ((value = wire_next(message, FIELD_ARGUMENT, &cursor, &length)))
		if (has_nul(value, length))
			return ERROR_INVALID;
	cursor = 0;
	while ((value = wire_next(message, FIELD_ENV, &cursor, &length)))
		if (has_nul(value, length) || length == 0 || value[0] == '=' || !memchr(value, '=', length))
			return ERROR_INVALID;
	value = wire_bytes(message, FIELD_CWD, &length);
	if (!value || length == 0 || has_nul(value, length))
		return ERROR_INVALID;
	return length > WIRE_MAX_PATH ? ERROR_NAME_TOO_LONG : 0;
}

void arguments_path(char *out, const uint8_t *path, uint32_t length)
{
	memcpy(out, path, length);
	out[length] = '\0';
}

/* --- the environment ------------------------------------------------------------------------------------- */

/* Variables by name: an open table, since a caller may send tens of thousands of them. */
struct names {
	char **variables;
	uint32_t count;
	uint32_t *slots;           /* index + 1 of a variable; 0: empty */
	uint32_t mask;
};

static uint32_t hash_name(const char *variable)
{
	uint32_t hash = 2166136261u;

	for (; *variable && *variable != '='; variable++)
		hash = (hash ^ (uint8_t)*variable) * 16777619u;
	return hash;
}

static bool same_name(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		if (*a == '=')
			return true;
	return false;
}

static void set_variable(struct names *names, char *variable, bool replace)
{
	uint32_t slot = hash_name(variable) & names->mask;

	for (; names->slots[slot]; slot = (slot + 1) & names->mask) {
		char **found = &names->variables[names->slots[slot] - 1];

		if (same_name(*found, variable)) {
			if (replace)
				*found = variable;
			return;
		}
	}
	names->variables[names->count++] = variable;
	names->slots[slot] = names->count;
}

static bool names_init(struct names *names, uint32_t most)
{
	uint32_t slots = 16;

	while (slots < 2 * most)
		slots *= 2;
	names->count = 0;
	names->mask = slots - 1;
	names->slots = calloc(slots, sizeof(*names->slots));
	names->variables = calloc((size_t)most + 1, sizeof(*names->variables));
	return names->slots && names->variables;
}

static char *copy_value(char **arena, const uint8_t *value, uint32_t length)
{
	char *copy = *arena;

	memcpy(copy, value, length);
	copy[length] = '\0';
	*arena += length + 1;
	return copy;
}

static bool make_environment(struct arguments *arguments, const struct wire_message *message,
			     const struct identity *identity, char **arena)
{
	static char path[] = "PATH=" DEFAULT_PATH, term[] = "TERM=" DEFAULT_TERM;
	static char home[5 + sizeof(identity->home)];
	struct names names;
	const uint8_t *value;
	uint32_t length, cursor = 0;
	char *inherited = session.environment;

	if (!names_init(&names, session.env_count + wire_count(message, FIELD_ENV) + 3))
		return false;
	for (uint32_t i = 0; i < session.env_count; i++, inherited += strlen(inherited) + 1)
		set_variable(&names, inherited, true);
	while ((value = wire_next(message, FIELD_ENV, &cursor, &length)))
		set_variable(&names, copy_value(arena, value, length), true);
	snprintf(home, sizeof(home), "HOME=%s", identity->home[0] ? identity->home : "/");
	set_variable(&names, home, false);
	set_variable(&names, path, false);
	if (is_terminal(message))
		set_variable(&names, term, false);
	arguments->envp = names.variables;
	arguments->path = DEFAULT_PATH;
	for (uint32_t i = 0; i < names.count; i++)
		if (strncmp(names.variables[i], "PATH=", 5) == 0)
			arguments->path = names.variables[i] + 5;
	return true;
}

bool arguments_make(struct arguments *arguments, const struct wire_message *message,
		    const struct identity *identity)
{
	const uint8_t *value;
	uint32_t length, cursor = 0, count = 0;
	/* Each value has four bytes before it on the wire, which is more than the one it needs behind it here. */
	char *arena = malloc(message->length);

	arguments->argv = calloc((size_t)wire_count(message, FIELD_ARGUMENT) + 1, sizeof(*arguments->argv));
	if (!arena || !arguments->argv)
		return false;
	while ((value = wire_next(message, FIELD_ARGUMENT, &cursor, &length)))
		arguments->argv[count++] = copy_value(&arena, value, length);
	arguments->shell = identity->shell;
	return make_environment(arguments, message, identity, &arena);
}

/* --- the program ----------------------------------------------------------------------------------------- */

/* The path was looked at by execve, which answers ENOENT also for an interpreter that is missing. */
static uint32_t exec_error(int err_no, const char *path)
{
	switch (err_no) {
	case ENOENT:
		return faccessat(AT_FDCWD, path, F_OK, 0) == 0 ? ERROR_PROGRAM_NOT_EXECUTABLE
							       : ERROR_PROGRAM_NOT_FOUND;
	case ENOTDIR:
	case ENAMETOOLONG:
		return ERROR_PROGRAM_NOT_FOUND;
	case E2BIG:
		return ERROR_ARGUMENT_TOO_LONG;
	case ENOMEM:
		return ERROR_OUT_OF_MEMORY;
	case EAGAIN:
		return ERROR_PROCESS_LIMIT;
	case EIO:
		return ERROR_IO;
	default:
		return ERROR_PROGRAM_NOT_EXECUTABLE;
	}
}

static void exec_path(struct arguments *arguments, const char *path)
{
	execve(path, arguments->argv, arguments->envp);
	arguments->error = exec_error(errno, path);
}

/* As a shell searches: a file that cannot be run is passed over, and remembered if nothing better is found. */
static void exec_search(struct arguments *arguments, const char *program)
{
	char path[WIRE_MAX_PATH + 1];
	uint32_t error = ERROR_PROGRAM_NOT_FOUND;
	int err_no = ENOENT;

	for (const char *at = arguments->path;; at++) {
		const char *end = strchrnul(at, ':');
		int length = snprintf(path, sizeof(path), "%.*s%s%s", (int)(end - at), at, end > at ? "/" : "",
				      program);

		if (length > 0 && (size_t)length < sizeof(path)) {
			exec_path(arguments, path);
			if (arguments->error != ERROR_PROGRAM_NOT_FOUND) {
				error = arguments->error;
				err_no = errno;
			}
			if (error != ERROR_PROGRAM_NOT_FOUND && error != ERROR_PROGRAM_NOT_EXECUTABLE)
				break;
		}
		if (!*end)
			break;
		at = end;
	}
	arguments->error = error;
	errno = err_no;
}

/* Not for people: an account that has one of these as its shell has none. */
static bool is_no_shell(const char *shell)
{
	const char *name = strrchr(shell, '/');

	return !name || strcmp(name, "/nologin") == 0 || strcmp(name, "/false") == 0;
}

/* The user's own, or the first of the usual ones that there is. */
static void exec_shell(struct arguments *arguments)
{
	const char *shells[] = {arguments->shell, "/bin/bash", "/bin/sh"};
	static char *argv[2];

	arguments->argv = argv;
	for (size_t i = is_no_shell(shells[0]); i < sizeof(shells) / sizeof(shells[0]); i++) {
		argv[0] = (char *)(uintptr_t)shells[i]; /* execve changes nothing */
		exec_path(arguments, shells[i]);
		if (arguments->error != ERROR_PROGRAM_NOT_FOUND)
			return;
	}
}

void arguments_exec(struct arguments *arguments)
{
	const char *program = arguments->argv[0];

	if (!program)
		exec_shell(arguments);
	else if (strchr(program, '/'))
		exec_path(arguments, program);
	else
		exec_search(arguments, program);
}
