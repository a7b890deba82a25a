/* Capability `resume`: a connection whose stream has broken waits for its client, and what was under way with it.
 *
 * Both sides count the bytes of all frames, and keep what they have sent until the other has acknowledged it. A connection
 * without a stream is parked for the grace: its channels live on, and block when the queue is full. A client that knows
 * the connection's key brings a new stream, and everything goes on at the byte where the old one ended.
 *
 * Memory, at most: what is not acknowledged, bounded by RESUME_KEEP. A client that lets more be under way than that cannot
 * come back to it.
 */
#ifndef FUMEHOOD_RESUME_H
#define FUMEHOOD_RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fields.h"
#include "wire.h"

struct connection;

/* Above this, data waits for an ACK: all that the connection's window allows, in frames of a usual size. */
#define RESUME_DATA (WIRE_CONNECTION_WINDOW + 128u * 1024)
/* Above this, the oldest bytes are forgotten: answers are never held back, as an ACK might wait behind what asks for them. */
#define RESUME_KEEP (1024u * 1024)

struct resume {
	bool granted;              /* both sides have the capability */
	uint8_t key[WIRE_RESUME_KEY_BYTES];
	uint64_t until;            /* parked: monotonic, when it is given up; NEVER while it has a stream */
	uint64_t received, told;   /* bytes from the client over all streams, and what the last ACK said of them */
	uint64_t gone;             /* bytes sent that are not kept any more: the queue begins behind them */
	size_t written;            /* bytes at the front of the queue that were written and are kept */
};

/* Grant the capability to a new connection, before anything is sent on it. False: there is no secret to be had. */
bool resume_grant(struct connection *connection);

/* Bytes have come from the client: count them, and acknowledge when it is time. */
void resume_received(struct connection *connection, size_t bytes);
/* Acknowledge what has not been: the client has asked for a sign of life. */
void resume_tell(struct connection *connection);
/* Bytes behind those already written have been written. */
void resume_written(struct connection *connection, size_t bytes);
/* The client's ACK: a VIOLATION_* or 0. */
uint32_t resume_acknowledged(struct connection *connection, const struct wire_frame *frame);

bool resume_parked(const struct connection *connection);
/* The stream has broken: keep the connection for its client. False when nothing is kept for this one. */
bool resume_park(struct connection *connection);

/* Whether a HELLO asks for an earlier connection. */
bool resume_wanted(const struct wire_message *hello);
/* Such a HELLO, on a new stream: find the connection and give it the stream. A VIOLATION_* or 0. The pointer is dead
 * afterwards, or the connection is to be closed. */
uint32_t resume_hello(struct connection *newcomer, const struct wire_message *hello);

#endif
