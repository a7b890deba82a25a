/* The two processes of a command: its reaper, and the command itself up to its exec.
 *
 * The reaper runs as the supervisor's uid, adopts whatever the command's tree leaves behind (PR_SET_CHILD_SUBREAPER),
 * tells how the command ended, and lives until the last process of the tree is gone: its own end is the kernel's word
 * that there is none. It decides nothing.
 *
 * A reaper that is left with no child at all has the kernel's word for that too, and may serve one more command: PID 1's
 * fork and the reaper's own end are most of what a short command would otherwise cost. It keeps none of the command's ends:
 * they go to the child, past it. For its next child's sake it is permitted, with no effect of its own, the two
 * capabilities that change a uid and a gid, and the workload's; like PID 1 it is of a uid that nobody else can have.
 */
#ifndef FUMEHOOD_REAPER_H
#define FUMEHOOD_REAPER_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"
#include "users.h"

/* What comes over the link: of each command at most one failure, then one end. */
enum { REAPER_FAILED = 1, REAPER_ENDED = 2 };

enum { STEP_PROGRAM, STEP_CWD, STEP_USER, STEP_FORK, STEP_TERMINAL, STEP_SETUP };
extern const char *const reaper_steps[];

struct reaper_report {
	uint32_t kind;
	uint32_t error, err_no, step;   /* of a failure */
	uint32_t status;                /* of the command's end, as wait(2) gives it */
	uint32_t survivors;             /* whether the reaper had other children then: it serves no other command */
	uint64_t at;                    /* monotonic */
};

/* All of it lies in memory that fork copies. */
struct launch {
	const struct wire_message *message; /* the OPEN */
	const struct identity *identity;
	int in, out, err;               /* the command's ends; at a terminal each is the way to PID 1 */
	int link;                       /* the reaper's end of the link with PID 1: packets */
	int begun;                      /* closed by the exec that succeeds, after the pid was written to it; 0: nobody asks */
};

/* Both ends of a link, close-on-exec: PID 1's, non-blocking, and the reaper's. False with errno. */
bool reaper_link(int ends[2]);

/* The forked child's way, a reaper that begins with this command: never returns. */
_Noreturn void reaper_main(struct launch *launch);

/* A reaper that begins with a call. */
_Noreturn void reaper_spare(int link);

/* What is sent to a reaper that has no command: first the call to make the next command's process, one byte, then the
 * order to this process. Between the two may lie any time. The end of the link ends them both. */
bool reaper_call(int link);

/* The order: one packet with the command's three ends, this, the body of the OPEN, the identity if it is not the
 * session's. */
struct reaper_order {
	uint32_t has_identity;
	uint32_t body_length;
};
bool reaper_order(int link, const struct launch *launch);

/* The most that an order takes; a longer body is launched by a fork. */
#define REAPER_ORDER_BODY 65536

#endif
