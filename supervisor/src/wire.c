#define _GNU_SOURCE
#include "wire.h"

#include <stdlib.h>
#include <string.h>

/* Room for the frame under way and for what one read of a full pipe brings after it. Only what is
 * used becomes resident. */
#define READER_CAPACITY (2u * WIRE_MAX_PAYLOAD)
#define BODY_START (2u * WIRE_MAX_PAYLOAD)

_Static_assert(READER_CAPACITY >= WIRE_HEADER_BYTES + WIRE_MAX_PAYLOAD, "a frame must fit the reader");
_Static_assert(WIRE_MAX_PAYLOAD <= 0xffffff, "a payload's length must fit 24 bits");

struct frame_rule {
	uint8_t sender, channel, payload;
	uint32_t least, most;
};

/* Indexed by type; a sender of 0 marks a type that does not exist. */
static const struct frame_rule rules[256] = {
#define X(name, sender, channel, payload, least, most) \
	[FRAME_##name] = { sender, channel, payload, least, most },
	WIRE_FRAMES(X)
#undef X
};

uint32_t wire_load32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

uint64_t wire_load64(const uint8_t *bytes)
{
	return (uint64_t)wire_load32(bytes) << 32 | wire_load32(bytes + 4);
}

void wire_store32(uint8_t *bytes, uint32_t value)
{
	bytes[0] = (uint8_t)(value >> 24);
	bytes[1] = (uint8_t)(value >> 16);
	bytes[2] = (uint8_t)(value >> 8);
	bytes[3] = (uint8_t)value;
}

void wire_store64(uint8_t *bytes, uint64_t value)
{
	wire_store32(bytes, (uint32_t)(value >> 32));
	wire_store32(bytes + 4, (uint32_t)value);
}

void wire_header(uint8_t out[WIRE_HEADER_BYTES], uint8_t type, uint32_t length, uint32_t channel)
{
	wire_store32(out, (uint32_t)type << 24 | (length & 0xffffff));
	wire_store32(out + 4, channel);
}

uint32_t wire_credit(const struct wire_frame *frame)
{
	return wire_load32(frame->payload);
}

/* --- reading ------------------------------------------------------------------------------------- */

void wire_reader_init(struct wire_reader *reader, enum wire_side sender)
{
	*reader = (struct wire_reader){ .sender = sender };
}

static void drop_body(struct wire_reader *reader)
{
	free(reader->body);
	reader->body = NULL;
	reader->body_length = 0;
	reader->body_capacity = 0;
	reader->release_body = false;
}

void wire_reader_free(struct wire_reader *reader)
{
	drop_body(reader);
	free(reader->data);
	reader->data = NULL;
	reader->start = 0;
	reader->end = 0;
}

uint8_t *wire_reader_space(struct wire_reader *reader, size_t *room)
{
	*room = 0;
	if (reader->violation != 0 || reader->exhausted)
		return NULL;
	if (reader->data == NULL) {
		reader->data = malloc(READER_CAPACITY);
		if (reader->data == NULL) {
			reader->exhausted = true;
			return NULL;
		}
	}
	/* What is unread is less than one frame once the caller has taken all frames, so after the move there is
	 * room for the rest of it; the capacity is twice that, so the move is rare. */
	if (reader->start > 0 && READER_CAPACITY - reader->end < WIRE_MAX_PAYLOAD) {
		memmove(reader->data, reader->data + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->start = 0;
	}
	*room = READER_CAPACITY - reader->end;
	return reader->data + reader->end;
}

void wire_reader_commit(struct wire_reader *reader, size_t n)
{
	reader->end += (uint32_t)n;
}

/* The rules of section 2 of PROTOCOL.md that need the header alone, in its order. */
static uint32_t check_header(const struct wire_reader *reader, uint8_t type, uint32_t length,
			     uint32_t channel)
{
	const struct frame_rule *rule = &rules[type];

	if (rule->sender == 0)
		return VIOLATION_BAD_FRAME;
	if ((rule->sender & reader->sender) == 0)
		return VIOLATION_BAD_DIRECTION;
	if (rule->channel != CHANNEL_ANY && (rule->channel == CHANNEL_ZERO) != (channel == 0))
		return VIOLATION_BAD_CHANNEL;
	if (length > rule->most)
		return VIOLATION_TOO_LONG;
	if (length < rule->least)
		return VIOLATION_TOO_SHORT;
	if (reader->assembling) {
		uint8_t last = reader->body_channel == 0 ? FRAME_CONFIGURE : FRAME_OPEN;

		if (channel != reader->body_channel || (type != FRAME_PART && type != last))
			return VIOLATION_BAD_STATE;
		if (length > WIRE_MAX_BODY - reader->body_length)
			return VIOLATION_BODY_TOO_LONG;
	}
	return 0;
}

/* Add a part to the body; the header check has bounded the sum. */
static bool add_to_body(struct wire_reader *reader, const uint8_t *payload, uint32_t length)
{
	uint32_t needed = reader->body_length + length;

	if (needed > reader->body_capacity) {
		uint32_t capacity = reader->body_capacity == 0 ? BODY_START : 2 * reader->body_capacity;
		uint8_t *body;

		if (capacity > WIRE_MAX_BODY)
			capacity = WIRE_MAX_BODY;
		body = realloc(reader->body, capacity);
		if (body == NULL)
			return false;
		reader->body = body;
		reader->body_capacity = capacity;
	}
	if (length > 0)
		memcpy(reader->body + reader->body_length, payload, length);
	reader->body_length = needed;
	return true;
}

int wire_reader_next(struct wire_reader *reader, struct wire_frame *frame)
{
	if (reader->release_body)
		drop_body(reader);
	while (reader->violation == 0 && !reader->exhausted) {
		const uint8_t *header;
		uint32_t length;

		if (reader->end - reader->start < WIRE_HEADER_BYTES)
			return 0;
		header = reader->data + reader->start;
		length = wire_load32(header) & 0xffffff;
		*frame = (struct wire_frame){ .type = header[0],
					      .channel = wire_load32(header + 4),
					      .payload = header + WIRE_HEADER_BYTES,
					      .length = length };
		reader->violation = check_header(reader, frame->type, length, frame->channel);
		if (reader->violation != 0)
			break;
		if (reader->end - reader->start < WIRE_HEADER_BYTES + length)
			return 0;
		reader->start += WIRE_HEADER_BYTES + length;
		if (reader->start == reader->end)
			reader->start = reader->end = 0;
		if (frame->type == FRAME_PART || reader->assembling) {
			reader->exhausted = !add_to_body(reader, frame->payload, length);
			reader->assembling = frame->type == FRAME_PART;
			reader->body_channel = frame->channel;
			if (reader->assembling || reader->exhausted)
				continue;
			frame->payload = reader->body;
			frame->length = reader->body_length;
			reader->release_body = true;
		}
		if (rules[frame->type].payload == PAYLOAD_CREDIT && wire_credit(frame) == 0) {
			reader->violation = VIOLATION_BAD_CREDIT;
			break;
		}
		return 1;
	}
	drop_body(reader);
	return -1;
}

uint32_t wire_reader_feed(struct wire_reader *reader, const uint8_t *data, size_t n,
			  wire_callback callback, void *context)
{
	struct wire_frame frame;

	while (n > 0) {
		size_t room;
		uint8_t *space = wire_reader_space(reader, &room);

		if (space == NULL)
			break;
		if (room > n)
			room = n;
		memcpy(space, data, room);
		wire_reader_commit(reader, room);
		data += room;
		n -= room;
		while (wire_reader_next(reader, &frame) > 0) {
			uint32_t refused = callback(context, &frame);

			if (refused != 0) {
				reader->violation = refused;
				break;
			}
		}
	}
	return reader->violation;
}

const char *wire_violation_name(uint32_t violation)
{
	switch (violation) {
	case 0:
		return "none";
#define X(code, name) \
	case code: \
		return name;
		WIRE_VIOLATION_NAMES(X)
#undef X
	default:
		return "unknown";
	}
}

/* --- text ---------------------------------------------------------------------------------------- */

/* The length of the character at the front of n > 0 bytes, 0 when it is none that a text may hold: not
 * UTF-8 (overlong forms, surrogates and what is above U+10FFFF included) or a control character. */
static size_t character(const uint8_t *text, size_t n)
{
	/* The least lead byte, its mask, and the least value of characters of 2, 3 and 4 bytes. */
	static const struct {
		uint8_t lead, mask;
		uint32_t least;
	} forms[] = { { 0xc0, 0x1f, 0x80 }, { 0xe0, 0x0f, 0x800 }, { 0xf0, 0x07, 0x10000 } };

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	for (size_t form = 0; form < 3; form++) {
		uint32_t value = text[0] & forms[form].mask;
		size_t length = form + 2;

		if ((text[0] & ~forms[form].mask & 0xff) != forms[form].lead)
			continue;
		if (n < length)
			return 0;
		for (size_t i = 1; i < length; i++) {
			if ((text[i] & 0xc0) != 0x80)
				return 0;
			value = value << 6 | (text[i] & 0x3f);
		}
		if (value < forms[form].least || value > 0x10ffff || (value >= 0xd800 && value < 0xe000) ||
		    (value >= 0x80 && value < 0xa0))
			return 0;
		return length;
	}
	return 0;
}

bool wire_text_valid(const uint8_t *text, size_t length)
{
	if (length > WIRE_MAX_TEXT)
		return false;
	while (length > 0) {
		size_t step = character(text, length);

		if (step == 0)
			return false;
		text += step;
		length -= step;
	}
	return true;
}

/* --- writing ------------------------------------------------------------------------------------- */

void wire_writer_init(struct wire_writer *writer, uint8_t *data, size_t capacity)
{
	*writer = (struct wire_writer){ .data = data, .capacity = capacity };
}

/* n more bytes, or NULL once anything has not fitted. */
static uint8_t *add(struct wire_writer *writer, size_t n)
{
	uint8_t *at;

	if (writer->failed || n > writer->capacity - writer->length) {
		writer->failed = true;
		return NULL;
	}
	at = writer->data + writer->length;
	writer->length += n;
	return at;
}

void wire_begin(struct wire_writer *writer, uint8_t type, uint32_t channel)
{
	uint8_t *header;

	writer->frame = writer->length;
	header = add(writer, WIRE_HEADER_BYTES);
	if (header != NULL)
		wire_header(header, type, 0, channel);
}

void wire_end(struct wire_writer *writer)
{
	size_t length;

	if (writer->failed)
		return;
	length = writer->length - writer->frame - WIRE_HEADER_BYTES;
	if (length > WIRE_MAX_PAYLOAD) {
		writer->failed = true;
		return;
	}
	wire_header(writer->data + writer->frame, writer->data[writer->frame], (uint32_t)length,
		    wire_load32(writer->data + writer->frame + 4));
}

static uint8_t *add_field(struct wire_writer *writer, uint8_t tag, size_t length)
{
	uint8_t *at;

	if (length > 0xffffff) {
		writer->failed = true;
		return NULL;
	}
	at = add(writer, 4 + length);
	if (at == NULL)
		return NULL;
	wire_store32(at, (uint32_t)tag << 24 | (uint32_t)length);
	return at + 4;
}

void wire_put_uint(struct wire_writer *writer, uint8_t tag, uint64_t value)
{
	uint8_t *at = add_field(writer, tag, 8);

	if (at != NULL)
		wire_store64(at, value);
}

void wire_put_bytes(struct wire_writer *writer, uint8_t tag, const void *value, size_t length)
{
	uint8_t *at = add_field(writer, tag, length);

	if (at != NULL && length > 0)
		memcpy(at, value, length);
}

void wire_put_text(struct wire_writer *writer, uint8_t tag, const void *value, size_t length)
{
	uint8_t text[WIRE_MAX_TEXT];
	const uint8_t *from = value;
	size_t made = 0;

	while (length > 0) {
		size_t step = character(from, length);
		size_t adds = step == 0 ? 1 : step;

		if (adds > sizeof text - made)
			break;
		if (step == 0) {
			text[made] = '?';
			/* A control character of two bytes is one character, not two. */
			if (length > 1 && from[0] == 0xc2 && from[1] >= 0x80 && from[1] < 0xa0) {
				from++;
				length--;
			}
		} else {
			memcpy(text + made, from, step);
		}
		made += adds;
		from += adds;
		length -= adds;
	}
	wire_put_bytes(writer, tag, text, made);
}

void wire_put_frame(struct wire_writer *writer, uint8_t type, uint32_t channel, const void *payload,
		    size_t length)
{
	uint8_t *at;

	if (length > WIRE_MAX_PAYLOAD) {
		writer->failed = true;
		return;
	}
	at = add(writer, WIRE_HEADER_BYTES + length);
	if (at == NULL)
		return;
	wire_header(at, type, (uint32_t)length, channel);
	if (length > 0)
		memcpy(at + WIRE_HEADER_BYTES, payload, length);
}

void wire_put_credit(struct wire_writer *writer, uint32_t channel, uint32_t bytes)
{
	uint8_t payload[4];

	wire_store32(payload, bytes);
	wire_put_frame(writer, FRAME_CREDIT, channel, payload, sizeof payload);
}

void wire_begin_record(struct wire_writer *writer)
{
	uint8_t *length;

	writer->frame = writer->length;
	length = add(writer, 4);
	if (length != NULL)
		wire_store32(length, 0);
}

void wire_end_record(struct wire_writer *writer)
{
	size_t length;

	if (writer->failed)
		return;
	length = writer->length - writer->frame - 4;
	if (length > WIRE_MAX_RECORD)
		writer->failed = true;
	else
		wire_store32(writer->data + writer->frame, (uint32_t)length);
}
