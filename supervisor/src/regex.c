#include "regex.h"

#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define FLAG_FOLD 1u
#define FLAG_ONLY_LITERAL 2u
#define STEP_BYTES 9u
#define RANGE_BYTES 8u
/* What stands for a byte that is no UTF-8, as Python's surrogateescape has it. */
#define STRAY 0xdc00u
#define NO_CHARACTER UINT32_MAX
/* Steps between two questions whether it is late: a millisecond or so. */
#define PATIENCE (1u << 17)

/* --- taking a program apart ------------------------------------------------------------------------------ */

struct cursor {
	const uint8_t *at;
	size_t left;
};

static const uint8_t *take(struct cursor *cursor, size_t length)
{
	const uint8_t *at = cursor->at;

	if (length > cursor->left)
		return NULL;
	cursor->at += length;
	cursor->left -= length;
	return at;
}

static bool take_literal(struct regex *regex, struct cursor *cursor)
{
	const uint8_t *head = take(cursor, 5), *bytes;
	uint32_t length;
	uint8_t *copy;

	if (!head || head[0] > (FLAG_FOLD | FLAG_ONLY_LITERAL))
		return false;
	length = wire_load32(head + 1);
	bytes = take(cursor, length);
	if (!bytes || (!length && head[0] & FLAG_ONLY_LITERAL))
		return false;
	copy = malloc(length + 1);
	if (!copy)
		return false;
	memcpy(copy, bytes, length);
	regex->literal = (struct literal){.bytes = copy, .length = length, .fold = head[0] & FLAG_FOLD};
	regex->only_literal = head[0] & FLAG_ONLY_LITERAL;
	return true;
}

static bool is_step(const struct regex *regex, uint32_t at)
{
	const struct regex_step *step = &regex->step[at];

	switch (step->op) {
	case REGEX_SET:
		return step->a <= regex->ranges && step->b <= regex->ranges - step->a && at + 1 < regex->steps;
	case REGEX_CHARACTER:
	case REGEX_ANY:
		return at + 1 < regex->steps;
	case REGEX_SPLIT:
		return step->a < regex->steps && step->b < regex->steps;
	case REGEX_JUMP:
		return step->a < regex->steps;
	case REGEX_ASSERT:
		return step->a < REGEX_ASSERTIONS && at + 1 < regex->steps;
	default:
		return step->op == REGEX_MATCH;
	}
}

static bool take_steps(struct regex *regex, struct cursor *cursor)
{
	const uint8_t *bytes = take(cursor, 4);

	regex->steps = bytes ? wire_load32(bytes) : 0;
	if (!bytes || regex->steps > REGEX_MAX_STEPS || (regex->steps == 0) != regex->only_literal)
		return false;
	regex->step = calloc(regex->steps + 1, sizeof(*regex->step));
	if (!regex->step)
		return false;
	for (uint32_t i = 0; i < regex->steps; i++) {
		bytes = take(cursor, STEP_BYTES);
		if (!bytes)
			return false;
		regex->step[i] =
			(struct regex_step){.op = bytes[0], .a = wire_load32(bytes + 1), .b = wire_load32(bytes + 5)};
	}
	return true;
}

/* Ranges may overlap and be in any order; each must be one. */
static bool take_ranges(struct regex *regex, struct cursor *cursor)
{
	const uint8_t *bytes = take(cursor, 4);

	regex->ranges = bytes ? wire_load32(bytes) : 0;
	if (!bytes || regex->ranges > REGEX_MAX_RANGES)
		return false;
	regex->range = calloc(regex->ranges + 1, sizeof(*regex->range));
	if (!regex->range)
		return false;
	for (uint32_t i = 0; i < regex->ranges; i++) {
		bytes = take(cursor, RANGE_BYTES);
		if (!bytes)
			return false;
		regex->range[i] = (struct regex_range){wire_load32(bytes), wire_load32(bytes + 4)};
		if (regex->range[i].low > regex->range[i].high)
			return false;
	}
	return true;
}

static bool make_threads(struct regex *regex, struct regex_threads *threads)
{
	threads->list = calloc(regex->steps + 1, sizeof(*threads->list));
	threads->place = calloc(regex->steps + 1, sizeof(*threads->place));
	return threads->list && threads->place;
}

