/* What PID 1 knows about the session that it holds: one per process. */
#ifndef FUMEHOOD_SESSION_H
#define FUMEHOOD_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "users.h"
#include "wire_table.h"

struct session {
	uint64_t started;          /* boot time */
	bool configured;           /* a CONFIGURE came: a second one is bad_state */
	bool ready;                /* and was carried out */

	uint8_t nonce[WIRE_NONCE_BYTES];
	bool nonce_set;

	/* Opened before any workload ran. */
	int null_fd;               /* /dev/null */
	int proc_fd;               /* /proc */
	int root_fd;               /* / */
	int pts_fd;                /* /dev/pts; -1 where there is none */
	int workspace_fd;          /* -1 until ready */

	char user_spec[WIRE_MAX_TEXT + 1];
	struct identity user;
	char workdir[WIRE_MAX_PATH + 1];
	char *environment;         /* env_count terminated strings, one after the other */
	uint32_t env_count;
	size_t env_bytes;          /* all of them, with what terminates them */
	uint32_t caps;             /* of the workload, as a mask */
	uint64_t max_file_bytes;
	uint64_t max_processes;
	uint64_t process_limit;    /* of the container, by the kernel's word */
	bool chown_workspace, write_hosts;
	uint8_t metadata[WIRE_MAX_METADATA]; /* its creator's notes, for later connections */
	uint32_t metadata_length;
	struct rlimit open_files;  /* what a child gets */
};

extern struct session session;

/* Ask for the end with END_*; the loop carries it out at the end of this turn. The first reason holds. */
void session_end(uint32_t reason);
/* The same with something to say about it. */
void session_end_saying(uint32_t reason, const char *message);
/* The same when the configuration cannot be carried out: error and message go with the END. */
void session_fail(uint32_t error, int err_no, const char *message);
bool session_ending(void);

/* Kill everything, tell every connection, exit with 64 + reason. */
_Noreturn void session_finish(void);

#endif
