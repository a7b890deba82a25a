#define _GNU_SOURCE
#include "fields.h"

#include <string.h>

enum kind { KIND_NONE, KIND_UINT, KIND_FLAG, KIND_TEXT, KIND_BYTES };

struct field_rule {
	uint8_t kind;
	bool repeated;
};

static const struct field_rule rules[WIRE_TAGS] = {
#define X(name, kind, repeated) [FIELD_##name] = { kind, repeated },
	WIRE_FIELDS(X)
#undef X
};

/* One line of the table: a frame, an operation or a record may, or must, hold a field. */
struct use {
	uint8_t group, tag;
	bool required;
};

static const struct use frame_uses[] = {
#define X(frame, field, required) { FRAME_##frame, FIELD_##field, required },
	WIRE_FRAME_FIELDS(X)
#undef X
};

static const struct use operation_uses[] = {
#define X(operation, field, required) { OPERATION_##operation, FIELD_##field, required },
	WIRE_OPERATION_FIELDS(X)
#undef X
};

/* The records of `list` and `stat`; others are never read here. */
enum { RECORD_ENTRY, RECORD_EVENT };
static const struct use record_uses[] = {
#define X(record, field, required) { RECORD_##record, FIELD_##field, required },
	WIRE_RECORD_FIELDS(X)
#undef X
};

/* Codes are below 64 (the generator checks it), so a set of them is one word. */
static const struct {
	uint8_t tag;
	uint64_t codes;
} field_codes[] = {
#define X(field, codes) { FIELD_##field, codes },
	WIRE_FIELD_VALUES(X)
#undef X
};

