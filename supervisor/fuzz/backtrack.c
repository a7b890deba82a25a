#include "backtrack.h"

#include <string.h>

#include "must.h"

/* Ways through this file are no news to the fuzzer, and to note them is most of its time. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

struct place {
	uint32_t step, at;
};

/* Where it has been in this line, from whatever start: if it is there again, it fails again. */
static uint32_t seen[BACKTRACK_CELLS], line_now;
static struct place stack[2 * BACKTRACK_CELLS + 1];

/* --- characters, by the definition of UTF-8 ---------------------------------------------------------------- */

/* How UTF-8 has a character; 0 for what it has not. */
static size_t encode(uint32_t character, uint8_t bytes[4])
{
	if (character < 0x80) {
		bytes[0] = (uint8_t)character;
		return 1;
	}
	if (character < 0x800) {
		bytes[0] = (uint8_t)(0xc0 | character >> 6);
		bytes[1] = (uint8_t)(0x80 | (character & 0x3f));
		return 2;
	}
	if (character >= 0xd800 && character <= 0xdfff)
		return 0;
	if (character < 0x10000) {
		bytes[0] = (uint8_t)(0xe0 | character >> 12);
		bytes[1] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
		bytes[2] = (uint8_t)(0x80 | (character & 0x3f));
		return 3;
	}
	if (character > 0x10ffff)
		return 0;
	bytes[0] = (uint8_t)(0xf0 | character >> 18);
	bytes[1] = (uint8_t)(0x80 | (character >> 12 & 0x3f));
	bytes[2] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
	bytes[3] = (uint8_t)(0x80 | (character & 0x3f));
	return 4;
}

/* The character whose encoding stands at the front: what its bits would be is encoded, and must give the same bytes. */
static uint32_t decode(const uint8_t *text, size_t length, size_t *width)
{
	static const uint8_t low_bits[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};

	for (size_t size = 1; size <= 4 && size <= length; size++) {
		uint32_t character = text[0] & low_bits[size];
		uint8_t bytes[4];

		for (size_t i = 1; i < size; i++)
			character = character << 6 | (text[i] & 0x3f);
		if (encode(character, bytes) == size && memcmp(bytes, text, size) == 0) {
			*width = size;
			return character;
		}
	}
	*width = 1;
	return 0xdc00u + text[0];
}

static bool in_word(const uint8_t *line, size_t length, size_t at)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	return at < length && line[at] && strchr(letters, line[at]);
}

/* --- steps -------------------------------------------------------------------------------------------------- */

static bool is_so(uint32_t assertion, const uint8_t *line, size_t length, size_t at)
{
	bool before = at > 0 && in_word(line, length, at - 1), behind = in_word(line, length, at);

	switch (assertion) {
	case REGEX_BEGIN:
		return at == 0;
	case REGEX_END:
		return at == length;
	case REGEX_WORD:
		return before != behind;
	default:
		return before == behind;
	}
}

static bool takes(const struct regex *regex, const struct regex_step *step, uint32_t character)
{
	if (step->op == REGEX_CHARACTER)
		return character == step->a;
	for (uint32_t i = 0; step->op == REGEX_SET && i < step->b; i++) {
		const struct regex_range *range = &regex->range[step->a + i];

		if (range->low <= character && character <= range->high)
			return true;
	}
	return step->op == REGEX_ANY;
}

/* Whether the program gets to its end from `from`, and where. */
static bool try(const struct regex *regex, const uint8_t *line, size_t length, size_t from, size_t *end)
{
	size_t depth = 0;

	stack[depth++] = (struct place){0, (uint32_t)from};
	while (depth) {
		struct place here = stack[--depth];
		const struct regex_step *step = &regex->step[here.step];
		uint32_t *mark = &seen[here.step * (length + 1) + here.at];
		size_t width;

		if (*mark == line_now)
			continue;
		*mark = line_now;
		switch (step->op) {
		case REGEX_MATCH:
			*end = here.at;
			return true;
		case REGEX_SPLIT:
			stack[depth++] = (struct place){step->b, here.at};
			stack[depth++] = (struct place){step->a, here.at};
			break;
		case REGEX_JUMP:
			stack[depth++] = (struct place){step->a, here.at};
			break;
		case REGEX_ASSERT:
			if (is_so(step->a, line, length, here.at))
				stack[depth++] = (struct place){here.step + 1, here.at};
			break;
		default:
			if (here.at < length && takes(regex, step, decode(line + here.at, length - here.at, &width)))
				stack[depth++] = (struct place){here.step + 1, here.at + (uint32_t)width};
		}
	}
	return false;
}

bool backtrack_find(const struct regex *regex, const uint8_t *line, size_t length, size_t *start, size_t *end)
{
	size_t width = 1;

	MUST(regex->steps * (length + 1) <= BACKTRACK_CELLS);
	if (++line_now == 0) {
		memset(seen, 0, sizeof seen);
		line_now = 1;
	}
	for (size_t at = 0; at <= length; at += width) {
		if (try(regex, line, length, at, end)) {
			*start = at;
			return true;
		}
		if (at < length)
			decode(line + at, length - at, &width);
		else
			break;
	}
	return false;
}

size_t backtrack_literal(const struct literal *literal, const uint8_t *line, size_t length)
{
	for (size_t at = 0; at + literal->length <= length; at++) {
		size_t same = 0;

		while (same < literal->length) {
			uint8_t byte = line[at + same];

			if (literal->fold && byte >= 'A' && byte <= 'Z')
				byte = (uint8_t)(byte - 'A' + 'a');
			if (byte != literal->bytes[same])
				break;
			same++;
		}
		if (same == literal->length)
			return at;
	}
	return length;
}

#pragma clang attribute pop
