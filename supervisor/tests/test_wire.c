#define _GNU_SOURCE
#include "fields.h"
#include "test.h"
#include "wire.h"

/* --- writer -------------------------------------------------------------------------------------- */

TEST("what the writer writes is what the reader reads")
{
	uint8_t memory[4096];
	struct wire_writer writer;
	struct wire_reader reader;
	struct wire_frame frame;
	struct wire_message message;
	uint32_t length, cursor = 0;
	size_t room;

	wire_writer_init(&writer, memory, sizeof memory);
	wire_begin(&writer, FRAME_FAIL, 0x01020304);
	wire_put_uint(&writer, FIELD_SIZE, UINT64_MAX);
	wire_put_uint(&writer, FIELD_ERROR, ERROR_IO);
	wire_put_uint(&writer, FIELD_ERRNO, 5);
	wire_put_text(&writer, FIELD_STEP, "read", 4);
	wire_end(&writer);
	wire_put_credit(&writer, 7, 65536);
	wire_put_frame(&writer, FRAME_STDOUT, 9, "abc", 3);
	CHECK(!writer.failed);

	wire_reader_init(&reader, SIDE_SUPERVISOR);
	memcpy(wire_reader_space(&reader, &room), memory, writer.length);
	wire_reader_commit(&reader, writer.length);
	EQUAL(wire_reader_next(&reader, &frame), 1);
	EQUAL(frame.type, FRAME_FAIL);
	EQUAL(frame.channel, 0x01020304);
	EQUAL(fields_parse(&frame, &message), 0);
	CHECK(wire_uint(&message, FIELD_SIZE, 0) == UINT64_MAX);
	EQUAL(wire_uint(&message, FIELD_ERROR, 0), ERROR_IO);
	EQUAL(wire_uint(&message, FIELD_ENTRIES, 42), 42);
	CHECK(memcmp(wire_bytes(&message, FIELD_STEP, &length), "read", 4) == 0 && length == 4);
	CHECK(wire_bytes(&message, FIELD_MESSAGE, &length) == NULL && length == 0);
	CHECK(wire_next(&message, FIELD_MESSAGE, &cursor, &length) == NULL);
	CHECK(wire_has(&message, FIELD_ERRNO) && !wire_has(&message, FIELD_NAME));
	EQUAL(wire_reader_next(&reader, &frame), 1);
	EQUAL(wire_credit(&frame), 65536);
	EQUAL(wire_reader_next(&reader, &frame), 1);
	CHECK(frame.type == FRAME_STDOUT && frame.length == 3 && memcmp(frame.payload, "abc", 3) == 0);
	EQUAL(wire_reader_next(&reader, &frame), 0);
	wire_reader_free(&reader);
}

TEST("repeated fields come one by one, and the last one ends them")
{
	uint8_t memory[1024];
	struct wire_writer writer;
	struct wire_frame frame = { .type = FRAME_OPEN };
	struct wire_message message;
	const uint8_t *value;
	uint32_t cursor = 0, length;

	wire_writer_init(&writer, memory, sizeof memory);
	wire_put_uint(&writer, FIELD_OPERATION, OPERATION_EXEC);
	wire_put_bytes(&writer, FIELD_ARGUMENT, "", 0);
	wire_put_bytes(&writer, FIELD_ARGUMENT, "one", 3);
	wire_put_bytes(&writer, FIELD_ARGUMENT, "two", 3);
	wire_put_bytes(&writer, FIELD_CWD, ".", 1);
	wire_put_uint(&writer, FIELD_TIMEOUT_MS, 0);
	wire_put_uint(&writer, FIELD_STDOUT_LIMIT, 0);
	wire_put_uint(&writer, FIELD_STDERR_LIMIT, 0);
	wire_put_uint(&writer, FIELD_STDIN, 1);
	frame.payload = memory;
	frame.length = (uint32_t)writer.length;
	EQUAL(fields_parse(&frame, &message), 0);
	EQUAL(wire_count(&message, FIELD_ARGUMENT), 3);
	CHECK(wire_flag(&message, FIELD_STDIN));
	CHECK(wire_next(&message, FIELD_ARGUMENT, &cursor, &length) != NULL && length == 0);
	value = wire_next(&message, FIELD_ARGUMENT, &cursor, &length);
	CHECK(value != NULL && length == 3 && memcmp(value, "one", 3) == 0);
	value = wire_next(&message, FIELD_ARGUMENT, &cursor, &length);
	CHECK(value != NULL && length == 3 && memcmp(value, "two", 3) == 0);
	CHECK(wire_next(&message, FIELD_ARGUMENT, &cursor, &length) == NULL);
	CHECK(wire_next(&message, FIELD_ENV, &(uint32_t){ 0 }, &length) == NULL);
}

