#define _GNU_SOURCE
#include "buffer.h"
#include "test.h"

/* A plain list that does the same: what the queue is held against. */
#define MODEL_BYTES 65536
static uint8_t model[MODEL_BYTES];
static size_t model_length;

static void model_take(size_t n)
{
	memmove(model, model + n, model_length - n);
	model_length -= n;
}

static void check_same(const struct buffer *buffer)
{
	size_t n;
	const uint8_t *bytes = buffer_peek(buffer, &n);

	EQUAL(n, model_length);
	EQUAL(buffer_room(buffer), buffer->limit - model_length);
	CHECK((bytes == NULL) == (n == 0));
	CHECK(n == 0 || memcmp(bytes, model, n) == 0);
	CHECK(buffer->capacity <= 2 * buffer->limit);
}

static void add_random(struct buffer *buffer, bool reserve)
{
	uint8_t bytes[8192];
	size_t n = test_below(test_below(8) == 0 ? sizeof bytes : 64);
	bool fits = n <= buffer->limit - model_length;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)test_random();
	if (reserve && n > 0) {
		uint8_t *room = buffer_reserve(buffer, n);

		EQUAL(room != NULL, fits);
		if (!fits)
			return;
		n = 1 + test_below((uint32_t)n);
		memcpy(room, bytes, n);
		buffer_commit(buffer, n);
	} else {
		EQUAL(buffer_append(buffer, bytes, n), fits);
		if (!fits)
			return;
	}
	memcpy(model + model_length, bytes, n);
	model_length += n;
}

static void compare_with_list(size_t limit, size_t keep)
{
	struct buffer buffer;

	buffer_init(&buffer, limit, keep);
	model_length = 0;
	for (int i = 0; i < 20000; i++) {
		/* Phases in which it fills up, and phases in which it runs empty. */
		uint32_t takes = i / 500 % 2 == 0 ? 2 : 5;

		if (test_below(7) < takes) {
			size_t n = test_below((uint32_t)model_length + 1);

			buffer_consume(&buffer, n);
			model_take(n);
		} else {
			add_random(&buffer, test_below(2) == 0);
		}
		check_same(&buffer);
	}
	buffer_free(&buffer);
}

TEST("a queue holds the same bytes as a list through any additions and removals")
{
	compare_with_list(1, 0);
	compare_with_list(100, 0);
	compare_with_list(5000, 0);
	compare_with_list(5000, 10000);
	compare_with_list(65536, 4096);
}

TEST("an empty queue holds no memory but what it may keep")
{
	struct buffer buffer;
	uint8_t bytes[3000] = { 0 };
	size_t n;

	buffer_init(&buffer, 65536, 0);
	CHECK(buffer.data == NULL);
	CHECK(buffer_append(&buffer, bytes, sizeof bytes));
	buffer_consume(&buffer, sizeof bytes);
	CHECK(buffer.data == NULL);
	buffer_init(&buffer, 65536, 4096);
	CHECK(buffer_append(&buffer, bytes, sizeof bytes));
	buffer_consume(&buffer, sizeof bytes);
	CHECK(buffer.data != NULL);
	CHECK(buffer_append(&buffer, bytes, sizeof bytes) && buffer_append(&buffer, bytes, sizeof bytes));
	buffer_consume(&buffer, 2 * sizeof bytes);
	CHECK(buffer.data == NULL);
	CHECK(buffer_peek(&buffer, &n) == NULL && n == 0);
	buffer_free(&buffer);
}

TEST("a queue takes exactly its limit")
{
	struct buffer buffer;
	uint8_t bytes[1001] = { 0 };

	buffer_init(&buffer, 1000, 0);
	CHECK(!buffer_append(&buffer, bytes, 1001));
	CHECK(buffer_append(&buffer, bytes, 1000));
	CHECK(!buffer_append(&buffer, bytes, 1));
	CHECK(buffer_append(&buffer, bytes, 0));
	CHECK(buffer_reserve(&buffer, 1) == NULL);
	buffer_consume(&buffer, 1);
	CHECK(buffer_append(&buffer, bytes, 1));
	EQUAL(buffer_room(&buffer), 0);
	buffer_free(&buffer);
}

TEST("reserved room that is not committed is forgotten")
{
	struct buffer buffer;
	size_t n;

	buffer_init(&buffer, 1000, 0);
	CHECK(buffer_reserve(&buffer, 500) != NULL);
	CHECK(buffer_peek(&buffer, &n) == NULL);
	CHECK(buffer_append(&buffer, "ab", 2));
	CHECK(memcmp(buffer_peek(&buffer, &n), "ab", 2) == 0 && n == 2);
	buffer_free(&buffer);
}

TEST("memory that is not needed goes, and what is queued stays")
{
	struct buffer buffer;
	uint8_t bytes[5000];
	size_t n;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7);
	buffer_init(&buffer, 1 << 20, 1 << 20);
	for (int i = 0; i < 100; i++)
		CHECK(buffer_append(&buffer, bytes, sizeof bytes));
	buffer_consume(&buffer, 99 * sizeof bytes);
	CHECK(buffer.capacity >= 100 * sizeof bytes);
	buffer_trim(&buffer, 1024);
	CHECK(buffer.capacity <= 2 * sizeof bytes);
	CHECK(memcmp(buffer_peek(&buffer, &n), bytes, sizeof bytes) == 0);
	EQUAL(n, sizeof bytes);
	/* Little enough already. */
	buffer_trim(&buffer, 1024);
	CHECK(buffer.capacity >= sizeof bytes);
	CHECK(buffer_append(&buffer, bytes, sizeof bytes));
	buffer_consume(&buffer, 2 * sizeof bytes);
	buffer_trim(&buffer, 1024);
	EQUAL(buffer.capacity, 0);
	CHECK(buffer_append(&buffer, bytes, 1));
	buffer_free(&buffer);
}
