/* One conversation: its windows, its input, and its one last frame.
 *
 * Fixed table. A channel's memory is the table's, and up to one channel window of input that its process has not
 * read (grown when needed, freed when empty).
 */
#ifndef FUMEHOOD_CHANNEL_H
#define FUMEHOOD_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "fields.h"
#include "loop.h"
#include "wire.h"

struct connection;
struct task;

struct channel {
	struct connection *connection; /* NULL: a free slot */
	uint32_t id;
	enum operation operation;
	uint32_t output_window;    /* bytes of STDOUT and STDERR that may still be sent */
	uint32_t input_window;     /* bytes of STDIN that may still come */
	uint32_t input_owed;       /* bytes consumed and not yet returned as credit */
	uint64_t input_moved;      /* bytes consumed in all */
	bool input_open;           /* STDIN and EOF may come */
	bool input_ended;          /* EOF came */
	bool input_broken;         /* nobody will read what comes */
	bool input_grown;          /* it carries a stream: its pipe was to be widened */
	bool cancelled;            /* CANCEL came */
	uint16_t rows, columns;    /* of its terminal */
	struct source input;       /* the write end of the process's stdin, once it has one */
	struct buffer queue;
	struct task *task;
};

/* Handle an OPEN: start the operation or refuse it with FAIL. Returns a VIOLATION_* or 0. */
uint32_t channel_open(struct connection *connection, uint32_t id, const struct wire_frame *frame);
struct channel *channel_find(const struct connection *connection, uint32_t id);
/* Those that are activity: a `listen` is none. */
uint32_t channel_count(void);

/* Frames of the client for a live channel: each a VIOLATION_* or 0. */
uint32_t channel_stdin(struct channel *channel, const uint8_t *data, uint32_t length);
uint32_t channel_eof(struct channel *channel);
uint32_t channel_cancel(struct channel *channel);
uint32_t channel_resize(struct channel *channel, const struct wire_frame *frame);
uint32_t channel_return_credit(struct channel *channel, uint32_t bytes);

/* Give the input a pipe to go to (taken over, non-blocking). False with errno. */
bool channel_connect_input(struct channel *channel, int fd);
/* Nobody will read what still comes: it counts as consumed. */
void channel_disconnect_input(struct channel *channel);

/* How many bytes of output may be sent now, by every window and by the queue's room. */
uint32_t channel_credit(const struct channel *channel);
/* Send `length` bytes that lie behind WIRE_HEADER_BYTES of room that connection_reserve gave. */
void channel_spend(struct channel *channel, uint8_t frame, uint8_t *room, uint32_t length);

/* The last frame, which ends the channel: the pointer is dead afterwards. `send` takes a finished EXIT or
 * DONE; `fail` makes the FAIL. size: UINT64_MAX for none. */
void channel_end(struct channel *channel, const struct wire_writer *last);
void channel_fail(struct channel *channel, uint32_t error, uint32_t err_no, const char *step, uint64_t size);

/* The FAIL of an operation that never became a channel; `step` says what could not be. */
void channel_refuse(struct connection *connection, uint32_t id, uint32_t error, const char *step);

/* The connection is gone: cancel everything that it had under way. */
void channels_abandon(const struct connection *connection);
/* Let flows that wait on the connection try again, fairly. */
void channels_resume(struct connection *connection);

#endif
