/* Trees as a stream of packed records: PROTOCOL.md has their form. Blocking pipes; memory is one buffer each way. */
#ifndef FUMEHOOD_PACKED_H
#define FUMEHOOD_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire_table.h"

#define PACKED_HEADER 24
#define PACKED_BUFFER (256u << 10)
/* A record's type: one of FILE_TYPE_*, or these. */
#define PACKED_END 0x10
#define PACKED_FAILED 0x11         /* `mode` is an ERROR_*, `size` an errno */
/* A record's flags. */
#define PACKED_CHECKED 1           /* the file's end has a checksum; of a request: it is asked for */
/* The length of a piece that is none: the file cannot be finished, and an ERROR_* follows. */
#define PACKED_BROKEN UINT32_MAX

struct packed_record {
	uint8_t type, flags;
	uint16_t mode;
	uint64_t modified_ns, size;
	char path[WIRE_MAX_PATH + 1], link[WIRE_MAX_PATH + 1];
};

struct packed_reader {
	int fd;
	int err_no;                /* why there is nothing more; EPIPE: it ended too early, EBADMSG: no record */
	size_t start, end;
	uint8_t bytes[PACKED_BUFFER];
};

struct packed_writer {
	int fd;
	int err_no;
	size_t length;
	uint8_t bytes[PACKED_BUFFER];
};

/* The next record, its names terminated. False: err_no says why not. */
bool packed_read(struct packed_reader *reader, struct packed_record *record);
/* A number of four bytes. What follows it is `left` in the pipe if it is there still, to be spliced. */
bool packed_read_number(struct packed_reader *reader, uint32_t *number, bool left);
/* Some of what comes, at least one byte and at most n, good until the next call; NULL: err_no. */
const uint8_t *packed_read_some(struct packed_reader *reader, size_t n, size_t *got);
/* Whether something can be read without waiting for it. */
bool packed_has(const struct packed_reader *reader);
/* Take up to n bytes that are not in the buffer straight from the pipe into a file; as splice(2). */
ssize_t packed_splice(struct packed_reader *reader, int to, size_t n);

/* Each is false once the pipe is gone (err_no). Nothing is sent before the buffer is full or it is flushed. */
bool packed_write(struct packed_writer *writer, const struct packed_record *record);
bool packed_write_number(struct packed_writer *writer, uint32_t number);
/* A piece of n bytes straight from a file. 1; 0: the file has ended before, or failed (errno, 0 for its end), and what was
 * missing of the piece are zeros; -1: err_no. */
int packed_splice_piece(struct packed_writer *writer, int from, uint32_t n, uint64_t *moved);
/* Room for a piece of at most n bytes, to be filled and told of with packed_piece; NULL: err_no. */
uint8_t *packed_room(struct packed_writer *writer, size_t n);
void packed_piece(struct packed_writer *writer, size_t n);
bool packed_flush(struct packed_writer *writer);

#endif
