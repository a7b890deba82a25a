/* Managed processes: commands that outlive the channel and the client that started them, with a log of their output. What
 * makes and ends them is exec.c, as for every command; here is what is remembered of them.
 *
 * Fixed table. Memory, at most: for each that runs, the bytes that its client asked for as its log (store.h says where)
 * and an eighth of that for the marks; for those that have ended, WIRE_KEPT_LOG_BYTES together, or a small part of the
 * container's memory if that is less, and the newest one's log in any case.
 */
#ifndef FUMEHOOD_MANAGED_H
#define FUMEHOOD_MANAGED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "channel.h"
#include "drain.h"
#include "fields.h"
#include "log.h"
#include "outcome.h"

/* What is kept of an argv, for those who did not start it. */
#define MANAGED_ARGV_BYTES 1024
#define MANAGED_ARGV_COUNT 64

struct task;

struct managed {
	uint64_t id;               /* from 1, never used again; 0: a free slot */
	struct task *task;         /* its command; NULL: nothing of it is alive */
	bool known;                /* its start was answered: it is listed */
	bool finished;             /* it has ended and all its output is in the log: `outcome` holds */
	char name[WIRE_MAX_PROCESS_NAME + 1];
	uint8_t *argv;             /* terminated strings, one after the other */
	uint32_t argv_bytes;
	bool argv_cut;
	pid_t pid;
	uint64_t started_ns, ended_ns; /* wall clock, for people: nothing depends on it */
	uint64_t ended_as;         /* the how-manieth that has ended */
	struct outcome outcome;
	struct log log;
	int store;                 /* the log's bytes; -1: dropped */
	struct drain out, err;
	struct source begun;       /* its pid comes, and the end when its program has begun */
	int input;                 /* the write end of its stdin; -1: closed */
	struct task *readers, *writers; /* attached channels; of the writers the first one writes */
};

/* A record for an OPEN that starts one, or 0 and an ERROR_*. */
struct managed *managed_new(const struct wire_message *message, uint32_t *error);
/* Hand over PID 1's ends, in: -1 for none. False with errno, and what was not taken over is still the caller's. */
bool managed_connect(struct managed *managed, struct task *task, int ends[4]);
enum { MANAGED_OUT, MANAGED_ERR, MANAGED_BEGUN, MANAGED_IN };
/* It never came to be. */
void managed_discard(struct managed *managed);

/* Called by exec.c when its command is over: false while something is still to be done before that can be told. */
bool managed_finish(struct managed *managed);
/* Nothing of its tree is alive any more. */
void managed_gone(struct managed *managed);
/* Called by its drains. */
void managed_moved(struct managed *managed);

/* NULL: there is none. */
struct managed *managed_find(uint64_t id);
/* The first one behind this id. */
struct managed *managed_after(uint64_t id);
/* The task of an attached channel goes. */
void managed_detach(struct task **list, struct task *task);

/* The operations on those that exist. */
void managed_request(struct channel *channel, const struct wire_message *message);

#endif
