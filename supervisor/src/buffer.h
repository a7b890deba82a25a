/* A bounded queue of bytes: a channel's stdin, a connection's output. No system calls.
 *
 * What is queued is one piece of memory, so one write(2) can take all of it, and a caller can read(2) straight into
 * reserved room. Memory grows as it is needed and goes when the queue is empty.
 */
#ifndef FUMEHOOD_BUFFER_H
#define FUMEHOOD_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t *data;
	size_t capacity;
	size_t start;              /* data[start … start + length) is queued */
	size_t length;
	size_t limit;
	size_t keep;
};

/* limit: the most bytes that may be queued; up to twice as much memory may be held while it moves.
 * keep: memory of at most this size is kept when the queue is empty (0: none), for a busy queue
 * that empties at every turn. */
void buffer_init(struct buffer *buffer, size_t limit, size_t keep);
void buffer_free(struct buffer *buffer);

/* How many more bytes fit. */
size_t buffer_room(const struct buffer *buffer);

/* Room for n bytes in one piece behind what is queued: NULL when it would pass the limit or memory is out.
 * What is written there is queued by buffer_commit (at most n), and forgotten without it. Any
 * other call on the buffer in between takes the room back. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t n);
void buffer_commit(struct buffer *buffer, size_t n);

/* Queue a copy: false, with nothing queued, when it does not fit. */
bool buffer_append(struct buffer *buffer, const void *bytes, size_t n);

/* Let go of memory that is more than twice what is queued and more than `keep` bytes. */
void buffer_trim(struct buffer *buffer, size_t keep);

/* Everything that is queued; NULL when nothing is. Valid until the next call that adds or takes. */
const uint8_t *buffer_peek(const struct buffer *buffer, size_t *n);
/* Take the first n bytes off; n is at most what is queued. */
void buffer_consume(struct buffer *buffer, size_t n);

#endif
