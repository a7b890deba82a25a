/* Any bytes, as a stream from one side: read whole and in pieces they give the same frames and the same violation, and
 * nothing but what the stream holds is touched. The first input byte picks the side and the pieces. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	uint64_t hash;
	unsigned frames;
	uint32_t violation;
};

static void mix(struct outcome *outcome, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < n; i++)
		outcome->hash = (outcome->hash ^ at[i]) * 0x100000001b3u;
}

/* Every accessor of a message, since a message that parsed must be safe to ask anything. */
static void ask_everything(struct outcome *outcome, const struct wire_message *message)
{
	for (unsigned tag = 0; tag < 256; tag++) {
		uint32_t cursor = 0, length, seen = 0;
		const uint8_t *value = wire_bytes(message, (uint8_t)tag, &length);
		uint64_t number;

		if (value != NULL)
			mix(outcome, value, length);
		while ((value = wire_next(message, (uint8_t)tag, &cursor, &length)) != NULL) {
			mix(outcome, value, length);
			seen++;
		}
		if (seen != wire_count(message, (uint8_t)tag))
			abort();
		if (length == 8) {
			number = wire_uint(message, (uint8_t)tag, 0);
			mix(outcome, &number, sizeof number);
		}
	}
}

static bool has_fields(uint8_t type)
{
	static const bool table[256] = {
#define X(name, sender, channel, payload, least, most) [FRAME_##name] = payload == PAYLOAD_FIELDS,
		WIRE_FRAMES(X)
#undef X
	};

	return table[type];
}

static uint32_t take(void *context, const struct wire_frame *frame)
{
	struct outcome *outcome = context;
	struct wire_message message;

	outcome->frames++;
	mix(outcome, &frame->type, 1);
	mix(outcome, &frame->channel, sizeof frame->channel);
	if (frame->length > WIRE_MAX_BODY)
		abort();
	if (has_fields(frame->type)) {
		uint32_t violation = fields_parse(frame, &message);

		if (violation != 0)
			return violation;
		ask_everything(outcome, &message);
	} else {
		mix(outcome, frame->payload, frame->length);
	}
	return 0;
}

static struct outcome read_in_pieces(enum wire_side side, const uint8_t *data, size_t size, uint32_t seed)
{
	struct outcome outcome = { .hash = 0xcbf29ce484222325u };
	struct wire_reader reader;

	wire_reader_init(&reader, side);
	while (size > 0) {
		size_t piece = size;
		uint8_t *copy;

		if (seed != 0) {
			seed = seed * 1664525u + 1013904223u;
			piece = 1 + (seed >> 16) % (seed >> 31 ? 9 : 3000);
			piece = piece < size ? piece : size;
		}
		/* Memory of its own, so that one byte too many is seen. */
		copy = malloc(piece);
		if (copy == NULL)
			abort();
		memcpy(copy, data, piece);
		wire_reader_feed(&reader, copy, piece, take, &outcome);
		free(copy);
		data += piece;
		size -= piece;
	}
	outcome.violation = reader.violation;
	if (reader.exhausted || reader.body_capacity > WIRE_MAX_BODY)
		abort();
	wire_reader_free(&reader);
	return outcome;
}

/* Any bytes can be put into a text, and what is there then is one. */
static void put_as_text(const uint8_t *data, size_t size)
{
	uint8_t memory[WIRE_MAX_TEXT + 4];
	struct wire_writer writer;

	wire_writer_init(&writer, memory, sizeof memory);
	wire_put_text(&writer, FIELD_MESSAGE, data, size);
	if (writer.failed || !wire_text_valid(memory + 4, writer.length - 4))
		abort();
	if (wire_text_valid(data, size) && (writer.length - 4 != size || memcmp(memory + 4, data, size) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, pieces;
	struct wire_message message;
	enum wire_side side;

	if (size == 0)
		return 0;
	side = (data[0] & 1) != 0 ? SIDE_SUPERVISOR : SIDE_CLIENT;
	whole = read_in_pieces(side, data + 1, size - 1, 0);
	pieces = read_in_pieces(side, data + 1, size - 1, data[0] | 0x100u);
	if (whole.hash != pieces.hash || whole.frames != pieces.frames || whole.violation != pieces.violation)
		abort();
	if (size - 1 <= WIRE_MAX_RECORD && fields_parse_record(data + 1, (uint32_t)size - 1, &message) == 0)
		ask_everything(&whole, &message);
	put_as_text(data + 1, size - 1);
	return 0;
}
