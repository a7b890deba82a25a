/* Finding a few bytes in many, 16 at a time. No system calls. */
#ifndef FUMEHOOD_LITERAL_H
#define FUMEHOOD_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct literal {
	const uint8_t *bytes;      /* lower case where case is ignored */
	size_t length;
	bool fold;                 /* ASCII letters in either case are the same */
};

/* The first occurrence that lies within [from, end); NULL: none. */
const uint8_t *literal_find(const struct literal *literal, const uint8_t *from, const uint8_t *end);

/* How many of the bytes are line ends. */
size_t literal_count_lines(const uint8_t *from, const uint8_t *end);

#endif
