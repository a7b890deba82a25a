/* Frames: the byte layout of the tether. No system calls; tests and fuzzers compile it unchanged.
 *
 * protocol/PROTOCOL.md is the specification, wire_table.h (generated) the table. What is wrong with a
 * frame by itself is found here and in fields.h; what is wrong only in its context (a second
 * HELLO, an unknown channel, too much credit) is the connection's to find.
 */
#ifndef FUMEHOOD_WIRE_H
#define FUMEHOOD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire_table.h"

enum wire_side { SIDE_CLIENT = 1, SIDE_SUPERVISOR = 2, SIDE_BOTH = 3 };
enum wire_channel { CHANNEL_ZERO, CHANNEL_LIVE, CHANNEL_ANY };
enum wire_payload { PAYLOAD_FIELDS, PAYLOAD_BYTES, PAYLOAD_CREDIT, PAYLOAD_EMPTY };

/* One whole frame. `payload` belongs to the reader and is gone at the next call to it. A CONFIGURE or
 * OPEN that came in parts is one frame here, so its `length` may be up to WIRE_MAX_BODY. */
struct wire_frame {
	uint8_t type;
	uint32_t channel;
	const uint8_t *payload;
	uint32_t length;
};

/* What is between the stream and its frames. It holds at most one frame and what one read brought
 * after it, plus, while PART frames come in, the one body that they make. */
struct wire_reader {
	enum wire_side sender;     /* whose frames come in */
	uint32_t violation;        /* VIOLATION_*, 0 while there is none; it never goes back */
	bool exhausted;            /* out of memory: the connection cannot go on */
	bool assembling;           /* a PART came, and its CONFIGURE or OPEN has not */
	bool release_body;         /* the frame last given out was assembled */
	uint32_t body_channel;
	uint32_t body_length;
	uint32_t body_capacity;
	uint8_t *body;
	uint8_t *data;
	uint32_t start, end;       /* unread bytes of data */
};

/* Start reading frames that `sender` writes. Allocates nothing yet. */
void wire_reader_init(struct wire_reader *reader, enum wire_side sender);
void wire_reader_free(struct wire_reader *reader);

/* The hot path: read(2) straight into what wire_reader_space gives (never 0 bytes unless the reader has
 * stopped), tell how much came with wire_reader_commit, then take frames with wire_reader_next until
 * it returns 0. Returns NULL after a violation, or when memory is out (`exhausted`). */
uint8_t *wire_reader_space(struct wire_reader *reader, size_t *room);
void wire_reader_commit(struct wire_reader *reader, size_t n);

/* The next whole frame: 1 with *frame filled, 0 when more bytes are needed, -1 after a violation
 * (`violation`) or when memory is out (`exhausted`); then it stays -1 for ever. */
int wire_reader_next(struct wire_reader *reader, struct wire_frame *frame);

/* The same for bytes that are elsewhere: copies them in and calls back for each frame. A callback that
 * returns anything but 0 (a VIOLATION_*) stops the reader with it. Returns the reader's violation;
 * check `exhausted` when it is 0. */
typedef uint32_t (*wire_callback)(void *context, const struct wire_frame *frame);
uint32_t wire_reader_feed(struct wire_reader *reader, const uint8_t *data, size_t n,
			  wire_callback callback, void *context);

/* The bytes of a CREDIT frame; the reader has refused 0 already. */
uint32_t wire_credit(const struct wire_frame *frame);

/* Builds frames in memory of the caller's. Nothing is written past `capacity`: once something does not
 * fit (or a payload passes WIRE_MAX_PAYLOAD) `failed` stays set and nothing more is added, so it
 * is checked once, at the end. */
struct wire_writer {
	uint8_t *data;
	size_t capacity;
	size_t length;
	size_t frame;              /* where the open frame or record began */
	bool failed;
};

void wire_writer_init(struct wire_writer *writer, uint8_t *data, size_t capacity);
void wire_begin(struct wire_writer *writer, uint8_t type, uint32_t channel);
void wire_put_uint(struct wire_writer *writer, uint8_t tag, uint64_t value);
void wire_put_bytes(struct wire_writer *writer, uint8_t tag, const void *value, size_t length);
/* Any bytes as a legal text: what is not UTF-8, and every control character, becomes '?'; cut to
 * WIRE_MAX_TEXT bytes between characters. */
void wire_put_text(struct wire_writer *writer, uint8_t tag, const void *value, size_t length);
void wire_end(struct wire_writer *writer);

/* Whole frames without fields. */
void wire_put_frame(struct wire_writer *writer, uint8_t type, uint32_t channel, const void *payload,
		    size_t length);
void wire_put_credit(struct wire_writer *writer, uint32_t channel, uint32_t bytes);

/* A record of `list` and `stat`: a u32 length and fields, put with the functions above. */
void wire_begin_record(struct wire_writer *writer);
void wire_end_record(struct wire_writer *writer);

/* The 8 bytes before a payload, for data that is written from where it is. */
void wire_header(uint8_t out[WIRE_HEADER_BYTES], uint8_t type, uint32_t length, uint32_t channel);

/* Whether these bytes are a legal text (length included). */
bool wire_text_valid(const uint8_t *text, size_t length);

uint32_t wire_load32(const uint8_t *bytes);
uint64_t wire_load64(const uint8_t *bytes);
void wire_store32(uint8_t *bytes, uint32_t value);
void wire_store64(uint8_t *bytes, uint64_t value);

/* "bad_frame" …; "none" for 0, "unknown" for what the table lacks. */
const char *wire_violation_name(uint32_t violation);

#endif
