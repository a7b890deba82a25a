#include "regex_dfa.h"

#include <stdlib.h>
#include <string.h>

/* Columns of a row: where each kind of character leads. Two are no kinds. */
#define END_OF_LINE 0u
#define LOOK 1u                    /* one byte does not tell: where it leads is always UNKNOWN */
#define FIRST_KIND 2u
#define MAX_COLUMNS 256u
#define MAX_BOUNDS (MAX_COLUMNS - FIRST_KIND - 1)

/* The first rows are no states. States are named by where their rows begin. */
#define UNKNOWN 0u
#define MATCHED(dfa) ((dfa)->stride)
#define FIRST_STATE 2u

#define MAX_STATES 4096u
#define TABLE_CELLS (1u << 17)
#define POOL_STEPS (1u << 17)
#define SLOTS (2 * MAX_STATES)
#define SET_WORDS (REGEX_MAX_STEPS / 64)
/* Forgetting all states pays when so many bytes were read for each of them. */
#define WORTH 10u

/* What a state knows of the character before, while an assertion waits for the one behind. */
#define AT_BEGIN 1u
#define AFTER_WORD 2u

struct state {
	uint32_t first, count;     /* its steps in the pool, in order */
	uint32_t hash;
	uint8_t before;            /* AT_BEGIN, AFTER_WORD; 0 without an assertion that waits */
	bool waits;
};

struct set {
	uint64_t word[SET_WORDS];
};

struct regex_dfa {
	struct regex *regex;
	uint8_t column[256];       /* of a byte */
	uint32_t bound[MAX_BOUNDS]; /* the first characters of the kinds but the first, in order */
	uint32_t bounds, stride, words;
	bool has_words;            /* assertions about words */
	bool gave_up;
	uint32_t begin;            /* the state at the begin of a line; UNKNOWN: not made yet */
	uint32_t states, most_states, pooled;
	uint64_t read, flushes;    /* bytes since the last flush */
	struct set seen, kept;
	bool reached;              /* the end of the program, by `follow` */
	uint16_t slot[SLOTS];
	struct state state[MAX_STATES];
	uint16_t pool[POOL_STEPS];
	uint32_t table[TABLE_CELLS];
};

_Static_assert(sizeof(struct regex_dfa) <= REGEX_DFA_BYTES, "more than was promised");

/* --- kinds of characters --------------------------------------------------------------------------------- */