TEST("a writer never writes past its memory, and what did not fit stays failed")
{
	/* Each attempt gets memory of its own, so that a sanitizer sees one byte too many. */
	for (size_t capacity = 0; capacity < 64; capacity++) {
		uint8_t *memory = malloc(capacity + (capacity == 0));
		struct wire_writer writer;

		CHECK(memory != NULL);
		wire_writer_init(&writer, memory, capacity);
		wire_begin(&writer, FRAME_DONE, 1);
		wire_put_uint(&writer, FIELD_SIZE, 1);
		wire_put_bytes(&writer, FIELD_NAME, "0123456789", 10);
		wire_put_text(&writer, FIELD_STEP, "x", 1);
		wire_end(&writer);
		EQUAL(writer.failed, capacity < 8 + 12 + 14 + 5);
		wire_put_credit(&writer, 1, 1);
		EQUAL(writer.failed, capacity < 8 + 12 + 14 + 5 + 12);
		CHECK(writer.length <= capacity);
		free(memory);
	}
}

TEST("a writer refuses a payload or a record that no reader would take")
{
	static uint8_t memory[3 * WIRE_MAX_PAYLOAD], data[WIRE_MAX_PAYLOAD + 1];
	struct wire_writer writer;

	wire_writer_init(&writer, memory, sizeof memory);
	wire_put_frame(&writer, FRAME_STDOUT, 1, data, WIRE_MAX_PAYLOAD);
	CHECK(!writer.failed);
	wire_put_frame(&writer, FRAME_STDOUT, 1, data, WIRE_MAX_PAYLOAD + 1);
	CHECK(writer.failed);
	wire_writer_init(&writer, memory, sizeof memory);
	wire_begin(&writer, FRAME_READY, 0);
	wire_put_bytes(&writer, FIELD_HOME, data, WIRE_MAX_PAYLOAD - 4);
	wire_end(&writer);
	CHECK(!writer.failed);
	wire_begin(&writer, FRAME_READY, 0);
	wire_put_bytes(&writer, FIELD_HOME, data, WIRE_MAX_PAYLOAD - 3);
	wire_end(&writer);
	CHECK(writer.failed);
	wire_writer_init(&writer, memory, sizeof memory);
	wire_begin_record(&writer);
	wire_put_bytes(&writer, FIELD_NAME, data, WIRE_MAX_RECORD - 4);
	wire_end_record(&writer);
	CHECK(!writer.failed);
	wire_begin_record(&writer);
	wire_put_bytes(&writer, FIELD_NAME, data, WIRE_MAX_RECORD - 3);
	wire_end_record(&writer);
	CHECK(writer.failed);
}

/* --- text ---------------------------------------------------------------------------------------- */

/* What wire_put_text makes of these bytes. */
static const char *made_text(const void *bytes, size_t n)
{
	static uint8_t memory[WIRE_MAX_TEXT + 16];
	struct wire_writer writer;

	wire_writer_init(&writer, memory, sizeof memory);
	wire_put_text(&writer, FIELD_MESSAGE, bytes, n);
	CHECK(!writer.failed);
	CHECK(wire_text_valid(memory + 4, writer.length - 4));
	memory[writer.length] = '\0';
	return (const char *)memory + 4;
}

TEST("any bytes become a legal text")
{
	char many[3000];

	SAME_TEXT(made_text("plain", 5), "plain");
	SAME_TEXT(made_text("", 0), "");
	SAME_TEXT(made_text("a\nb\0c", 5), "a?b?c");
	SAME_TEXT(made_text("\xc3\xa9\xc2\x85!", 5), "\xc3\xa9?!");
	SAME_TEXT(made_text("\xff\xc0\xafx", 4), "???x");
	SAME_TEXT(made_text("\xe2\x82", 2), "??");
	SAME_TEXT(made_text("\xed\xa0\x80", 3), "???");
	memset(many, 'x', sizeof many);
	EQUAL(strlen(made_text(many, sizeof many)), WIRE_MAX_TEXT);
	/* A character of three bytes that would end one byte too late is left out whole. */
	memcpy(many + WIRE_MAX_TEXT - 2, "\xe2\x82\xac", 3);
	EQUAL(strlen(made_text(many, sizeof many)), WIRE_MAX_TEXT - 2);
	for (int round = 0; round < 20000; round++) {
		size_t n = test_below(40);

		for (size_t i = 0; i < n; i++)
			many[i] = (char)(test_below(3) == 0 ? test_below(256) : 0x80 + test_below(0x80));
		(void)made_text(many, n);
	}
}

/* --- reader -------------------------------------------------------------------------------------- */

