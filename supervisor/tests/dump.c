#define _GNU_SOURCE
#include "dump.h"

#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "wire.h"

static const char *frame_name(uint8_t type)
{
	switch (type) {
#define X(code, name) \
	case code: \
		return name;
		WIRE_FRAME_NAMES(X)
#undef X
	default:
		return "?";
	}
}

struct field_text {
	const char *name;
	enum { UINT, TEXT, BYTES } kind;
};

#define KIND_UINT UINT
#define KIND_FLAG UINT
#define KIND_TEXT TEXT
#define KIND_BYTES BYTES

static const struct field_text fields[WIRE_TAGS] = {
#define X(tag, text) [tag].name = text,
	WIRE_FIELD_NAMES(X)
#undef X
#define X(tag, value_kind, repeated) [FIELD_##tag].kind = value_kind,
	WIRE_FIELDS(X)
#undef X
};

static void print_hex(FILE *out, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		fputc(digits[bytes[i] >> 4], out);
		fputc(digits[bytes[i] & 15], out);
	}
}

/* A legal text holds no control character, so only two characters need a backslash. */
static void print_text(FILE *out, const uint8_t *text, size_t n)
{
	fputc('"', out);
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '"' || text[i] == '\\')
			fputc('\\', out);
		fputc(text[i], out);
	}
	fputc('"', out);
}

static void print_fields(FILE *out, const struct wire_message *message)
{
	for (uint8_t tag = 0; tag < WIRE_TAGS; tag++) {
		uint32_t cursor = 0, length;
		const uint8_t *value;

		while ((value = wire_next(message, tag, &cursor, &length)) != NULL) {
			fprintf(out, " %s=", fields[tag].name);
			if (fields[tag].kind == UINT)
				fprintf(out, "%llu", (unsigned long long)wire_load64(value));
			else if (fields[tag].kind == TEXT)
				print_text(out, value, length);
			else
				print_hex(out, value, length);
		}
	}
}

static bool has_fields(uint8_t type)
{
	switch (type) {
#define X(name, sender, channel, payload, least, most) \
	case FRAME_##name: \
		return payload == PAYLOAD_FIELDS;
		WIRE_FRAMES(X)
#undef X
	default:
		return false;
	}
}

static uint32_t print_frame(void *context, const struct wire_frame *frame)
{
	FILE *out = context;
	struct wire_message message;

	if (has_fields(frame->type)) {
		uint32_t violation = fields_parse(frame, &message);

		if (violation != 0)
			return violation;
	}
	fprintf(out, "%s %u", frame_name(frame->type), frame->channel);
	if (has_fields(frame->type)) {
		print_fields(out, &message);
	} else if (frame->type == FRAME_CREDIT) {
		fprintf(out, " credit=%u", wire_credit(frame));
	} else if (frame->length > 0) {
		fputs(" bytes=", out);
		print_hex(out, frame->payload, frame->length);
	}
	fputc('\n', out);
	return 0;
}

static void dump_frames(FILE *out, enum wire_side sender, const uint8_t *bytes, size_t n,
			dump_cutter next_piece)
{
	struct wire_reader reader;

	wire_reader_init(&reader, sender);
	while (n > 0) {
		size_t piece = next_piece == NULL ? n : next_piece(n);
		/* A copy of its own for each piece: a read beyond it is seen by the sanitizers. */
		uint8_t *copy = malloc(piece);

		if (copy == NULL)
			abort();
		memcpy(copy, bytes, piece);
		wire_reader_feed(&reader, copy, piece, print_frame, out);
		free(copy);
		bytes += piece;
		n -= piece;
	}
	if (reader.violation != 0)
		fprintf(out, "violation %s\n", wire_violation_name(reader.violation));
	wire_reader_free(&reader);
}

/* The output of `list` and `stat`. It is read whole here; only the supervisor writes it. */
static void dump_records(FILE *out, const uint8_t *bytes, size_t n)
{
	while (n >= 4) {
		struct wire_message message;
		uint32_t length = wire_load32(bytes), violation;

		if (length > WIRE_MAX_RECORD) {
			fprintf(out, "violation %s\n", wire_violation_name(VIOLATION_TOO_LONG));
			return;
		}
		if (length > n - 4)
			return;
		violation = fields_parse_record(bytes + 4, length, &message);
		if (violation != 0) {
			fprintf(out, "violation %s\n", wire_violation_name(violation));
			return;
		}
		fputs("entry", out);
		print_fields(out, &message);
		fputc('\n', out);
		bytes += 4 + length;
		n -= 4 + length;
	}
}

bool dump_source(const char *name, enum dump_source *source)
{
	static const char *const names[] = { "client", "supervisor", "record" };

	for (int i = 0; i < 3; i++) {
		if (strcmp(name, names[i]) == 0) {
			*source = (enum dump_source)i;
			return true;
		}
	}
	return false;
}

void dump_stream(FILE *out, enum dump_source source, const uint8_t *bytes, size_t n, dump_cutter next_piece)
{
	if (source == DUMP_RECORDS)
		dump_records(out, bytes, n);
	else
		dump_frames(out, source == DUMP_CLIENT ? SIDE_CLIENT : SIDE_SUPERVISOR, bytes, n, next_piece);
}
