/* Frames as text: what protocol/vectors/README.md describes, for tests in any language to compare. */
#ifndef FUMEHOOD_DUMP_H
#define FUMEHOOD_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum dump_source { DUMP_CLIENT, DUMP_SUPERVISOR, DUMP_RECORDS };

/* "client", "supervisor" or "record"; false for anything else. */
bool dump_source(const char *name, enum dump_source *source);

/* Print one line for each frame (or record) of a stream that arrives in pieces of the given sizes, and
 * "violation NAME" where it breaks a rule. `next_piece` says how many bytes, of the `left` that are, come at
 * once; NULL: all of them. */
typedef size_t (*dump_cutter)(size_t left);
void dump_stream(FILE *out, enum dump_source source, const uint8_t *bytes, size_t n, dump_cutter next_piece);

#endif
