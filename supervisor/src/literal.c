#include "literal.h"

#include <string.h>

/* Both compilers turn these into the machine's own vectors. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words16 __attribute__((vector_size(16)));
#define WIDE sizeof(bytes16)
/* So many additions of 0 or 1 fit a byte. */
#define COUNT_ROUNDS 255

static bytes16 load(const uint8_t *from)
{
	bytes16 value;

	memcpy(&value, from, sizeof(value));
	return value;
}

static bytes16 spread(uint8_t byte)
{
	return (bytes16){0} + byte;
}

static uint8_t lower(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

static uint8_t upper(uint8_t byte)
{
	return byte >= 'a' && byte <= 'z' ? byte & 0xdf : byte;
}

static bool is_here(const struct literal *literal, const uint8_t *at)
{
	if (!literal->fold)
		return memcmp(at, literal->bytes, literal->length) == 0;
	for (size_t i = 0; i < literal->length; i++)
		if (lower(at[i]) != literal->bytes[i])
			return false;
	return true;
}

/* The first and the last byte are compared at 16 places at once; where both agree, the rest is looked at. */
const uint8_t *literal_find(const struct literal *literal, const uint8_t *from, const uint8_t *end)
{
	size_t last = literal->length - 1;
	uint8_t first_byte = literal->bytes[0], last_byte = literal->bytes[last];
	bytes16 first = spread(first_byte), tail = spread(last_byte);
	bytes16 other_first = spread(literal->fold ? upper(first_byte) : first_byte);
	bytes16 other_tail = spread(literal->fold ? upper(last_byte) : last_byte);

	while ((size_t)(end - from) >= last + WIDE) {
		bytes16 head = load(from), back = load(from + last);
		bytes16 both = (bytes16)((head == first) | (head == other_first)) &
			       (bytes16)((back == tail) | (back == other_tail));
		words16 any = (words16)both;

		if (any[0] | any[1])
			for (size_t i = 0; i < WIDE; i++)
				if (both[i] && is_here(literal, from + i))
					return from + i;
		from += WIDE;
	}
	for (; (size_t)(end - from) > last; from++)
		if (is_here(literal, from))
			return from;
	return NULL;
}

size_t literal_count_lines(const uint8_t *from, const uint8_t *end)
{
	bytes16 wanted = spread('\n');
	size_t count = 0;

	while ((size_t)(end - from) >= WIDE) {
		bytes16 sum = {0};

		for (int i = 0; i < COUNT_ROUNDS && (size_t)(end - from) >= WIDE; i++) {
			sum -= (bytes16)(load(from) == wanted);
			from += WIDE;
		}
		for (size_t i = 0; i < WIDE; i++)
			count += sum[i];
	}
	while (from < end)
		count += *from++ == '\n';
	return count;
}
