/* Run file requests as the core does: in a helper process behind pipes. */
#ifndef FUMEHOOD_FILES_FIXTURE_H
#define FUMEHOOD_FILES_FIXTURE_H

#include "files.h"
#include "test.h"

/* The user that a workload has in these tests: another one than the tests', where they are root. */
#define WORKLOAD_ID 1000u

/* What happens to a helper's input. */
enum ending { COMMIT, NO_COMMIT, WRONG_BYTE };

struct call {
	enum operation op;
	const char *path, *target;
	uint64_t offset;
	uint64_t limit;            /* 0: 1 MiB, or 1,000 entries */
	uint32_t mode;             /* 0: 0644 or 0755 */
	bool parents, recursive, follow, whole, as_workload, no_limit;
	const void *input;
	size_t input_length;
	enum ending ending;
};

struct answer {
	struct helper_report report;
	uint8_t *output;
	size_t length;
	struct entry_text {
		uint64_t type, size, mode, uid, gid, modified_ns;
		char name[WIRE_MAX_PATH + 1], link[WIRE_MAX_PATH + 1];
	} *entries;                /* of `list` and `stat`, sorted by name */
	size_t count;
};

/* Enter the test's directory and make "ws" there, the workspace, owned by the workload. */
void fixture_start(void);
/* Stays good until the next call. */
const struct answer *fixture_run(struct call call);
/* The same without waiting for an answer: the helper's process id, with the ends of its pipes. */
struct helper {
	int pid, in_fd, out_fd, commit_fd;
};
struct helper fixture_spawn(struct call call);

/* Check that a call fails, and with what; or does not. */
#define FAILS(call, wanted) \
	do { \
		const struct answer *answer_ = fixture_run(call); \
		if (answer_->report.error != (wanted)) \
			test_fail(__FILE__, __LINE__, "error %u (errno %u, step %s), not %s", \
				  answer_->report.error, answer_->report.err_no, answer_->report.step, #wanted); \
	} while (0)
#define WORKS(call) FAILS(call, 0)

void put_file(const char *path, const char *text, unsigned mode);
/* Whether the file holds this text and nothing else. */
bool holds(const char *path, const char *text);
unsigned mode_of(const char *path);
bool exists(const char *path);
/* How many names a directory holds. */
unsigned names_in(const char *path);

#define WRITE(where, text, ...) \
	((struct call){ .op = OPERATION_WRITE, .path = (where), .input = (text), .input_length = strlen(text), \
			__VA_ARGS__ })
#define READ(where, ...) ((struct call){ .op = OPERATION_READ, .path = (where), __VA_ARGS__ })
#define LIST(where, ...) ((struct call){ .op = OPERATION_LIST, .path = (where), __VA_ARGS__ })
#define STAT(where, ...) ((struct call){ .op = OPERATION_STAT, .path = (where), __VA_ARGS__ })
#define MKDIR(where, ...) ((struct call){ .op = OPERATION_MAKE_DIRECTORY, .path = (where), __VA_ARGS__ })
#define REMOVE(where, ...) ((struct call){ .op = OPERATION_REMOVE, .path = (where), __VA_ARGS__ })
#define RENAME(from, to, ...) \
	((struct call){ .op = OPERATION_RENAME, .path = (from), .target = (to), __VA_ARGS__ })

/* A test that runs twice: with the kernel's openat2 and without. */
#define TEST_BOTH(sentence) \
	TEST_TWICE(sentence, TEST_JOIN(body_, __LINE__), TEST_JOIN(first_, __LINE__), \
		   TEST_JOIN(second_, __LINE__), TEST_JOIN(register_, __LINE__))
#define TEST_TWICE(sentence, body, first, second, registrar) \
	static void body(void); \
	static void first(void) \
	{ \
		body(); \
	} \
	static void second(void) \
	{ \
		walk_without_openat2 = true; \
		body(); \
	} \
	__attribute__((constructor)) static void registrar(void) \
	{ \
		test_register(__FILE__, sentence, first); \
		test_register(__FILE__, sentence " (without openat2)", second); \
	} \
	static void body(void)

#endif
