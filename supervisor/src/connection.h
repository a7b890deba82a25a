/* One client: its frames in, its frames out. What comes in is dispatch.c's to judge.
 *
 * Memory, at most: a frame's reader (one frame and what a read brought after it), one body in parts
 * (WIRE_MAX_BODY), and a queue of output that is bounded by QUEUE_LIMIT (and RESUME_KEEP, where what has been written is
 * kept); all of it only while it is in use.
 */
#ifndef FUMEHOOD_CONNECTION_H
#define FUMEHOOD_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "loop.h"
#include "resume.h"
#include "wire.h"

enum connection_state {
	CONNECTION_FREE,
	CONNECTION_HELLO,          /* nothing but HELLO may come */
	CONNECTION_CONFIGURE,      /* the first connection, greeted */
	CONNECTION_PREPARING,      /* its configuration is being carried out: nothing is read */
	CONNECTION_OPEN,
	CONNECTION_STATES,
};

struct connection {
	enum connection_state state;
	uint32_t number;           /* 1: the one that began on the container's own stdin and stdout */
	bool stdio;                /* they are its stream */
	bool doomed;               /* to be closed at the end of the turn */
	bool lost;                 /* its stream has broken: at the end of the turn it is parked or closed */
	bool pending;              /* frames are waiting in the reader */
	bool paused;               /* reading waits for room in the queue */
	bool wide;                 /* its pipes have been widened for a stream */
	bool holds_pause;          /* commands stand still for its sake */
	struct source in, out;
	struct wire_reader reader;
	struct buffer queue;
	uint32_t window;           /* bytes of output that may still be sent */
	uint32_t highest;          /* channel number */
	uint32_t served;           /* where the next round over the channels begins */
	uint64_t rests_until;      /* not armed for output until then, so that the pipe empties; NEVER */
	uint64_t heard;            /* monotonic: the last byte from it */
	struct resume resume;
};

/* The container's own stdin and stdout become connection 1. */
void connection_first(void);
/* One more, for a relay. Both descriptors are taken over, or closed when there are too many. */
void connection_new(int in_fd, int out_fd);
/* Those that have a stream. */
uint32_t connection_count(void);
/* For loops over all WIRE_MAX_CONNECTIONS slots: it may be free. */
struct connection *connection_at(uint32_t index);

/* Queue whole frames. A connection that cannot hold them is dropped. */
void connection_send(struct connection *connection, const struct wire_writer *frames);
/* Room in the queue for one data frame: NULL when there is none (the connection is then dropped). */
uint8_t *connection_reserve(struct connection *connection, size_t bytes);
/* Output bytes that may be sent now. */
uint32_t connection_credit(const struct connection *connection);
/* `bytes` of the reserved room are used, `data` of them count against the window; the next round begins at `next`. */
void connection_spend(struct connection *connection, size_t bytes, uint32_t data, uint32_t next);
/* The client has consumed so much output: a VIOLATION_* or 0. */
uint32_t connection_return_credit(struct connection *connection, uint32_t bytes);
/* Write what `out` takes now; every turn does that. */
void connection_flush(struct connection *connection);
/* It carries a stream from now on: let its pipes hold more, until no channel is left. */
void connection_widen(struct connection *connection);
/* Close it at the end of the turn. */
void connection_drop(struct connection *connection);
/* The same because its stream has broken: it is parked instead, where that was agreed. */
void connection_lose(struct connection *connection);

/* Bytes of the queue that are still to be written. */
size_t connection_unwritten(const struct connection *connection);
/* Whether data waits: for the stream, or for an ACK. */
bool connection_full(const struct connection *connection);
/* Close the stream and nothing else. */
void connection_leave_stream(struct connection *connection);
/* Go on with the stream of another one, which is gone then. */
void connection_take_stream(struct connection *connection, struct connection *other);

/* Once a turn: frames that wait in readers, then output, then what is to be closed. True when some still wait. */
bool connections_turn(void);
/* A long gap in which PID 1 did not run: nobody could be heard. */
void connections_excuse(uint64_t now);
uint64_t connections_deadline(void);
void connections_due(uint64_t now);

#endif
