/* Any program over any text: the simulation, the automaton and a matcher that goes back (backtrack.h) find the same lines and the same
 * matches in them, within the steps and the memory that are promised, also after one that was told that it is late.
 *
 * The input: enum look, how the search is done (struct search), a literal, the program, and the text. A program is what is on the wire, or is
 * put together from three bytes a step, so that each of them is one. */
#include <sanitizer/allocator_interface.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backtrack.h"
#include "lines.h"
#include "must.h"
#include "regex_dfa.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum look { LOOK_RAW = 1, LOOK_LITERAL = 2, LOOK_FOLD = 4, LOOK_ONLY_LITERAL = 8, LOOK_LATE = 16 };

#define MOST_STEPS 4096u
#define MOST_TEXT (64u << 10)
#define MOST_LINES 4096u
#define MOST_PROGRAM (160u << 10)
/* Of regex.c: so many steps it may go on without asking whether it is late. */
#define UNASKED (1u << 17)

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t byte(struct input *input)
{
	if (!input->left)
		return 0;
	input->left--;
	return *input->at++;
}

static const uint8_t *bytes(struct input *input, size_t *length)
{
	const uint8_t *at = input->at;

	if (*length > input->left)
		*length = input->left;
	input->at += *length;
	input->left -= *length;
	return at;
}

/* --- programs ----------------------------------------------------------------------------------------------- */

static uint8_t program[MOST_PROGRAM];
static size_t program_length;
static struct regex_step made[MOST_STEPS];

static void put32(uint32_t value)
{
	wire_store32(program + program_length, value);
	program_length += 4;
}

/* ASCII as it is, otherwise from all over and from the edges of UTF-8. */
static uint32_t character(uint8_t which)
{
	static const uint32_t others[] = {0x80,	  0xe9,	  0x7ff,  0x800,   0x4e2d,   0xd7ff,	0xd800,	   0xdc80,
					  0xdcc3, 0xdcff, 0xe000, 0xffff, 0x10000, 0x10ffff, 0x110000, UINT32_MAX};

	return which < 0x80 ? which : others[which % 16];
}

static void put_literal(struct input *input, uint8_t look)
{
	size_t length = look & (LOOK_LITERAL | LOOK_ONLY_LITERAL) ? byte(input) % 40u : 0;
	const uint8_t *literal = bytes(input, &length);

	program[program_length++] = (uint8_t)((look & LOOK_FOLD ? 1 : 0) | (look & LOOK_ONLY_LITERAL && length ? 2 : 0));
	put32((uint32_t)length);
	if (length)
		memcpy(program + program_length, literal, length);
	program_length += length;
}

/* Where a step leads: near it, forward or back. */
static uint32_t target(uint32_t from, uint8_t distance, uint32_t steps)
{
	return (from + 1 + distance + (distance < 0x80 ? 0 : steps * 256 - 256)) % steps;
}

/* Steps of three bytes, each perhaps many times; then MATCH, and behind it, never come to, a set whose characters are told apart. */
static uint32_t make_steps(struct input *input, uint32_t ranges, uint32_t apart)
{
	uint32_t count = byte(input), steps = 0, last;
	struct input again = *input;

	for (uint32_t i = 0; i < count; i++) {
		steps += 1u + byte(&again) / 8u;
		byte(&again);
		byte(&again);
	}
	if (steps + 3 > MOST_STEPS)
		return 0;
	last = steps;
	steps = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t head = byte(input), a = byte(input), b = byte(input), op = head % 8u;

		for (uint32_t more = 1u + head / 8u; more; more--, steps++) {
			struct regex_step *step = &made[steps];

			*step = (struct regex_step){.op = op ? op : REGEX_CHARACTER};
			if (step->op == REGEX_CHARACTER)
				step->a = character(a);
			if (step->op == REGEX_SET && ranges) {
				step->a = a % ranges;
				step->b = b % (ranges - step->a + 1);
			}
			if (step->op == REGEX_ASSERT)
				step->a = a % REGEX_ASSERTIONS;
			if (step->op == REGEX_SPLIT || step->op == REGEX_JUMP)
				step->a = target(steps, a, last + 1);
			if (step->op == REGEX_SPLIT)
				step->b = target(steps, b, last + 1);
		}
	}
	made[steps++] = (struct regex_step){.op = REGEX_MATCH};
	made[steps++] = (struct regex_step){.op = REGEX_SET, .a = ranges, .b = apart};
	made[steps++] = (struct regex_step){.op = REGEX_MATCH};
	return steps;
}

