/* The unit tests' own frame: each test is a sentence and runs in a process of its own. */
#ifndef FUMEHOOD_TEST_H
#define FUMEHOOD_TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*test_function)(void);
void test_register(const char *file, const char *sentence, test_function function);

#define TEST_JOIN2(a, b) a##b
#define TEST_JOIN(a, b) TEST_JOIN2(a, b)
#define TEST(sentence) TEST_NAMED(sentence, TEST_JOIN(test_, __LINE__), TEST_JOIN(register_, __LINE__))
#define TEST_NAMED(sentence, function, registrar) \
	static void function(void); \
	__attribute__((constructor)) static void registrar(void) \
	{ \
		test_register(__FILE__, sentence, function); \
	} \
	static void function(void)

/* Ends the test. */
__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line, const char *format,
							       ...);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			test_fail(__FILE__, __LINE__, "not so: %s (errno %d)", #condition, errno); \
	} while (0)

#define EQUAL(got, wanted) \
	do { \
		long long got_ = (long long)(got), wanted_ = (long long)(wanted); \
		if (got_ != wanted_) \
			test_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, wanted_); \
	} while (0)

#define SAME_TEXT(got, wanted) \
	do { \
		const char *got_ = (got), *wanted_ = (wanted); \
		if (strcmp(got_, wanted_) != 0) \
			test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #got, got_, wanted_); \
	} while (0)

/* The same numbers in every run of a test, others with another FUMEHOOD_TEST_SEED. */
uint32_t test_random(void);
uint32_t test_below(uint32_t bound);

/* An empty directory that goes when the test ends, whatever is in it. */
const char *test_directory(void);

#endif
