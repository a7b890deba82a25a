/* Everything that runs for a channel: a child of PID 1 or a socket, its pipes, its deadline. Also what outlives its channel.
 *
 * PID 1's only children are tasks: any other child that appears is a stray.
 */
#ifndef FUMEHOOD_TASK_H
#define FUMEHOOD_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "files.h"
#include "flow.h"
#include "loop.h"
#include "users.h"

struct channel;
struct managed;
struct task;

/* What a kind of task does when something happens to it. */
struct task_kind {
	void (*reported)(struct task *task);           /* the report pipe has something, or is over */
	void (*reaped)(struct task *task, int status); /* the child has ended; task->pid is 0 */
	void (*due)(struct task *task, uint64_t now);  /* task->deadline has passed */
	void (*cancel)(struct task *task);             /* CANCEL, or the channel is going: it is still set */
	void (*flowed)(struct task *task);             /* output has moved or ended, or input is taken no more */
	void (*input_ended)(struct task *task);        /* all input was written, and EOF came */
	bool runs_command;                             /* its deadline is a command's: it stands still when that does */
	void (*resumed)(struct task *task);            /* credit has come, or room; NULL for one that has only its flows */
};

/* A command's own state; exec.c says what it means. */
struct command {
	uint32_t cause;            /* EXEC_TIMED_OUT or EXEC_CANCELLED: why we killed it; 0 */
	bool ended;                /* the leader has */
	bool survivors;            /* and processes of its tree had not */
	bool settled;              /* `until` of the flows is fixed */
	int ends[2];               /* our copies of the output's write ends, -1 once it has ended: see exec.c */
	bool lost;                 /* its reaper died under it */
	bool terminal;             /* it has one instead of pipes */
	int status;                /* of the leader, as wait(2) gives it */
	uint64_t ended_at;
	uint64_t oom_kills;        /* the cgroup's counter when it began */
	uint32_t left_running;
	struct managed *managed;   /* what is remembered of it; NULL: an exec, which answers on its channel */
	bool stopping;             /* it was asked to end: until the deadline, its tree may do so by itself */
	/* tree.c's: */
	bool killing;
	uint32_t killed;
	uint32_t rounds;
	uint64_t kill_began, next_round;
};

/* A file operation's. */
struct transfer {
	int commit;                /* write: where the 'C' goes; -1 */
	bool reported, aborted;
	uint64_t moved;            /* bytes at the time when the deadline was set */
	struct helper_report report;
};

/* A channel's that has to do with a managed process: reader.c's or writer.c's. It has no child. */
struct attachment {
	struct managed *managed;   /* NULL: all of them */
	struct task *next;         /* of the same process */
	uint64_t at, until;        /* a log's offsets: the next byte, the last one; of a list, the last id told */
	uint64_t count;            /* entries told */
	bool placed;               /* the client knows `at` */
	bool at_end;               /* nothing before the process has ended */
	bool connected, close;     /* a writer's: it has the pipe; nothing may be written behind it */
};

/* A socket's: of ports.c until it is connected, then of stream.c. */
struct socket_state {
	uint16_t port;
	uint32_t tries;            /* addresses that have been tried */
	int err_no;                /* of the first of them */
	uint64_t pause;            /* before the next look */
	uint64_t until;            /* when to give up */
	bool output_ended;         /* STDOUT_END was sent */
};

/* A user's look-up: the identity as far as it has come, and the OPEN that waits for it. */
struct lookup {
	uint32_t have;
	struct { uint32_t error; struct identity identity; } answer;
	uint32_t body_length;
	uint8_t body[];
};

struct task {
	const struct task_kind *kind; /* NULL: a free slot */
	pid_t pid;                 /* 0: reaped, or there never was one */
	struct channel *channel;   /* NULL: nobody waits for it */
	/* The report pipe, or the link with a reaper; a socket's: itself, while it is being connected. */
	struct source report;
	struct flow out, err;
	struct source way;         /* where the terminal comes from; closed: there is none, or it has come */
	int terminal;              /* the command's side of its terminal, held open; -1 */
	uint64_t started, deadline;
	uint64_t held;             /* what was left of the deadline when commands were paused; NEVER */
	union {
		struct command command;
		struct transfer transfer;
		struct attachment attachment;
		struct socket_state socket;
		struct lookup *lookup;
	};
};

/* A free slot, all closed: NULL when there is none. */
struct task *task_new(const struct task_kind *kind, struct channel *channel);
/* Everything of it is closed; its child has been reaped. */
void task_free(struct task *task);

/* Slots in use, for loops: task_at(i) for i below task_high() may be free. */
uint32_t task_high(void);
struct task *task_at(uint32_t index);
struct task *task_of_pid(pid_t pid);

/* Arm the report pipe of a task, taking over `fd`. */
bool task_open_report(struct task *task, int fd);

/* Reap what has ended. True when there may be more. */
bool tasks_reap(void);
uint64_t tasks_deadline(void);
void tasks_due(uint64_t now);

#endif
