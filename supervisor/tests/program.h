/* Programs of patterns, put together by hand. */
#ifndef FUMEHOOD_TEST_PROGRAM_H
#define FUMEHOOD_TEST_PROGRAM_H

#include "regex.h"
#include "test.h"
#include "wire.h"

struct program {
	uint8_t bytes[16384];
	size_t length;
};

static inline void put32(struct program *program, uint32_t value)
{
	wire_store32(program->bytes + program->length, value);
	program->length += 4;
}

static inline void head(struct program *program, uint8_t flags, const char *literal)
{
	program->length = 0;
	program->bytes[program->length++] = flags;
	put32(program, (uint32_t)strlen(literal));
	memcpy(program->bytes + program->length, literal, strlen(literal));
	program->length += strlen(literal);
}

static inline void step(struct program *program, uint8_t op, uint32_t a, uint32_t b)
{
	program->bytes[program->length++] = op;
	put32(program, a);
	put32(program, b);
}

#endif
