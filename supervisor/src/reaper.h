/* The two processes of a command: its reaper, and the command itself up to its exec.
 *
 * The reaper runs as the supervisor's uid with no capability, adopts whatever the command's tree leaves behind
 * (PR_SET_CHILD_SUBREAPER), tells how the command ended, and lives until the last process of the tree is
 * gone: its own end is the kernel's word that there is none. It decides nothing.
 */
#ifndef FUMEHOOD_REAPER_H
#define FUMEHOOD_REAPER_H

#include <stdint.h>

#include "fields.h"
#include "users.h"

/* What comes over the report pipe: at most one failure, then one end. */
enum { REAPER_FAILED = 1, REAPER_ENDED = 2 };

enum { STEP_PROGRAM, STEP_CWD, STEP_USER, STEP_FORK, STEP_TERMINAL, STEP_SETUP };
extern const char *const reaper_steps[];

struct reaper_report {
	uint32_t kind;
	uint32_t error, err_no, step;   /* of a failure */
	uint32_t status;                /* of the command's end, as wait(2) gives it */
	uint32_t survivors;             /* whether the reaper had other children then */
	uint64_t at;                    /* monotonic */
};

/* All of it lies in memory that fork copies. */
struct launch {
	const struct wire_message *message; /* the OPEN */
	const struct identity *identity;
	int in, out, err;               /* the command's ends; at a terminal each is the way to PID 1 */
	int report;
};

/* The forked child's way: never returns. */
_Noreturn void reaper_main(struct launch *launch);

/* What a spare is sent over its order socket, in one packet with the command's three ends: this, the identity if
 * it is not the session's, the body of the OPEN. */
struct reaper_order {
	uint32_t has_identity;
	uint32_t body_length;
};

/* The most that a spare takes; a longer body is launched by a fork. */
#define REAPER_ORDER_BODY 65536

/* The same for a reaper whose command's process is made in advance, and waits for its order. */
_Noreturn void reaper_spare(int report, int orders);

#endif
