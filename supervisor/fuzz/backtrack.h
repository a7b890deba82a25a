/* What a program of regex.h matches, found by another way: one step after the other, and back where it does not go on. */
#ifndef FUMEHOOD_BACKTRACK_H
#define FUMEHOOD_BACKTRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "regex.h"

/* Places in a line, its end with them, times the program's steps: more is not tried. */
#define BACKTRACK_CELLS (1u << 18)

/* Find the first match in a line, the preferred one of those that begin there. */
bool backtrack_find(const struct regex *regex, const uint8_t *line, size_t length, size_t *start, size_t *end);

/* Where a literal first is in a line; `length` if it is nowhere. */
size_t backtrack_literal(const struct literal *literal, const uint8_t *line, size_t length);

#endif
