/* Output on its way: from a process's pipe, or a socket, into frames of a channel, or, beyond the cap and for
 * nobody, into /dev/null, counted. */
#ifndef FUMEHOOD_FLOW_H
#define FUMEHOOD_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

struct channel;
struct task;

/* No bound on what is still to be taken. */
#define UNBOUNDED UINT64_MAX

struct flow {
	struct source source;      /* closed: there is nothing more */
	int err_no;                /* what ended it; 0: its end */
	struct task *task;         /* told of every change */
	struct channel *channel;   /* NULL: everything is discarded */
	uint8_t frame;             /* FRAME_STDOUT or FRAME_STDERR */
	bool blocked;              /* waits for credit or for room, not armed */
	bool grown, rests;         /* it carries a stream: its pipe was to grow, and did */
	bool terminal;             /* the source is the master of a terminal, not a pipe */
	uint64_t limit;            /* bytes that may still be sent; the rest is counted and dropped */
	uint64_t until;            /* bytes still to be taken: what the pipe held when its command ended */
	uint64_t total;            /* bytes taken */
	uint64_t rests_until;      /* not armed until then, so that the pipe fills; NEVER */
};

/* Start with the read end of a pipe, non-blocking. False with errno. */
bool flow_open(struct flow *flow, int fd, struct task *task, struct channel *channel, uint8_t frame,
	       uint64_t limit);
void flow_close(struct flow *flow);

/* Credit has come, or room in the connection's queue. */
void flow_resume(struct flow *flow);

/* The end of a rest that is over. */
void flow_due(struct flow *flow, uint64_t now);

/* Nothing of this is wanted by anybody any more: go on taking it, so that the writer lives on. */
void flow_discard(struct flow *flow);

/* Take no more than what is in the pipe now. */
void flow_settle(struct flow *flow);
/* Whether something that was asked for is still to be taken. */
bool flow_pending(const struct flow *flow);

#endif