/* False: it was too much. */
static bool put_program(struct input *input, uint8_t look)
{
	uint32_t ranges, apart, steps;
	struct input at_ranges;

	put_literal(input, look);
	if (program[0] & 2) {
		put32(0);
		put32(0);
		return true;
	}
	ranges = byte(input) % 16u;
	apart = byte(input);
	at_ranges = *input;
	for (uint32_t i = 0; i < 2 * ranges; i++)
		byte(input);
	steps = make_steps(input, ranges, apart);
	if (!steps)
		return false;
	put32(steps);
	for (uint32_t i = 0; i < steps; i++) {
		program[program_length++] = made[i].op;
		put32(made[i].a);
		put32(made[i].b);
	}
	put32(ranges + apart);
	for (uint32_t i = 0; i < ranges; i++) {
		uint32_t low = character(byte(&at_ranges)), high = low + byte(&at_ranges);

		put32(low);
		put32(high < low ? UINT32_MAX : high);
	}
	for (uint32_t i = 0; i < apart; i++) {
		put32(0x3000 + 2 * i);
		put32(0x3000 + 2 * i);
	}
	return true;
}

/* Load the program of the input. False: it is none, which one that was put together here never is. */
static bool load(struct input *input, uint8_t look, struct regex *regex)
{
	size_t length;

	program_length = 0;
	if (look & LOOK_RAW) {
		length = byte(input);
		length = length << 8 | byte(input);
		const uint8_t *raw = bytes(input, &length);

		if (regex_load(regex, raw, length))
			return true;
	} else {
		/* Memory of its own, so that one byte too many is seen. */
		uint8_t *own;
		bool good;

		if (!put_program(input, look))
			return false;
		own = malloc(program_length);
		MUST(own);
		memcpy(own, program, program_length);
		good = regex_load(regex, own, program_length);
		free(own);
		MUST(good);
		for (uint32_t i = 0; i < regex->steps; i++)
			MUST(regex->step[i].op == made[i].op && regex->step[i].a == made[i].a && regex->step[i].b == made[i].b);
		return true;
	}
	MUST(!regex->step && !regex->range && !regex->stack && !regex->literal.bytes && !regex->now.list && !regex->next.place);
	return false;
}

/* --- the text, and what is to be found in it ---------------------------------------------------------------- */

struct shown {
	uint64_t number;
	size_t begin, length;      /* in the text, without its end */
	size_t stop;               /* where its '\n' is, or the end of the text */
	bool match;
	size_t start, end;
};

static uint8_t text[MOST_TEXT];
static size_t text_length;
static struct shown lines_of_text[MOST_LINES], wanted[MOST_LINES];
static size_t line_count, wanted_count, first_match;
/* Whether every match holds the literal, as whoever makes programs has to see to. */
static bool promise_kept;

/* The rest of the input, each line `times` over: so an automaton may forget states that have paid, and those that have not. */
static void make_text(struct input *input, uint32_t times)
{
	text_length = 0;
	while (input->left) {
		const uint8_t *found = memchr(input->at, '\n', input->left);
		size_t length = found ? (size_t)(found - input->at) + 1 : input->left;
		const uint8_t *line = bytes(input, &length);

		for (uint32_t i = 0; i < times && text_length + length <= MOST_TEXT; i++) {
			memcpy(text + text_length, line, length);
			text_length += length;
		}
	}
}