static uint32_t keep_nothing(void *context, const struct wire_frame *frame)
{
	(void)frame;
	++*(unsigned *)context;
	return 0;
}

static uint32_t refuse_third(void *context, const struct wire_frame *frame)
{
	(void)frame;
	return ++*(unsigned *)context == 3 ? VIOLATION_BAD_STATE : 0;
}

TEST("a reader stops for ever after a violation, its own or the callback's")
{
	static const uint8_t bytes[] = { FRAME_EOF, 0, 0, 0, 0, 0, 0, 1, FRAME_EOF, 0, 0, 0, 0, 0, 0, 2,
					 FRAME_EOF, 0, 0, 0, 0, 0, 0, 3, FRAME_EOF, 0, 0, 0, 0, 0, 0, 4 };
	struct wire_reader reader;
	struct wire_frame frame;
	unsigned seen = 0;
	size_t room;

	wire_reader_init(&reader, SIDE_CLIENT);
	EQUAL(wire_reader_feed(&reader, bytes, sizeof bytes, refuse_third, &seen), VIOLATION_BAD_STATE);
	EQUAL(seen, 3);
	EQUAL(wire_reader_feed(&reader, bytes, sizeof bytes, refuse_third, &seen), VIOLATION_BAD_STATE);
	EQUAL(seen, 3);
	EQUAL(wire_reader_next(&reader, &frame), -1);
	CHECK(wire_reader_space(&reader, &room) == NULL && room == 0);
	wire_reader_free(&reader);
}

TEST("there is always room for the rest of a frame, and memory only while it is needed")
{
	static uint8_t stream[40 * (WIRE_HEADER_BYTES + WIRE_MAX_PAYLOAD)];
	struct wire_reader reader;
	struct wire_frame frame;
	size_t total = 0, at = 0;
	unsigned frames = 0, seen = 0;

	while (sizeof stream - total >= WIRE_HEADER_BYTES + WIRE_MAX_PAYLOAD) {
		uint32_t length = 1 + test_below(test_below(2) == 0 ? 100 : WIRE_MAX_PAYLOAD);

		wire_header(stream + total, FRAME_STDIN, length, 1);
		total += WIRE_HEADER_BYTES + length;
		frames++;
	}
	wire_reader_init(&reader, SIDE_CLIENT);
	CHECK(reader.data == NULL);
	while (at < total) {
		size_t room, n;
		uint8_t *space = wire_reader_space(&reader, &room);

		CHECK(space != NULL && room > 0);
		n = 1 + test_below(70000);
		n = n < room ? n : room;
		n = n < total - at ? n : total - at;
		memcpy(space, stream + at, n);
		wire_reader_commit(&reader, n);
		at += n;
		while (wire_reader_next(&reader, &frame) == 1) {
			EQUAL(frame.type, FRAME_STDIN);
			seen++;
		}
		EQUAL(reader.violation, 0);
	}
	EQUAL(seen, frames);
	wire_reader_free(&reader);
	CHECK(reader.data == NULL && reader.body == NULL);
}

TEST("a body in parts takes memory as it comes, not as it is announced")
{
	static const uint8_t part[] = { FRAME_PART, 0, 0, 1, 0, 0, 0, 1, 0x40 };
	struct wire_reader reader;
	unsigned seen = 0;

	wire_reader_init(&reader, SIDE_CLIENT);
	EQUAL(wire_reader_feed(&reader, part, sizeof part, keep_nothing, &seen), 0);
	EQUAL(seen, 0);
	CHECK(reader.assembling && reader.body_capacity <= 2 * WIRE_MAX_PAYLOAD);
	wire_reader_free(&reader);
}

TEST("random bytes never lead the reader or the fields astray")
{
	static const uint8_t types[] = { FRAME_HELLO, FRAME_CONFIGURE, FRAME_OPEN, FRAME_PART, FRAME_STDIN,
					 FRAME_CREDIT, FRAME_EOF };
	uint8_t payload[300];

	for (int round = 0; round < 50000; round++) {
		struct wire_frame frame = { .type = types[test_below(7)], .payload = payload };
		struct wire_message message;
		uint8_t tag = 0;

		while (frame.length + 24 < sizeof payload && test_below(8) != 0) {
			uint32_t size = test_below(3) == 0 ? test_below(20) : 8;

			tag = (uint8_t)(tag + test_below(16));
			wire_store32(payload + frame.length, (uint32_t)tag << 24 | size);
			frame.length += 4;
			memset(payload + frame.length, (int)test_below(3), size);
			frame.length += size;
		}
		if (frame.length > 0 && test_below(4) == 0)
			frame.length -= test_below(frame.length < 6 ? frame.length : 6);
		(void)fields_parse(&frame, &message);
		(void)fields_parse_record(payload, frame.length, &message);
	}
}
