#define _GNU_SOURCE
#include "lines.h"
#include "program.h"
#include "regex_dfa.h"

/* --- patterns by chance ---------------------------------------------------------------------------------- */

#define MOST_STEPS 300u

struct made {
	struct regex_step step[MOST_STEPS];
	struct regex_range range[MOST_STEPS];
	uint32_t steps, ranges;
};

static const uint32_t characters[] = {'a', 'b', 'B', '_', '7', ' ', '\r', 0xe9, 0x4e2d, 0x1f600, 0xdcff, 0xdcc3};

static uint32_t some_character(void)
{
	return characters[test_below(sizeof characters / sizeof characters[0])];
}

static uint32_t emit(struct made *made, uint8_t op, uint32_t a, uint32_t b)
{
	made->step[made->steps] = (struct regex_step){.op = op, .a = a, .b = b};
	return made->steps++;
}

static void make_leaf(struct made *made)
{
	uint32_t ranges = 1 + test_below(3), first = made->ranges;

	switch (test_below(7)) {
	case 0:
		emit(made, REGEX_ANY, 0, 0);
		return;
	case 1:
		emit(made, REGEX_ASSERT, test_below(REGEX_ASSERTIONS), 0);
		return;
	case 2:
		for (uint32_t i = 0; i < ranges; i++) {
			uint32_t low = some_character();

			made->range[made->ranges++] = (struct regex_range){low, low + test_below(60)};
		}
		emit(made, REGEX_SET, first, ranges);
		return;
	default:
		emit(made, REGEX_CHARACTER, some_character(), 0);
	}
}

static void make_pattern(struct made *made, int depth)
{
	uint32_t split, jump;

	if (depth == 0) {
		make_leaf(made);
		return;
	}
	switch (test_below(6)) {
	case 0:
		split = emit(made, REGEX_SPLIT, made->steps + 1, 0);
		make_pattern(made, depth - 1);
		jump = emit(made, REGEX_JUMP, 0, 0);
		made->step[split].b = made->steps;
		make_pattern(made, depth - 1);
		made->step[jump].a = made->steps;
		return;
	case 1:
		split = emit(made, REGEX_SPLIT, made->steps + 1, 0);
		make_pattern(made, depth - 1);
		emit(made, REGEX_JUMP, split, 0);
		made->step[split].b = made->steps;
		return;
	case 2:
		split = emit(made, REGEX_SPLIT, made->steps + 1, 0);
		make_pattern(made, depth - 1);
		made->step[split].b = made->steps;
		return;
	default:
		make_pattern(made, depth - 1);
		make_pattern(made, depth - 1);
	}
}

static void load_with(struct regex *regex, const struct made *made, const char *literal)
{
	struct program program;

	head(&program, 0, literal);
	put32(&program, made->steps);
	for (uint32_t i = 0; i < made->steps; i++)
		step(&program, made->step[i].op, made->step[i].a, made->step[i].b);
	put32(&program, made->ranges);
	for (uint32_t i = 0; i < made->ranges; i++) {
		put32(&program, made->range[i].low);
		put32(&program, made->range[i].high);
	}
	CHECK(regex_load(regex, program.bytes, program.length));
}

static void load(struct regex *regex, const struct made *made)
{
	load_with(regex, made, "");
}

static size_t make_text(char *text, size_t pieces)
{
	static const char *const parts[] = {"a",    "b",	"B",		  "_",	  "7",	  " ",	"-", "\n", "\n",
					    "\r\n", "\r",	"\xc3\xa9",	  "\xe4\xb8\xad", "\xf0\x9f\x98\x80",
					    "\xc3", "\xe4\xb8", "\xff"};
	size_t length = 0;

	for (size_t i = 0; i < pieces; i++) {
		const char *part = parts[test_below(sizeof parts / sizeof parts[0])];

		memcpy(text + length, part, strlen(part));
		length += strlen(part);
	}
	return length;
}

/* --- the lines that match, as each of the two has them --------------------------------------------------- */

struct found {
	size_t count;
	uint64_t number[4096];
	size_t start[4096], end[4096];
};

