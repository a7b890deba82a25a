#define _GNU_SOURCE
#include <sys/stat.h>
#include <unistd.h>

#include "changes.h"
#include "filter.h"
#include "lines.h"
#include "literal.h"
#include "nodes.h"
#include "program.h"
#include "regex.h"
#include "test.h"
#include "wire.h"

/* --- programs by hand ------------------------------------------------------------------------------------ */

static bool loads(const struct program *program)
{
	struct regex regex;
	bool good = regex_load(&regex, program->bytes, program->length);

	if (good)
		regex_free(&regex);
	return good;
}

/* (a+)+$, as the client writes it. */
static void nested(struct program *program)
{
	head(program, 0, "a");
	put32(program, 8);
	step(program, REGEX_CHARACTER, 'a', 0);
	step(program, REGEX_SPLIT, 2, 4);
	step(program, REGEX_CHARACTER, 'a', 0);
	step(program, REGEX_JUMP, 1, 0);
	step(program, REGEX_SPLIT, 5, 6);
	step(program, REGEX_JUMP, 0, 0);
	step(program, REGEX_ASSERT, REGEX_END, 0);
	step(program, REGEX_MATCH, 0, 0);
	put32(program, 0);
}

TEST("a program that leads out of itself, or is not all there, is none")
{
	struct program program;

	nested(&program);
	CHECK(loads(&program));
	for (size_t length = 0; length < program.length; length++) {
		struct regex regex;

		CHECK(!regex_load(&regex, program.bytes, length));
	}
	program.bytes[program.length++] = 0;
	CHECK(!loads(&program));
	for (uint8_t op = 0; op < 12; op++) {
		bool leads_on = op == REGEX_CHARACTER || op == REGEX_ANY || op == REGEX_SET || op == REGEX_ASSERT;

		head(&program, 0, "");
		put32(&program, 1);
		step(&program, op, 0, 0);
		put32(&program, 0);
		EQUAL(loads(&program), op >= REGEX_SPLIT && op <= REGEX_MATCH && !leads_on);
		head(&program, 0, "");
		put32(&program, 2);
		step(&program, op, 9, 9);
		step(&program, REGEX_MATCH, 0, 0);
		put32(&program, 0);
		EQUAL(loads(&program), op == REGEX_CHARACTER || op == REGEX_ANY || op == REGEX_MATCH);
	}
	head(&program, 0, "");
	put32(&program, REGEX_MAX_STEPS + 1);
	CHECK(!loads(&program));
	head(&program, 4, "");
	put32(&program, 1);
	step(&program, REGEX_MATCH, 0, 0);
	put32(&program, 0);
	CHECK(!loads(&program));
	head(&program, 2, "");
	put32(&program, 0);
	put32(&program, 0);
	CHECK(!loads(&program));
}

TEST("steps that lead to themselves end, and match nothing")
{
	struct program program;
	struct regex regex;
	size_t start, end;

	head(&program, 0, "");
	put32(&program, 3);
	step(&program, REGEX_JUMP, 1, 0);
	step(&program, REGEX_SPLIT, 0, 1);
	step(&program, REGEX_MATCH, 0, 0);
	put32(&program, 0);
	CHECK(regex_load(&regex, program.bytes, program.length));
	EQUAL(regex_find(&regex, (const uint8_t *)"abc", 3, &start, &end, NULL, NULL), REGEX_NONE);
	regex_free(&regex);
}

TEST("a pattern within a pattern takes time by the length of the text, not by its square")
{
	static uint8_t text[100000];
	struct program program;
	struct regex regex;
	size_t start, end;

	nested(&program);
	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = '!';
	CHECK(regex_load(&regex, program.bytes, program.length));
	EQUAL(regex_find(&regex, text, sizeof text, &start, &end, NULL, NULL), REGEX_NONE);
	CHECK(regex.work < 20 * sizeof text);
	EQUAL(regex_find(&regex, text, sizeof text - 1, &start, &end, NULL, NULL), REGEX_FOUND);
	EQUAL(start, 0);
	EQUAL(end, sizeof text - 1);
	regex_free(&regex);
}

static bool at_once(void *context)
{
	(*(int *)context)++;
	return true;
}

TEST("who asks whether it is late is asked in time, and obeyed")
{
	static uint8_t text[1 << 20];
	struct program program;
	struct regex regex;
	size_t start, end;
	int asked = 0;

	nested(&program);
	memset(text, 'a', sizeof text);
	CHECK(regex_load(&regex, program.bytes, program.length));
	EQUAL(regex_find(&regex, text, sizeof text, &start, &end, at_once, &asked), REGEX_LATE);
	EQUAL(asked, 1);
	regex_free(&regex);
}

