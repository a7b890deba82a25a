#define _GNU_SOURCE
#include "log.h"
#include "store.h"
#include "test.h"

/* A plain list of all bytes ever written, with their streams: what a log is held against. */
#define MODEL_BYTES (1u << 20)
static uint8_t model_stream[MODEL_BYTES];
static uint64_t model_end;

/* The stream of every byte that is kept is right, runs end where the streams change, and all is told as kept or not. */
static void check_same(const struct log *log)
{
	uint64_t at = log->first;

	EQUAL(log->end, model_end);
	CHECK(log->first <= log->end);
	CHECK(log->end - log->first <= log->capacity);
	while (at < log->end) {
		enum log_stream stream;
		uint64_t run = log_run(log, at, &stream);

		CHECK(run > 0 && run <= log->end - at);
		for (uint64_t i = 0; i < run; i++)
			EQUAL(model_stream[at + i], stream);
		at += run;
		CHECK(at == log->end || model_stream[at] != stream);
	}
}

static void add(struct log *log, enum log_stream stream, uint64_t n)
{
	memset(model_stream + model_end, (int)stream, n);
	model_end += n;
	log_add(log, stream, n);
}

static void compare_with_list(uint32_t capacity, uint32_t longest)
{
	struct log log;

	model_end = 0;
	CHECK(log_init(&log, capacity));
	for (int i = 0; i < 4000 && model_end + longest < MODEL_BYTES; i++) {
		uint32_t n = test_below(longest + 1);

		if (test_below(500) == 0) {
			memset(model_stream + model_end, 2, n);
			model_end += n;
			log_lose(&log, n);
			EQUAL(log.first, log.end);
		} else {
			add(&log, test_below(2) ? LOG_STDERR : LOG_STDOUT, n);
		}
		if (i % 50 == 0)
			check_same(&log);
	}
	check_same(&log);
	log_free(&log);
}

TEST("a log knows the stream of every byte that it keeps")
{
	compare_with_list(4096, 10);
	compare_with_list(4096, 4096);
	compare_with_list(65536, 300);
	compare_with_list(1 << 20, 200);
}

TEST("a log keeps exactly its capacity of a stream")
{
	struct log log;
	enum log_stream stream;

	CHECK(log_init(&log, 4096));
	log_add(&log, LOG_STDOUT, 4096);
	EQUAL(log.first, 0);
	log_add(&log, LOG_STDOUT, 1);
	EQUAL(log.first, 1);
	EQUAL(log_run(&log, 1, &stream), 4096);
	EQUAL(log_run(&log, 0, &stream), 0);
	EQUAL(log_run(&log, 4097, &stream), 0);
	log_free(&log);
}

TEST("streams that change with every byte cost their oldest bytes, and nothing more than the marks")
{
	struct log log;

	model_end = 0;
	CHECK(log_init(&log, 1 << 16));
	for (uint32_t i = 0; i < 1 << 16; i++)
		add(&log, i % 2 ? LOG_STDERR : LOG_STDOUT, 1);
	check_same(&log);
	EQUAL(log.end - log.first, log.limit);
	CHECK(log.room <= log.limit);
	/* The marks serve longer runs again as soon as there are some. */
	for (uint32_t i = 0; i < log.limit; i++)
		add(&log, i % 2 ? LOG_STDERR : LOG_STDOUT, LOG_BYTES_PER_MARK);
	check_same(&log);
	EQUAL(log.end - log.first, log.capacity);
	log_free(&log);
}

TEST("offsets beyond 32 bits are like all others")
{
	struct log log;
	enum log_stream stream = LOG_STDOUT;
	uint64_t far = (UINT64_C(1) << 40) + 12345;

	CHECK(log_init(&log, 4096));
	log_lose(&log, far);
	EQUAL(log.first, far);
	log_add(&log, LOG_STDERR, 10);
	EQUAL(log_run(&log, far, &stream), 10);
	EQUAL(stream, LOG_STDERR);
	log_free(&log);
}

TEST("the bytes of a log come back as they were, over the end of the ring too")
{
	uint8_t bytes[4096], back[4096];
	int fd = store_open();

	CHECK(fd >= 0);
	for (uint64_t offset = 0; offset < 40000; offset += 1 + test_below(4096)) {
		size_t n = 1 + test_below(4096);

		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)test_random();
		CHECK(store_write(fd, 4096, offset, bytes, n));
		CHECK(store_read(fd, 4096, offset, back, n));
		CHECK(memcmp(bytes, back, n) == 0);
	}
}

TEST("bytes that were never stored cannot be read")
{
	uint8_t byte;
	int fd = store_open();

	CHECK(fd >= 0);
	CHECK(!store_read(fd, 4096, 0, &byte, 1));
	CHECK(!store_write(-1, 4096, 0, &byte, 1));
}