static bool note(void *context, const struct line *line)
{
	struct found *found = context;

	CHECK(found->count < 4096);
	found->number[found->count] = line->number;
	found->start[found->count] = line->start;
	found->end[found->count++] = line->end;
	return true;
}

static void find_all(struct lines *lines, struct found *found, const char *text, size_t length, size_t piece)
{
	found->count = 0;
	lines->take = note;
	lines->context = found;
	lines_begin(lines);
	while (length) {
		size_t room, next = length < piece ? length : piece;

		memcpy(lines_room(lines, &room), text, next);
		lines_came(lines, next);
		text += next;
		length -= next;
	}
	lines_finish(lines);
}

static void same(const struct found *got, const struct found *wanted)
{
	EQUAL(got->count, wanted->count);
	for (size_t i = 0; i < got->count; i++) {
		EQUAL(got->number[i], wanted->number[i]);
		EQUAL(got->start[i], wanted->start[i]);
		EQUAL(got->end[i], wanted->end[i]);
	}
}

TEST("the automaton finds the lines that the simulation finds, whatever pattern and text are")
{
	static struct found with, without;
	static char text[2048];
	uint8_t *window = malloc(LINES_WINDOW);
	size_t matched = 0, unmatched = 0;

	for (int round = 0; round < 4000; round++) {
		struct made made = {0};
		struct regex regex;
		struct lines plain = {.pattern = &regex, .window = window}, quick = plain;
		bool has_literal = test_below(4) == 0;

		make_pattern(&made, (int)test_below(6));
		if (has_literal)
			emit(&made, REGEX_CHARACTER, 'a', 0);
		emit(&made, REGEX_MATCH, 0, 0);
		load_with(&regex, &made, has_literal ? "a" : "");
		quick.dfa = regex_dfa_new(&regex);
		CHECK(quick.dfa);
		for (int i = 0; i < 4; i++) {
			size_t length = make_text(text, test_below(300));

			find_all(&plain, &without, text, length, length);
			find_all(&quick, &with, text, length, 1 + test_below((uint32_t)length + 1));
			same(&with, &without);
			matched += without.count;
			unmatched += plain.number - without.count;
		}
		regex_dfa_free(quick.dfa);
		regex_free(&regex);
	}
	/* They would agree on nothing, too. */
	CHECK(matched > 10000 && unmatched > 10000);
}

TEST("lines that hold the literal are left to the automaton before the simulation sees them")
{
	/* a+b */
	struct made made = {.step = {{REGEX_CHARACTER, 'a', 0}, {REGEX_SPLIT, 0, 2}, {REGEX_CHARACTER, 'b', 0}, {REGEX_MATCH, 0, 0}},
			    .steps = 4};
	static char text[100000];
	static struct found found;
	struct regex regex;
	struct lines lines = {.pattern = &regex, .window = malloc(LINES_WINDOW)};

	load_with(&regex, &made, "a");
	lines.dfa = regex_dfa_new(&regex);
	memset(text, 'a', sizeof text);
	for (size_t i = 49; i < sizeof text; i += 50)
		text[i] = '\n';
	text[70048] = 'b';
	find_all(&lines, &found, text, sizeof text, sizeof text);
	EQUAL(found.count, 1);
	EQUAL(found.number[0], 1401);
	CHECK(regex.work < 1000);
	regex_dfa_free(lines.dfa);
	regex_free(&regex);
}

/* `text` is one line, and is asked for by itself. */
static bool has(struct regex_dfa *dfa, const char *text)
{
	size_t at;
	enum regex_result result = regex_dfa_find(dfa, (const uint8_t *)text, strlen(text), &at, NULL, NULL);

	CHECK(result == REGEX_FOUND || result == REGEX_NONE);
	return result == REGEX_FOUND;
}