static bool in_set(const struct regex *regex, const struct regex_step *step, uint32_t character)
{
	const struct regex_range *range = regex->range + step->a;

	for (uint32_t i = 0; i < step->b; i++)
		if (character >= range[i].low && character <= range[i].high)
			return true;
	return false;
}

static bool takes(const struct regex *regex, const struct regex_step *step, uint32_t character)
{
	if (step->op == REGEX_CHARACTER)
		return step->a == character;
	return step->op == REGEX_ANY || (step->op == REGEX_SET && in_set(regex, step, character));
}

bool regex_takes(const struct regex *regex, uint32_t step, uint32_t character)
{
	return takes(regex, &regex->step[step], character);
}

static bool is_listed(const struct regex_threads *threads, uint32_t step)
{
	uint32_t place = threads->place[step];

	return place < threads->count && threads->list[place].step == step;
}

static void list(struct regex_threads *threads, uint32_t step, size_t start)
{
	threads->place[step] = threads->count;
	threads->list[threads->count++] = (struct regex_thread){step, start};
}

static void list_once(struct regex_threads *threads, uint32_t step)
{
	if (!is_listed(threads, step))
		list(threads, step, 0);
}

/* Which bytes a match can begin with: assertions are taken for true, and one that may be empty can begin anywhere. */
static void find_first(struct regex *regex)
{
	struct regex_threads *seen = &regex->now;

	seen->count = 0;
	list(seen, 0, 0);
	for (uint32_t i = 0; i < seen->count; i++) {
		uint32_t at = seen->list[i].step;
		const struct regex_step *step = &regex->step[at];

		if (step->op == REGEX_ASSERT) {
			list_once(seen, at + 1);
			continue;
		}
		if (step->op == REGEX_SPLIT || step->op == REGEX_JUMP) {
			list_once(seen, step->a);
			if (step->op == REGEX_SPLIT)
				list_once(seen, step->b);
			continue;
		}
		for (uint32_t byte = 0; byte < 256; byte++)
			regex->first[byte] |= step->op == REGEX_MATCH || byte >= 0x80 || takes(regex, step, byte);
	}
}

bool regex_load(struct regex *regex, const uint8_t *bytes, size_t length)
{
	struct cursor cursor = {bytes, length};
	bool good;

	*regex = (struct regex){.ask = PATIENCE};
	good = take_literal(regex, &cursor) && take_steps(regex, &cursor) && take_ranges(regex, &cursor) &&
	       cursor.left == 0;
	for (uint32_t i = 0; good && i < regex->steps; i++)
		good = is_step(regex, i);
	if (good) {
		regex->stack = calloc(2 * (size_t)regex->steps + 2, sizeof(*regex->stack));
		good = regex->stack && make_threads(regex, &regex->now) && make_threads(regex, &regex->next);
	}
	if (!good) {
		regex_free(regex);
		return false;
	}
	if (regex->steps)
		find_first(regex);
	return true;
}

void regex_free(struct regex *regex)
{
	void *all[] = {regex->step, regex->range, regex->stack, regex->now.list, regex->now.place,
		       regex->next.list, regex->next.place};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	free((void *)(uintptr_t)regex->literal.bytes);
	*regex = (struct regex){0};
}

/* --- characters ------------------------------------------------------------------------------------------ */

struct text {
	const uint8_t *bytes;
	size_t length;
};

/* The character at `at`, which is before the end, and its length in bytes. Surrogates, overlong forms and what
 * is cut are stray bytes, one character each. */
static uint32_t character_at(const struct text *text, size_t at, size_t *length)
{
	const uint8_t *bytes = text->bytes + at;
	uint8_t head = bytes[0];
	size_t more = head >= 0xf0 ? 3 : head >= 0xe0 ? 2 : 1;
	uint32_t character = head & (0x3fu >> more);
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

	*length = 1;
	if (head < 0x80)
		return head;
	if (head < 0xc2 || head > 0xf4 || text->length - at <= more)
		return STRAY + head;
	for (size_t i = 1; i <= more; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return STRAY + head;
		character = character << 6 | (bytes[i] & 0x3f);
	}
	if (character < least[more] || character > 0x10ffff || (character >= 0xd800 && character < 0xe000))
		return STRAY + head;
	*length = more + 1;
	return character;
}

