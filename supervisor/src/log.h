/* Which bytes of a process's output are kept, and which of them came from which stream. Where the bytes themselves
 * lie is store.h's.
 *
 * Every byte that the process has ever written has an offset, both streams together, in the order in which they were
 * taken from its pipes. Kept are the newest `capacity` of them; fewer when the streams change so often that the marks
 * of the changes run out, or when bytes could not be stored. Whatever is not kept any more is a range below `first`,
 * so it is known to the byte.
 */
#ifndef FUMEHOOD_LOG_H
#define FUMEHOOD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One mark for so many bytes of capacity: lines of this length may come from the two streams in turn. */
#define LOG_BYTES_PER_MARK 64

enum log_stream { LOG_STDOUT = 0, LOG_STDERR = 1 };

struct log {
	uint64_t first, end;       /* [first, end) is kept */
	uint32_t capacity;
	uint64_t *marks;           /* a ring: offset << 1 | stream, rising; the first one is at or below `first` */
	uint32_t start, count, room, limit;
};

/* False when memory is out. */
bool log_init(struct log *log, uint32_t capacity);
void log_free(struct log *log);

/* `n` bytes of a stream have come and are stored. */
void log_add(struct log *log, enum log_stream stream, uint64_t n);
/* `n` bytes have come and could not be stored: nothing before them is kept either, since a log has no holes. */
void log_lose(struct log *log, uint64_t n);
/* Nothing is kept any more. */
void log_drop(struct log *log);

/* How many bytes from `offset` on, which is kept, are of one stream. 0 at the end. */
uint64_t log_run(const struct log *log, uint64_t offset, enum log_stream *stream);

#endif