TEST("ends of lines and of words are seen from both sides, over the edges of a text")
{
	/* \ba$ */
	struct made made = {.step = {{REGEX_ASSERT, REGEX_WORD, 0}, {REGEX_CHARACTER, 'a', 0}, {REGEX_ASSERT, REGEX_END, 0},
				     {REGEX_MATCH, 0, 0}}, .steps = 4};
	static const char *const yes[] = {"a", "a\n", "a\r\n", "a\r", "b\na", "ab\n-a\nb", "\xc3\xa9" "a", "\xff" "a\n"};
	static const char *const no[] = {"", "\n", "aa", "ba\n", "a-", "a\r\r\n", "a\xc3\xa9\n", "_a", "b"};
	struct regex regex;
	struct regex_dfa *dfa;

	load(&regex, &made);
	dfa = regex_dfa_new(&regex);
	CHECK(dfa);
	/* Twice: the second time its states are there. */
	for (int i = 0; i < 2; i++) {
		for (size_t j = 0; j < sizeof yes / sizeof yes[0]; j++)
			CHECK(has(dfa, yes[j]));
		for (size_t j = 0; j < sizeof no / sizeof no[0]; j++)
			CHECK(!has(dfa, no[j]));
	}
	regex_dfa_free(dfa);
	regex_free(&regex);
}

/* --- hostile ones ---------------------------------------------------------------------------------------- */

static void a_or_b(struct made *made)
{
	made->range[0] = (struct regex_range){'a', 'b'};
	made->ranges = 1;
	emit(made, REGEX_SET, 0, 1);
}

/* (a|b)*a(a|b){n}c: as many states as there are subsets of n. */
static void subsets(struct regex *regex, int n)
{
	struct made made = {0};

	emit(&made, REGEX_SPLIT, 1, 3);
	a_or_b(&made);
	emit(&made, REGEX_JUMP, 0, 0);
	emit(&made, REGEX_CHARACTER, 'a', 0);
	for (int i = 0; i < n; i++)
		a_or_b(&made);
	emit(&made, REGEX_CHARACTER, 'c', 0);
	emit(&made, REGEX_MATCH, 0, 0);
	load(regex, &made);
}

static void fill(uint8_t *text, size_t length, size_t line)
{
	for (size_t i = 0; i < length; i++)
		text[i] = i % line == line - 1 ? '\n' : test_below(2) ? 'a' : 'b';
}

TEST("a pattern of more states than there is room for is given up where they do not pay, and found by the simulation")
{
	static uint8_t text[1 << 16];
	static struct found found;
	struct regex regex;
	struct lines lines = {.pattern = &regex, .window = malloc(LINES_WINDOW)};
	size_t at, gave_up;

	subsets(&regex, 40);
	lines.dfa = regex_dfa_new(&regex);
	fill(text, sizeof text, 1000);
	EQUAL(regex_dfa_find(lines.dfa, text, sizeof text, &at, NULL, NULL), REGEX_UNSURE);
	EQUAL(regex_dfa_flushes(lines.dfa), 1);
	gave_up = at;
	EQUAL(regex_dfa_find(lines.dfa, text, sizeof text, &at, NULL, NULL), REGEX_UNSURE);
	EQUAL(at, 0);
	/* Whoever sets a line up behind where it gave up, or in it, hides nothing. */
	for (size_t i = gave_up - 2500; i < gave_up + 2500; i += 1000) {
		size_t end = i / 1000 * 1000 + 998;

		text[end] = 'c';
		text[end - 41] = 'a';
	}
	find_all(&lines, &found, (const char *)text, sizeof text, sizeof text);
	EQUAL(found.count, 5);
	EQUAL(regex_dfa_flushes(lines.dfa), 2);
	regex_dfa_free(lines.dfa);
	regex_free(&regex);
}

TEST("states that are forgotten now and then, after enough text, are made again")
{
	static uint8_t text[1 << 20];
	struct regex regex;
	struct regex_dfa *dfa;
	size_t at;

	/* 8,192 states, of which few are new in a text that repeats each line. */
	subsets(&regex, 12);
	dfa = regex_dfa_new(&regex);
	for (int round = 0; round < 40; round++) {
		fill(text, 1000, 1000);
		for (size_t i = 1000; i + 1000 <= sizeof text; i += 1000)
			memcpy(text + i, text, 1000);
		EQUAL(regex_dfa_find(dfa, text, sizeof text / 1000 * 1000, &at, NULL, NULL), REGEX_NONE);
	}
	CHECK(regex_dfa_flushes(dfa) > 2);
	text[500012] = 'c';
	text[499999] = 'a';
	memset(text + 500000, 'b', 12);
	EQUAL(regex_dfa_find(dfa, text, sizeof text, &at, NULL, NULL), REGEX_FOUND);
	EQUAL(at, 500012);
	regex_dfa_free(dfa);
	regex_free(&regex);
}