static const struct {
	uint8_t frame, tag;
	uint64_t codes;
} frame_codes[] = {
#define X(frame, field, codes) { FRAME_##frame, FIELD_##field, codes },
	WIRE_FRAME_VALUES(X)
#undef X
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t known_operations = 0
#define X(name, input, output) | 1ull << OPERATION_##name
	WIRE_OPERATIONS(X)
#undef X
	;

/* Which tags belong and which of them must be there. */
struct sets {
	bool allowed[WIRE_TAGS], required[WIRE_TAGS];
};

static void add_uses(struct sets *sets, const struct use *uses, size_t n, uint8_t group)
{
	for (size_t i = 0; i < n; i++) {
		if (uses[i].group == group) {
			sets->allowed[uses[i].tag] = true;
			sets->required[uses[i].tag] |= uses[i].required;
		}
	}
}

/* An OPEN's operation, which says what else belongs: it is looked for before anything is checked, since the
 * tags before it depend on it too. */
static uint32_t find_operation(const uint8_t *payload, uint32_t length, uint8_t *operation)
{
	uint32_t at = 0;

	while (length - at >= 4) {
		uint32_t word = wire_load32(payload + at);
		uint32_t size = word & 0xffffff;

		at += 4;
		if (size > length - at)
			break;
		if (word >> 24 == FIELD_OPERATION && size == 8) {
			uint64_t code = wire_load64(payload + at);

			if (code >= 64 || (known_operations >> code & 1) == 0)
				return VIOLATION_BAD_VALUE;
			*operation = (uint8_t)code;
			return 0;
		}
		at += size;
	}
	return VIOLATION_FIELD_MISSING;
}

static uint32_t check_value(uint8_t kind, const uint8_t *value, uint32_t length)
{
	switch (kind) {
	case KIND_UINT:
	case KIND_FLAG:
		if (length != 8)
			return VIOLATION_FIELD_LENGTH;
		if (kind == KIND_FLAG && wire_load64(value) > 1)
			return VIOLATION_BAD_VALUE;
		return 0;
	case KIND_TEXT:
		return wire_text_valid(value, length) ? 0 : VIOLATION_BAD_TEXT;
	default:
		return 0;
	}
}

/* Walk the fields from the front. Nothing is read beyond `length` whatever the bytes say. */
static uint32_t scan(const uint8_t *payload, uint32_t length, const struct sets *sets,
		     struct wire_message *out)
{
	uint32_t at = 0;
	uint8_t last = 0;

	while (at < length) {
		uint32_t word, size, violation;
		struct wire_span *span;
		uint8_t tag;

		if (length - at < 4)
			return VIOLATION_FIELD_LENGTH;
		word = wire_load32(payload + at);
		tag = (uint8_t)(word >> 24);
		size = word & 0xffffff;
		at += 4;
		if (size > length - at)
			return VIOLATION_FIELD_LENGTH;
		if (tag < last)
			return VIOLATION_FIELD_ORDER;
		last = tag;
		if (tag < WIRE_TAGS) {
			if (!sets->allowed[tag])
				return VIOLATION_BAD_FIELD;
			violation = check_value(rules[tag].kind, payload + at, size);
			if (violation != 0)
				return violation;
			span = &out->field[tag];
			if (span->count > 0 && !rules[tag].repeated)
				return VIOLATION_FIELD_REPEATED;
			if (span->count == 0) {
				span->at = at;
				span->length = size;
			}
			span->count++;
		}
		at += size;
	}
	return 0;
}

static bool has_code(const struct wire_message *message, uint8_t tag, uint64_t codes)
{
	uint64_t value;

	if (!wire_has(message, tag))
		return true;
	value = wire_uint(message, tag, 0);
	return value < 64 && (codes >> value & 1) != 0;
}

/* `frame` is 0 for a record. */
static uint32_t parse(const uint8_t *payload, uint32_t length, const struct sets *sets, uint8_t frame,
		      struct wire_message *out)
{
	uint32_t violation;

	memset(out, 0, sizeof *out);
	out->payload = payload;
	out->length = length;
	violation = scan(payload, length, sets, out);
	if (violation != 0)
		return violation;
	for (uint8_t tag = 0; tag < WIRE_TAGS; tag++) {
		if (sets->required[tag] && !wire_has(out, tag))
			return VIOLATION_FIELD_MISSING;
	}
	for (size_t i = 0; i < LENGTH(field_codes); i++) {
		if (!has_code(out, field_codes[i].tag, field_codes[i].codes))
			return VIOLATION_BAD_VALUE;
	}
	for (size_t i = 0; i < LENGTH(frame_codes); i++) {
		if (frame_codes[i].frame == frame && !has_code(out, frame_codes[i].tag, frame_codes[i].codes))
			return VIOLATION_BAD_VALUE;
	}
	return 0;
}

uint32_t fields_parse(const struct wire_frame *frame, struct wire_message *out)
{
	struct sets sets = { 0 };

	add_uses(&sets, frame_uses, LENGTH(frame_uses), frame->type);
	if (frame->type == FRAME_OPEN) {
		uint8_t operation = 0;
		uint32_t violation = find_operation(frame->payload, frame->length, &operation);

		if (violation != 0)
			return violation;
		add_uses(&sets, operation_uses, LENGTH(operation_uses), operation);
	}
	return parse(frame->payload, frame->length, &sets, frame->type, out);
}

uint32_t fields_parse_record(const uint8_t *record, uint32_t length, struct wire_message *out)
{
	struct sets sets = { 0 };

	add_uses(&sets, record_uses, LENGTH(record_uses), 0);
	return parse(record, length, &sets, 0, out);
}

bool wire_has(const struct wire_message *message, uint8_t tag)
{
	return wire_count(message, tag) > 0;
}

uint32_t wire_count(const struct wire_message *message, uint8_t tag)
{
	return tag < WIRE_TAGS ? message->field[tag].count : 0;
}

uint64_t wire_uint(const struct wire_message *message, uint8_t tag, uint64_t absent)
{
	return wire_has(message, tag) ? wire_load64(message->payload + message->field[tag].at) : absent;
}

bool wire_flag(const struct wire_message *message, uint8_t tag)
{
	return wire_uint(message, tag, 0) == 1;
}

const uint8_t *wire_bytes(const struct wire_message *message, uint8_t tag, uint32_t *length)
{
	*length = 0;
	if (!wire_has(message, tag))
		return NULL;
	*length = message->field[tag].length;
	return message->payload + message->field[tag].at;
}

/* Tags never fall, so the values of one tag lie one behind the other. */
const uint8_t *wire_next(const struct wire_message *message, uint8_t tag, uint32_t *cursor,
			 uint32_t *length)
{
	const uint8_t *value;

	*length = 0;
	if (!wire_has(message, tag))
		return NULL;
	if (*cursor == 0)
		*cursor = message->field[tag].at - 4;
	if (message->length - *cursor < 4 || message->payload[*cursor] != tag)
		return NULL;
	*length = wire_load32(message->payload + *cursor) & 0xffffff;
	value = message->payload + *cursor + 4;
	*cursor += 4 + *length;
	return value;
}