/* How many bounds are at or before a character: its kind. */
static uint32_t kind_of(const struct regex_dfa *dfa, uint32_t character)
{
	uint32_t low = 0, high = dfa->bounds;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (dfa->bound[middle] <= character)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool add_bound(struct regex_dfa *dfa, uint32_t character)
{
	uint32_t place = kind_of(dfa, character);

	if (character == 0 || (place && dfa->bound[place - 1] == character))
		return true;
	if (dfa->bounds == MAX_BOUNDS)
		return false;
	memmove(dfa->bound + place + 1, dfa->bound + place, (dfa->bounds - place) * sizeof(*dfa->bound));
	dfa->bound[place] = character;
	dfa->bounds++;
	return true;
}

/* Characters from `low` to `high` are to be told from the others. */
static bool tell_apart(struct regex_dfa *dfa, uint32_t low, uint32_t high)
{
	return add_bound(dfa, low) && (high == UINT32_MAX || add_bound(dfa, high + 1));
}

static bool find_kinds(struct regex_dfa *dfa)
{
	const struct regex *regex = dfa->regex;
	bool good = true;

	for (uint32_t i = 0; good && i < regex->steps; i++) {
		const struct regex_step *step = &regex->step[i];

		if (step->op == REGEX_CHARACTER)
			good = tell_apart(dfa, step->a, step->a);
		for (uint32_t j = 0; good && step->op == REGEX_SET && j < step->b; j++)
			good = tell_apart(dfa, regex->range[step->a + j].low, regex->range[step->a + j].high);
		dfa->has_words |= step->op == REGEX_ASSERT && (step->a == REGEX_WORD || step->a == REGEX_NO_WORD);
	}
	if (good && dfa->has_words)
		good = tell_apart(dfa, '0', '9') && tell_apart(dfa, 'A', 'Z') && tell_apart(dfa, '_', '_') &&
		       tell_apart(dfa, 'a', 'z');
	return good;
}

/* A character that stands for all of a column's; of END_OF_LINE there is none. */
static uint32_t character_of(const struct regex_dfa *dfa, uint32_t column)
{
	return column > FIRST_KIND ? dfa->bound[column - FIRST_KIND - 1] : 0;
}

static bool is_word(const struct regex_dfa *dfa, uint32_t column)
{
	return column >= FIRST_KIND && regex_is_word(character_of(dfa, column));
}

/* --- sets of steps --------------------------------------------------------------------------------------- */

static void clear(struct regex_dfa *dfa)
{
	memset(dfa->seen.word, 0, dfa->words * sizeof(uint64_t));
	memset(dfa->kept.word, 0, dfa->words * sizeof(uint64_t));
	dfa->reached = false;
}

/* Put a step into a set. False: it was there. */
static bool put(struct set *set, uint32_t step)
{
	uint64_t bit = UINT64_C(1) << step % 64;

	if (set->word[step / 64] & bit)
		return false;
	set->word[step / 64] |= bit;
	return true;
}

/* Whether an assertion holds between what is known of the character before and the column behind. */
static bool holds(const struct regex_dfa *dfa, uint32_t assertion, uint8_t before, uint32_t column)
{
	bool boundary;

	if (assertion == REGEX_BEGIN)
		return before & AT_BEGIN;
	if (assertion == REGEX_END)
		return column == END_OF_LINE;
	boundary = ((before & AFTER_WORD) != 0) != is_word(dfa, column);
	return boundary == (assertion == REGEX_WORD);
}

/* Keep what can be reached from a step without a character and takes one, or is an assertion that has to wait for the one behind:
 * with LOOK as the column, that one is not known yet. */
static void follow(struct regex_dfa *dfa, uint32_t from, uint8_t before, uint32_t column)
{
	struct regex *regex = dfa->regex;
	uint32_t depth = 0;

	regex->stack[depth++] = from;
	while (depth) {
		uint32_t top = regex->stack[--depth];
		const struct regex_step *step = &regex->step[top];

		if (!put(&dfa->seen, top))
			continue;
		regex->work++;
		if (step->op == REGEX_SPLIT || step->op == REGEX_JUMP) {
			regex->stack[depth++] = step->a;
			if (step->op == REGEX_SPLIT)
				regex->stack[depth++] = step->b;
		} else if (step->op == REGEX_MATCH) {
			dfa->reached = true;
		} else if (step->op != REGEX_ASSERT || (column == LOOK && step->a != REGEX_BEGIN)) {
			put(&dfa->kept, top);
		} else if (holds(dfa, step->a, before, column)) {
			regex->stack[depth++] = top + 1;
		}
	}
}

/* --- states ---------------------------------------------------------------------------------------------- */

static void forget(struct regex_dfa *dfa)
{
	memset(dfa->table + FIRST_STATE * dfa->stride, 0,
	       (size_t)(dfa->states - FIRST_STATE) * dfa->stride * sizeof(*dfa->table));
	memset(dfa->slot, 0, sizeof(dfa->slot));
	dfa->gave_up = dfa->read < (uint64_t)WORTH * dfa->states;
	dfa->states = FIRST_STATE;
	dfa->pooled = 0;
	dfa->begin = UNKNOWN;
	dfa->read = 0;
	dfa->flushes++;
}

/* Write what was kept behind what is in the pool, where there is room for every step of the program. */
static struct state list_kept(struct regex_dfa *dfa, uint8_t before)
{
	struct state made = {.first = dfa->pooled, .hash = 2166136261u};

	for (uint32_t i = 0; i < dfa->words; i++) {
		for (uint64_t left = dfa->kept.word[i]; left; left &= left - 1) {
			uint32_t step = i * 64 + (uint32_t)__builtin_ctzll(left);

			dfa->pool[made.first + made.count++] = (uint16_t)step;
			made.hash = (made.hash ^ step) * 16777619u;
			made.waits |= dfa->regex->step[step].op == REGEX_ASSERT;
		}
	}
	if (made.waits)
		made.before = dfa->has_words ? before : before & AT_BEGIN;
	made.hash = (made.hash ^ made.before) * 16777619u;
	dfa->regex->work += made.count;
	return made;
}

static bool is_same(const struct regex_dfa *dfa, const struct state *a, const struct state *b)
{
	return a->hash == b->hash && a->count == b->count && a->before == b->before &&
	       memcmp(dfa->pool + a->first, dfa->pool + b->first, a->count * sizeof(*dfa->pool)) == 0;
}

/* The state of what was kept: one that is there, or a new one. */
static uint32_t state_of_kept(struct regex_dfa *dfa, uint8_t before)
{
	struct state made;
	uint32_t slot;

	if (dfa->reached)
		return MATCHED(dfa);
	if (dfa->states == dfa->most_states || POOL_STEPS - dfa->pooled < dfa->regex->steps)
		forget(dfa);
	made = list_kept(dfa, before);
	slot = (made.hash ^ made.hash >> 15) % SLOTS;
	for (; dfa->slot[slot]; slot = (slot + 1) % SLOTS)
		if (is_same(dfa, &dfa->state[dfa->slot[slot]], &made))
			return dfa->slot[slot] * dfa->stride;
	dfa->pooled += made.count;
	dfa->slot[slot] = (uint16_t)dfa->states;
	dfa->state[dfa->states] = made;
	return dfa->states++ * dfa->stride;
}

static uint32_t begin_of_line(struct regex_dfa *dfa)
{
	if (dfa->begin == UNKNOWN) {
		clear(dfa);
		follow(dfa, 0, AT_BEGIN, LOOK);
		dfa->begin = state_of_kept(dfa, AT_BEGIN);
	}
	return dfa->begin;
}

/* Let the assertions of a state that waited go on, now that the column is known: `kept` is then what takes a character. */
static void resolve(struct regex_dfa *dfa, const struct state *state, uint32_t column)
{
	clear(dfa);
	for (uint32_t i = 0; i < state->count; i++) {
		uint32_t step = dfa->pool[state->first + i];

		if (state->waits)
			follow(dfa, step, state->before, column);
		else
			put(&dfa->kept, step);
	}
}

/* Find out where a column leads from a state. */
static uint32_t lead(struct regex_dfa *dfa, uint32_t from, uint32_t column)
{
	uint8_t before = is_word(dfa, column) ? AFTER_WORD : 0;
	uint64_t flushes = dfa->flushes;
	struct set takers;
	uint32_t to;

	resolve(dfa, &dfa->state[from / dfa->stride], column);
	if (dfa->reached) {
		to = MATCHED(dfa);
	} else if (column == END_OF_LINE) {
		to = begin_of_line(dfa);
	} else {
		memcpy(takers.word, dfa->kept.word, dfa->words * sizeof(uint64_t));
		clear(dfa);
		for (uint32_t i = 0; i < dfa->words; i++) {
			for (uint64_t left = takers.word[i]; left; left &= left - 1) {
				uint32_t step = i * 64 + (uint32_t)__builtin_ctzll(left);

				dfa->regex->work++;
				if (regex_takes(dfa->regex, step, character_of(dfa, column)))
					follow(dfa, step + 1, before, LOOK);
			}
		}
		/* A match can begin at each character. */
		follow(dfa, 0, before, LOOK);
		to = state_of_kept(dfa, before);
	}
	/* Otherwise the row is another state's by now, or nobody's. */
	if (dfa->flushes == flushes)
		dfa->table[from + column] = to;
	return to;
}

/* --- over a text ----------------------------------------------------------------------------------------- */

/* The column of what is at `at`, and its length. */
static uint32_t look(const struct regex_dfa *dfa, const uint8_t *text, size_t length, size_t at, size_t *width)
{
	*width = 1;
	if (text[at] == '\n')
		return END_OF_LINE;
	if (text[at] == '\r' && (at + 1 == length || text[at + 1] == '\n')) {
		*width = at + 1 == length ? 1 : 2;
		return END_OF_LINE;
	}
	return FIRST_KIND + kind_of(dfa, regex_character(text, length, at, width));
}

enum regex_result regex_dfa_find(struct regex_dfa *dfa, const uint8_t *text, size_t length, size_t *at,
				 bool (*late)(void *), void *context)
{
	const uint32_t *table = dfa->table;
	size_t here = 0, counted = 0;
	bool open = length && text[length - 1] != '\n' && text[length - 1] != '\r';
	uint32_t state;

	*at = 0;
	if (dfa->gave_up)
		return REGEX_UNSURE;
	state = begin_of_line(dfa);
	while (state != MATCHED(dfa)) {
		uint32_t column = END_OF_LINE, next;
		size_t width = 0;

		while (here < length && (next = table[state + dfa->column[text[here]]]) > MATCHED(dfa)) {
			state = next;
			here++;
		}
		*at = here;
		if (here == length && !open)
			break;
		if (here < length)
			column = look(dfa, text, length, here, &width);
		open = open && here < length;
		next = table[state + column];
		if (next == UNKNOWN) {
			dfa->read += here - counted;
			counted = here;
			next = lead(dfa, state, column);
			if (dfa->gave_up)
				return REGEX_UNSURE;
			if (regex_is_late(dfa->regex, late, context))
				return REGEX_LATE;
		}
		state = next;
		here += width;
	}
	dfa->read += here - counted;
	return state == MATCHED(dfa) ? REGEX_FOUND : REGEX_NONE;
}

/* --- its life -------------------------------------------------------------------------------------------- */

struct regex_dfa *regex_dfa_new(struct regex *regex)
{
	struct regex_dfa *dfa = regex->steps ? calloc(1, sizeof(*dfa)) : NULL;

	if (!dfa)
		return NULL;
	dfa->regex = regex;
	if (!find_kinds(dfa)) {
		free(dfa);
		return NULL;
	}
	dfa->words = (regex->steps + 63) / 64;
	for (dfa->stride = 4; dfa->stride < FIRST_KIND + dfa->bounds + 1;)
		dfa->stride *= 2;
	dfa->states = FIRST_STATE;
	dfa->most_states = TABLE_CELLS / dfa->stride < MAX_STATES ? TABLE_CELLS / dfa->stride : MAX_STATES;
	for (uint32_t byte = 0; byte < 256; byte++)
		dfa->column[byte] = (uint8_t)(byte < 0x80 ? FIRST_KIND + kind_of(dfa, byte) : LOOK);
	dfa->column['\n'] = END_OF_LINE;
	dfa->column['\r'] = LOOK;
	return dfa;
}

void regex_dfa_free(struct regex_dfa *dfa)
{
	free(dfa);
}

void regex_dfa_retry(struct regex_dfa *dfa)
{
	dfa->gave_up = false;
}

uint64_t regex_dfa_flushes(const struct regex_dfa *dfa)
{
	return dfa->flushes;
}
