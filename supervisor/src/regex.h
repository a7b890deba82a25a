/* Patterns: programs that the client has compiled, run over the characters of a line or of a path.
 *
 * What a pattern means is the client's to say (PROTOCOL.md, "Programs"); here are only its steps. All of them are taken side by
 * side, so the time is bounded by the program's length for each character, whatever pattern and text are: nothing
 * is ever tried again. No system calls but the clock's; tests and fuzzers compile it unchanged.
 */
#ifndef FUMEHOOD_REGEX_H
#define FUMEHOOD_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "literal.h"

#define REGEX_MAX_STEPS 16384u
#define REGEX_MAX_RANGES 65536u

/* The steps of a program, as they are on the wire. */
enum regex_op {
	REGEX_CHARACTER = 1,       /* a: the character */
	REGEX_SET,                 /* a: the first of its ranges; b: how many */
	REGEX_ANY,
	REGEX_SPLIT,               /* a is preferred to b */
	REGEX_JUMP,                /* a */
	REGEX_ASSERT,              /* a: enum regex_assertion */
	REGEX_MATCH,
};

enum regex_assertion { REGEX_BEGIN, REGEX_END, REGEX_WORD, REGEX_NO_WORD, REGEX_ASSERTIONS };

struct regex_step {
	uint8_t op;
	uint32_t a, b;
};

struct regex_range {
	uint32_t low, high;
};

struct regex_thread {
	uint32_t step;
	size_t start;
};

/* Threads in the order of their preference; each step is in it once at most. */
struct regex_threads {
	uint32_t count;
	struct regex_thread *list;
	uint32_t *place;           /* of a step in the list; good only where the list agrees */
};

struct regex {
	struct literal literal;    /* every match holds it; empty: nothing is known */
	bool only_literal;         /* and nothing else */
	uint32_t steps, ranges;
	struct regex_step *step;
	struct regex_range *range;
	bool first[256];           /* bytes that a match can begin with */
	struct regex_threads now, next;
	uint32_t *stack;
	uint64_t work;             /* steps taken in all, for who bounds the time */
	uint64_t ask;              /* whether it is late, when `work` is so much: over all texts, since each may be short */
};

enum regex_result { REGEX_NONE, REGEX_FOUND, REGEX_LATE, REGEX_UNSURE };

/* Take a program from the wire. False: it is none, or memory is out. The bytes are copied. */
bool regex_load(struct regex *regex, const uint8_t *bytes, size_t length);
void regex_free(struct regex *regex);

/* Find the first match in a text, the preferred one of those that begin there. A byte that is no UTF-8 is one character,
 * U+DC00 and the byte. `late` is asked now and then whether to give up; NULL: never. */
enum regex_result regex_find(struct regex *regex, const uint8_t *text, size_t length, size_t *start, size_t *end,
			     bool (*late)(void *), void *context);

/* What regex_dfa.c has to see as it is seen here: whether a step takes a character, the character at a place before the end, and its
 * length in bytes, whether one is of those that make words, and, after each of its steps, whether to give up. */
bool regex_takes(const struct regex *regex, uint32_t step, uint32_t character);
uint32_t regex_character(const uint8_t *text, size_t length, size_t at, size_t *width);
bool regex_is_word(uint32_t character);
bool regex_is_late(struct regex *regex, bool (*late)(void *), void *context);

#endif