/* False: they are too many or too long for the matcher that goes back. */
static bool split_text(const struct regex *regex)
{
	size_t begin = 0, cells = 0;

	line_count = 0;
	while (begin < text_length) {
		const uint8_t *found = memchr(text + begin, '\n', text_length - begin);
		size_t stop = found ? (size_t)(found - text) : text_length, end = stop;

		if (end > begin && text[end - 1] == '\r')
			end--;
		cells += (end - begin + 1) * regex->steps;
		if (line_count == MOST_LINES || cells > BACKTRACK_CELLS)
			return false;
		lines_of_text[line_count] =
			(struct shown){.number = line_count + 1, .begin = begin, .length = end - begin, .stop = stop};
		line_count++;
		begin = stop + 1;
	}
	return true;
}

static void match_line(const struct regex *regex, struct shown *line)
{
	const uint8_t *at = text + line->begin;
	size_t place;

	if (regex->only_literal) {
		place = backtrack_literal(&regex->literal, at, line->length);
		line->match = place < line->length;
		line->start = place;
		line->end = place + regex->literal.length;
		return;
	}
	line->match = backtrack_find(regex, at, line->length, &line->start, &line->end);
	if (line->match && regex->literal.length) {
		size_t length = line->end - line->start;

		promise_kept &= backtrack_literal(&regex->literal, at + line->start, length) < length;
	}
}

/* Every line that matches, with those around it. */
static void find_wanted(const struct regex *regex, size_t before, size_t after)
{
	size_t shown = 0;

	wanted_count = 0;
	promise_kept = true;
	first_match = line_count;
	for (size_t i = 0; i < line_count; i++) {
		match_line(regex, &lines_of_text[i]);
		if (lines_of_text[i].match && first_match == line_count)
			first_match = i;
	}
	for (size_t i = 0; i < line_count; i++) {
		if (!lines_of_text[i].match)
			continue;
		for (size_t j = i > before ? i - before : 0; j <= i + after && j < line_count; j++)
			if (j >= shown)
				wanted[wanted_count++] = lines_of_text[j], shown = j + 1;
	}
}

/* --- searching ---------------------------------------------------------------------------------------------- */

struct search {
	struct regex *regex;
	size_t piece, before, after, taken;
	const uint8_t *base;       /* of the text in the window */
	uint64_t asked;            /* the steps that had been taken when it last asked */
	bool give_up, gave_up;
};

static uint8_t window[LINES_WINDOW];

/* It has not gone on for long without asking. */
static void check_asked(const struct search *search)
{
	MUST(search->regex->work - search->asked <= UNASKED + 6 * (uint64_t)search->regex->steps);
}

static bool late(void *context)
{
	struct search *search = context;

	MUST(!search->gave_up);
	check_asked(search);
	search->asked = search->regex->work;
	return search->gave_up = search->give_up;
}

static bool take(void *context, const struct line *line)
{
	struct search *search = context;
	const struct shown *expected = &wanted[search->taken];

	if (!promise_kept)
		return true;
	MUST(search->taken < wanted_count);
	MUST(line->number == expected->number && line->length == expected->length && line->match == expected->match);
	MUST(line->length == 0 || memcmp(line->text, text + expected->begin, line->length) == 0);
	MUST(!line->match || (line->start == expected->start && line->end == expected->end));
	search->taken++;
	return true;
}

static void search_lines(struct search *search, struct regex_dfa *dfa)
{
	struct lines lines = {.pattern = search->regex, .dfa = dfa, .before = search->before, .after = search->after,
			      .take = take, .late = late, .context = search, .window = window};

	search->taken = 0;
	search->gave_up = false;
	search->asked = search->regex->work;
	lines_begin(&lines);
	for (size_t done = 0; done < text_length;) {
		size_t room, count = text_length - done < search->piece ? text_length - done : search->piece;
		uint8_t *at = lines_room(&lines, &room);

		MUST(room >= count);
		memcpy(at, text + done, count);
		lines_came(&lines, count);
		done += count;
	}
	lines_finish(&lines);
	check_asked(search);
	MUST(search->gave_up == lines.over);
	MUST(!promise_kept || search->gave_up || search->taken == wanted_count);
}