TEST("lines are found as ever while states are forgotten over and over")
{
	static struct found with, without;
	static uint8_t text[60000];
	struct regex regex;
	struct lines plain = {.pattern = &regex, .window = malloc(LINES_WINDOW)}, quick = plain;

	subsets(&regex, 12);
	quick.dfa = regex_dfa_new(&regex);
	for (int round = 0; round < 20; round++) {
		fill(text, sizeof text, 100);
		for (size_t i = 0; i < sizeof text; i += 50 + test_below(300))
			text[i] = 'c';
		find_all(&plain, &without, (const char *)text, sizeof text, sizeof text);
		find_all(&quick, &with, (const char *)text, sizeof text, sizeof text);
		same(&with, &without);
		CHECK(with.count > 10);
	}
	CHECK(regex_dfa_flushes(quick.dfa) > 5);
	regex_dfa_free(quick.dfa);
	regex_free(&regex);
}

TEST("(x?){50}x{50} takes as many steps as it has states, not as the text has characters")
{
	static uint8_t text[1 << 20];
	struct made made = {0};
	struct regex regex;
	struct regex_dfa *dfa;
	size_t at;

	for (int i = 0; i < 50; i++) {
		emit(&made, REGEX_SPLIT, made.steps + 1, made.steps + 2);
		emit(&made, REGEX_CHARACTER, 'x', 0);
	}
	for (int i = 0; i < 50; i++)
		emit(&made, REGEX_CHARACTER, 'x', 0);
	emit(&made, REGEX_MATCH, 0, 0);
	load(&regex, &made);
	dfa = regex_dfa_new(&regex);
	memset(text, 'x', sizeof text);
	for (size_t i = 49; i < sizeof text; i += 50)
		text[i] = '-';
	EQUAL(regex_dfa_find(dfa, text, sizeof text, &at, NULL, NULL), REGEX_NONE);
	CHECK(regex.work < 100 * 400);
	text[sizeof text - 1] = text[sizeof text / 50 * 50 - 1] = 'x';
	EQUAL(regex_dfa_find(dfa, text, sizeof text, &at, NULL, NULL), REGEX_FOUND);
	regex_dfa_free(dfa);
	regex_free(&regex);
}

TEST("a pattern that tells very many kinds of characters apart has no automaton")
{
	struct made made = {0};
	struct regex regex;
	size_t start, end;

	for (uint32_t i = 0; i < 200; i++)
		emit(&made, REGEX_CHARACTER, 0x1000 + 2 * i, 0);
	emit(&made, REGEX_MATCH, 0, 0);
	load(&regex, &made);
	CHECK(!regex_dfa_new(&regex));
	EQUAL(regex_find(&regex, (const uint8_t *)"a", 1, &start, &end, NULL, NULL), REGEX_NONE);
	regex_free(&regex);
}

static bool at_once(void *context)
{
	(*(int *)context)++;
	return true;
}

TEST("an automaton that is long in the making asks whether it is late, and obeys")
{
	static uint8_t text[1 << 16];
	struct regex regex;
	struct regex_dfa *dfa;
	int asked = 0;
	size_t at;

	subsets(&regex, 100);
	dfa = regex_dfa_new(&regex);
	fill(text, sizeof text, sizeof text);
	EQUAL(regex_dfa_find(dfa, text, sizeof text, &at, at_once, &asked), REGEX_LATE);
	EQUAL(asked, 1);
	regex_dfa_free(dfa);
	regex_free(&regex);
}

TEST("many short lines are late as soon as one long one, and so are empty ones")
{
	static uint8_t text[1 << 16];

	fill(text, sizeof text, sizeof text);
	for (size_t length = 0; length <= 16; length += 16) {
		struct regex regex;
		size_t start, end;
		int asked = 0, rounds = 0;

		subsets(&regex, 100);
		while (regex_find(&regex, text, length, &start, &end, at_once, &asked) == REGEX_NONE)
			CHECK(++rounds < 100000);
		EQUAL(asked, 1);
		regex_free(&regex);
	}
}
