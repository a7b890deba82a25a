/* The fields of a payload, checked against the table. No system calls. */
#ifndef FUMEHOOD_FIELDS_H
#define FUMEHOOD_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define WIRE_TAGS 0x80

/* A payload whose fields have all been checked: they belong to its frame (an OPEN's to its operation), the
 * required ones are there, every value has the form and the range that the table gives it. It
 * points into the frame's payload and lives as long. */
struct wire_message {
	const uint8_t *payload;
	uint32_t length;
	struct wire_span {
		uint32_t at;       /* offset of the first value with this tag */
		uint32_t length;
		uint32_t count;    /* 0: absent */
	} field[WIRE_TAGS];
};

/* Check the fields of a frame whose payload is fields. Returns 0 or the first VIOLATION_* in the order that
 * PROTOCOL.md gives; *out is only to be used after 0. */
uint32_t fields_parse(const struct wire_frame *frame, struct wire_message *out);

/* The same for one record of `list` or `stat`, without its length. */
uint32_t fields_parse_record(const uint8_t *record, uint32_t length, struct wire_message *out);

bool wire_has(const struct wire_message *message, uint8_t tag);
/* How often a repeated field is there. */
uint32_t wire_count(const struct wire_message *message, uint8_t tag);
uint64_t wire_uint(const struct wire_message *message, uint8_t tag, uint64_t absent);
bool wire_flag(const struct wire_message *message, uint8_t tag);
/* A bytes or text field (the first one of a repeated field), not terminated; NULL with *length 0 when absent. An empty value is
 * a pointer that is not NULL. */
const uint8_t *wire_bytes(const struct wire_message *message, uint8_t tag, uint32_t *length);
/* Each value of a repeated field in turn: *cursor starts at 0; NULL after the last one. */
const uint8_t *wire_next(const struct wire_message *message, uint8_t tag, uint32_t *cursor,
			 uint32_t *length);

#endif