/* Each line by itself, for the steps that it may take. */
static void search_each(struct regex *regex)
{
	for (size_t i = 0; i < line_count; i++) {
		const struct shown *line = &lines_of_text[i];
		uint64_t before = regex->work;
		size_t start, end;
		bool found = regex_find(regex, text + line->begin, line->length, &start, &end, NULL, NULL) == REGEX_FOUND;

		MUST(found == line->match && (!found || (start == line->start && end == line->end)));
		MUST(regex->work - before <= 2 * (uint64_t)regex->steps * (line->length + 1));
	}
}

/* The whole text at once: twice, since what the automaton knows it need not find out again. */
static void search_whole(struct search *search, struct regex_dfa *dfa)
{
	struct regex *regex = search->regex;
	uint64_t work;

	/* Without a line there is nothing to ask for. */
	for (int i = 0; i < 2 && text_length; i++) {
		enum regex_result result;
		size_t at;

		regex_dfa_retry(dfa);
		search->gave_up = false;
		work = search->asked = regex->work;
		result = regex_dfa_find(dfa, text, text_length, &at, late, search);
		MUST(at <= text_length);
		MUST((result == REGEX_LATE) == search->gave_up);
		MUST(regex->work - work <= 4 * (uint64_t)regex->steps * (text_length + 2));
		if (result == REGEX_FOUND)
			MUST(first_match < line_count && at >= lines_of_text[first_match].begin && at <= lines_of_text[first_match].stop);
		if (result == REGEX_NONE)
			MUST(first_match == line_count);
		if (result == REGEX_UNSURE) {
			MUST(first_match == line_count || at <= lines_of_text[first_match].stop);
			MUST(regex_dfa_find(dfa, text, text_length, &at, late, search) == REGEX_UNSURE && at == 0);
		}
		if (i && !search->give_up && regex_dfa_flushes(dfa) == 0)
			MUST(regex->work == work);
	}
}

/* Let both be told that it is late, wherever that is: they have to be as good as new then. */
static void search_until_late(struct search *search, struct regex_dfa *dfa, uint64_t patience)
{
	search->give_up = true;
	search->regex->ask = search->regex->work + patience;
	search_lines(search, NULL);
	if (dfa) {
		search->regex->ask = search->regex->work + patience;
		search_whole(search, dfa);
	}
	search->give_up = false;
}

static void search_all(struct search *search, uint64_t patience)
{
	struct regex *regex = search->regex;
	size_t before = __sanitizer_get_current_allocated_bytes(), with;
	struct regex_dfa *dfa = regex_dfa_new(regex);

	with = __sanitizer_get_current_allocated_bytes();
	MUST(with - before <= REGEX_DFA_BYTES);
	if (patience)
		search_until_late(search, dfa, patience);
	search_each(regex);
	search_lines(search, NULL);
	if (dfa) {
		search_whole(search, dfa);
		search_lines(search, dfa);
	}
	MUST(__sanitizer_get_current_allocated_bytes() == with);
	regex_dfa_free(dfa);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t look = byte(&input), around, times, ask;
	struct regex regex;
	struct search search = {.regex = &regex};

	search.piece = 1u + byte(&input) * 16u;
	around = byte(&input);
	search.before = around % 4u;
	search.after = around / 4u % 4u;
	times = 1u + byte(&input) % 32u;
	ask = byte(&input);
	if (!load(&input, look, &regex))
		return 0;
	make_text(&input, times);
	if (split_text(&regex)) {
		find_wanted(&regex, search.before, search.after);
		search_all(&search, look & LOOK_LATE ? 1u + ask * 16u : 0);
	}
	regex_free(&regex);
	return 0;
}