uint32_t regex_character(const uint8_t *bytes, size_t length, size_t at, size_t *width)
{
	return character_at(&(struct text){bytes, length}, at, width);
}

bool regex_is_word(uint32_t character)
{
	return (character >= '0' && character <= '9') || (character >= 'A' && character <= 'Z') ||
	       (character >= 'a' && character <= 'z') || character == '_';
}

static bool is_word(const struct text *text, size_t at)
{
	return at < text->length && regex_is_word(text->bytes[at]);
}

static bool holds(const struct text *text, size_t at, uint32_t assertion)
{
	bool boundary;

	if (assertion == REGEX_BEGIN)
		return at == 0;
	if (assertion == REGEX_END)
		return at == text->length;
	/* Letters, digits and '_' of ASCII are one byte each, so the byte before is enough. */
	boundary = (at > 0 && is_word(text, at - 1)) != is_word(text, at);
	return boundary == (assertion == REGEX_WORD);
}

/* --- running it ------------------------------------------------------------------------------------------ */

/* Add a step and all that can be reached from it without a character, the preferred ones first. */
static void follow(struct regex *regex, struct regex_threads *threads, uint32_t step, size_t start,
		   const struct text *text, size_t at)
{
	uint32_t depth = 0;

	regex->stack[depth++] = step;
	while (depth) {
		uint32_t top = regex->stack[--depth];
		const struct regex_step *here = &regex->step[top];

		if (is_listed(threads, top))
			continue;
		regex->work++;
		list(threads, top, start);
		if (here->op == REGEX_SPLIT) {
			regex->stack[depth++] = here->b;
			regex->stack[depth++] = here->a;
		} else if (here->op == REGEX_JUMP) {
			regex->stack[depth++] = here->a;
		} else if (here->op == REGEX_ASSERT && holds(text, at, here->a)) {
			regex->stack[depth++] = top + 1;
		}
	}
}

/* Where a match can begin at or behind `at`: the end of the text, where none can. */
static size_t skip(const struct regex *regex, const struct text *text, size_t at)
{
	while (at < text->length && !regex->first[text->bytes[at]])
		at++;
	return at;
}

bool regex_is_late(struct regex *regex, bool (*late)(void *), void *context)
{
	if (regex->work < regex->ask)
		return false;
	regex->ask = regex->work + PATIENCE;
	return late && late(context);
}

static enum regex_result find_literal(const struct regex *regex, const struct text *text, size_t *start,
				      size_t *end)
{
	const uint8_t *at = literal_find(&regex->literal, text->bytes, text->bytes + text->length);

	if (!at)
		return REGEX_NONE;
	*start = (size_t)(at - text->bytes);
	*end = *start + regex->literal.length;
	return REGEX_FOUND;
}

enum regex_result regex_find(struct regex *regex, const uint8_t *bytes, size_t length, size_t *start, size_t *end,
			     bool (*late)(void *), void *context)
{
	struct text text = {bytes, length};
	bool found = false;

	if (regex->only_literal)
		return find_literal(regex, &text, start, end);
	regex->now.count = 0;
	for (size_t at = 0;;) {
		uint32_t character = NO_CHARACTER;
		size_t width = 1;
		struct regex_threads swap;

		if (!regex->now.count) {
			if (found)
				break;
			at = skip(regex, &text, at);
		}
		/* Also at the end of a text: an empty one has nothing else, and there may be very many. */
		if (regex_is_late(regex, late, context))
			return REGEX_LATE;
		if (!found)
			follow(regex, &regex->now, 0, at, &text, at);
		if (at < length)
			character = character_at(&text, at, &width);
		regex->next.count = 0;
		for (uint32_t i = 0; i < regex->now.count; i++) {
			struct regex_thread thread = regex->now.list[i];
			const struct regex_step *step = &regex->step[thread.step];

			regex->work++;
			if (step->op == REGEX_MATCH) {
				/* Those behind it are preferred less. */
				found = true;
				*start = thread.start;
				*end = at;
				break;
			}
			if (character != NO_CHARACTER && takes(regex, step, character))
				follow(regex, &regex->next, thread.step + 1, thread.start, &text, at + width);
		}
		if (at >= length)
			break;
		swap = regex->now;
		regex->now = regex->next;
		regex->next = swap;
		at += width;
	}
	return found ? REGEX_FOUND : REGEX_NONE;
}