TEST("a literal is found wherever it lies, at every place of a vector and over its edges")
{
	uint8_t text[100];

	for (size_t length = 1; length < 40; length++) {
		for (size_t at = 0; at + length <= sizeof text; at++) {
			uint8_t wanted[40];
			struct literal literal = {.bytes = wanted, .length = length};

			for (size_t i = 0; i < sizeof text; i++)
				text[i] = (uint8_t)('A' + i % 3);
			for (size_t i = 0; i < length; i++)
				text[at + i] = (uint8_t)('x' + i % 2);
			memcpy(wanted, text + at, length);
			CHECK(literal_find(&literal, text, text + sizeof text) == text + at);
			CHECK(literal_find(&literal, text, text + at + length) == text + at);
			CHECK(literal_find(&literal, text, text + at + length - 1) == NULL);
			literal.fold = true;
			text[at] = 'X';
			CHECK(literal_find(&literal, text, text + sizeof text) == text + at);
		}
	}
}

TEST("line ends are counted as one by one")
{
	static uint8_t text[20000];
	size_t count = 0;

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = test_below(3) ? 'x' : '\n';
	for (size_t i = 0; i < sizeof text; i++) {
		if (i % 997 == 0)
			EQUAL(literal_count_lines(text, text + i), count);
		count += text[i] == '\n';
	}
	EQUAL(literal_count_lines(text, text + sizeof text), count);
}

/* --- lines ----------------------------------------------------------------------------------------------- */

struct seen {
	char text[8192];
	size_t length;
	size_t longest;
};

static bool see(void *context, const struct line *line)
{
	struct seen *seen = context;
	size_t shown = line->length < 8 ? line->length : 8;

	if (line->length > seen->longest)
		seen->longest = line->length;
	if (seen->length + 64 > sizeof seen->text)
		return false;
	seen->length += (size_t)sprintf(seen->text + seen->length, "%llu%c%.*s\n", (unsigned long long)line->number,
					line->match ? ':' : '-', (int)shown, (const char *)line->text);
	return true;
}

/* What comes of a text that is read in pieces of `piece` bytes, in a search for "x". */
static void run_lines(struct lines *lines, struct seen *seen, const char *text, size_t length, size_t piece)
{
	*seen = (struct seen){0};
	lines->take = see;
	lines->context = seen;
	lines_begin(lines);
	while (length) {
		size_t room, next = length < piece ? length : piece;
		uint8_t *to = lines_room(lines, &room);

		CHECK(room >= LINES_LONGEST);
		memcpy(to, text, next);
		lines_came(lines, next);
		text += next;
		length -= next;
	}
	lines_finish(lines);
}

static void load_x(struct regex *regex)
{
	struct program program;

	head(&program, 2, "x");
	put32(&program, 0);
	put32(&program, 0);
	CHECK(regex_load(regex, program.bytes, program.length));
}

TEST("the lines that are found do not depend on the pieces in which a file is read")
{
	const char *text = "one\ntwo x\nthree\r\nfour x\r\nfive\n6\nseven\neight x\nnine\nten";
	struct regex regex;
	struct lines lines = {.pattern = &regex, .before = 1, .after = 2, .window = malloc(LINES_WINDOW)};
	struct seen seen;

	load_x(&regex);
	for (size_t piece = 1; piece <= strlen(text); piece++) {
		run_lines(&lines, &seen, text, strlen(text), piece);
		SAME_TEXT(seen.text, "1-one\n2:two x\n3-three\n4:four x\n5-five\n6-6\n7-seven\n8:eight x\n9-nine\n"
				     "10-ten\n");
	}
}

TEST("a line that is too long is searched in its first part, once, and those behind it as ever")
{
	size_t length = 3 * LINES_LONGEST;
	char *text = malloc(length + 64);
	struct regex regex;
	struct lines lines = {.pattern = &regex, .after = 1, .window = malloc(LINES_WINDOW)};
	struct seen seen;

	load_x(&regex);
	memset(text, 'y', length);
	text[5] = 'x';
	text[length - 5] = 'x';
	strcpy(text + length, "\nthen\nlast x\n");
	for (size_t piece = 1000; piece < LINES_LONGEST; piece *= 7) {
		lines.too_long = 0;
		run_lines(&lines, &seen, text, length + 13, piece);
		SAME_TEXT(seen.text, "1:yyyyyxyy\n2-then\n3:last x\n");
		EQUAL(lines.too_long, 1);
		EQUAL(seen.longest, LINES_LONGEST);
	}
}

TEST("lines keep their numbers and their context while the window moves on")
{
	size_t length = 0, capacity = 8u << 20;
	char *text = malloc(capacity);
	struct regex regex;
	struct lines lines = {.pattern = &regex, .before = 1, .window = malloc(LINES_WINDOW)};
	struct seen seen;
	unsigned number = 0;

	load_x(&regex);
	while (length + 100 < capacity) {
		number++;
		length += (size_t)sprintf(text + length, number % 40000 == 0 ? "%u x\n" : "%u ........................\n",
					  number);
	}
	CHECK(number > 200000);
	run_lines(&lines, &seen, text, length, 100000);
	SAME_TEXT(seen.text, "39999-39999 ..\n40000:40000 x\n79999-79999 ..\n80000:80000 x\n119999-119999 .\n"
			     "120000:120000 x\n159999-159999 .\n160000:160000 x\n199999-199999 .\n200000:200000 x\n239999-239999 .\n240000:240000 x\n");
}
