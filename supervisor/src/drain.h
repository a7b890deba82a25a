/* The output of a managed process: from its pipe into its log, whether anybody reads there or not. A process never waits
 * for a reader, and never finds its pipe full for longer than PID 1 takes to come by. */
#ifndef FUMEHOOD_DRAIN_H
#define FUMEHOOD_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"
#include "loop.h"

struct managed;

struct drain {
	struct source source;      /* closed: there is nothing more */
	struct managed *managed;
	enum log_stream stream;
	uint64_t total;            /* bytes taken for the log */
	uint64_t until;            /* bytes still to be taken: what the pipe held when its process ended */
	bool over;                 /* what still comes is nobody's: taken and forgotten */
};

/* Start with the read end of a pipe, non-blocking, taken over. False with errno. */
bool drain_open(struct drain *drain, int fd, struct managed *managed, enum log_stream stream);
void drain_close(struct drain *drain);

/* Take no more than what is in the pipe now. */
void drain_settle(struct drain *drain);
/* Whether something of that is still to be taken. */
bool drain_pending(const struct drain *drain);
/* The process has ended and others hold its pipe: let them write. */
void drain_forget(struct drain *drain);

#endif
