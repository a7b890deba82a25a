#define _GNU_SOURCE
#include "lines.h"

#include <string.h>

void lines_begin(struct lines *lines)
{
	lines->end = lines->at = lines->shown = lines->counted = 0;
	lines->number = 1;
	lines->owed = 0;
	lines->skipping = lines->over = false;
	if (lines->dfa)
		regex_dfa_retry(lines->dfa);
}

static void count_to(struct lines *lines, size_t at)
{
	lines->number += literal_count_lines(lines->window + lines->counted, lines->window + at);
	lines->counted = at;
}

/* Drop what nobody will ask for again from the front of the window. */
static void move(struct lines *lines)
{
	size_t drop = lines->at > LINES_KEPT ? lines->at - LINES_KEPT : 0;

	if (drop == 0)
		return;
	/* Whole lines: half of one would be shown as one. */
	while (drop < lines->at && lines->window[drop - 1] != '\n')
		drop++;
	if (lines->counted < drop)
		count_to(lines, drop);
	memmove(lines->window, lines->window + drop, lines->end - drop);
	lines->end -= drop;
	lines->at -= drop;
	lines->counted -= drop;
	lines->shown = lines->shown > drop ? lines->shown - drop : 0;
}

uint8_t *lines_room(struct lines *lines, size_t *room)
{
	if (LINES_WINDOW - lines->end < LINES_LONGEST)
		move(lines);
	*room = LINES_WINDOW - lines->end;
	return lines->window + lines->end;
}

/* --- lines ----------------------------------------------------------------------------------------------- */

/* The end of the line that begins at `at`: where its line end is, or `limit`. */
static size_t end_of_line(const struct lines *lines, size_t at, size_t limit)
{
	const uint8_t *found = memchr(lines->window + at, '\n', limit - at);

	return found ? (size_t)(found - lines->window) : limit;
}

static size_t begin_of_line(const struct lines *lines, size_t at)
{
	const uint8_t *found = at ? memrchr(lines->window, '\n', at) : NULL;

	return found ? (size_t)(found - lines->window) + 1 : 0;
}

static struct line line_at(const struct lines *lines, size_t at, size_t end)
{
	struct line line = {.text = lines->window + at, .length = end - at};

	if (line.length && line.text[line.length - 1] == '\r')
		line.length--;
	return line;
}

/* Hand a line over. `next`: where the one behind it begins. */
static void take(struct lines *lines, struct line *line, size_t next)
{
	count_to(lines, (size_t)(line->text - lines->window));
	line->number = lines->number;
	lines->shown = next;
	if (!lines->take(lines->context, line))
		lines->over = true;
}

/* Context behind the last match, up to `until`. */
static void take_after(struct lines *lines, size_t until)
{
	while (lines->owed && lines->shown < until && !lines->over) {
		size_t end = end_of_line(lines, lines->shown, until);
		struct line line = line_at(lines, lines->shown, end);

		lines->owed--;
		take(lines, &line, end < until ? end + 1 : until);
	}
}

/* Context before the match at `at`, as far as the window has it and it was not taken yet. */
static void take_before(struct lines *lines, size_t at)
{
	size_t from = at;

	for (uint64_t i = 0; i < lines->before && from > lines->shown; i++)
		from = begin_of_line(lines, from - 1);
	if (from < lines->shown)
		from = lines->shown;
	while (from < at && !lines->over) {
		size_t end = end_of_line(lines, from, at);
		struct line line = line_at(lines, from, end);

		take(lines, &line, end + 1);
		from = end + 1;
	}
}

/* Search the line at `at` that ends at `end`. */
static void search_line(struct lines *lines, size_t end, size_t next)
{
	struct line line = line_at(lines, lines->at, end);
	enum regex_result result = regex_find(lines->pattern, line.text, line.length, &line.start, &line.end,
					      lines->late, lines->context);

	if (result == REGEX_LATE)
		lines->over = true;
	if (result == REGEX_FOUND) {
		line.match = true;
		take_before(lines, lines->at);
		if (!lines->over)
			take(lines, &line, next);
		lines->owed = lines->after;
	}
	lines->at = next;
}

/* Whether a line of those from `from` to `limit` can match, and a place in the first that can, or its end. Late: no. */
static bool can_match(struct lines *lines, size_t from, size_t limit, size_t *place)
{
	enum regex_result result = REGEX_UNSURE;

	*place = 0;
	if (lines->dfa)
		result = regex_dfa_find(lines->dfa, lines->window + from, limit - from, place, lines->late, lines->context);
	if (result == REGEX_LATE)
		lines->over = true;
	*place += from;
	return result == REGEX_FOUND || result == REGEX_UNSURE;
}

/* The next line that holds the literal and can match: where it begins, or `limit`. */
static size_t literal_candidate(struct lines *lines, size_t limit)
{
	size_t at = lines->at;

	while (at < limit && !lines->over) {
		const uint8_t *found =
			literal_find(&lines->pattern->literal, lines->window + at, lines->window + limit);
		size_t place, begin;

		if (!found)
			break;
		begin = begin_of_line(lines, (size_t)(found - lines->window));
		at = end_of_line(lines, (size_t)(found - lines->window), limit);
		at += at < limit;
		if (can_match(lines, begin, at, &place))
			return begin;
	}
	return limit;
}

/* The next line that can match: where it begins, or `limit`. */
static size_t candidate(struct lines *lines, size_t limit)
{
	size_t place;

	if (lines->pattern->literal.length)
		return literal_candidate(lines, limit);
	return can_match(lines, lines->at, limit, &place) ? begin_of_line(lines, place) : limit;
}

/* Search the lines that end before `limit`, and the one that ends there. */
static void search(struct lines *lines, size_t limit)
{
	while (lines->at < limit && !lines->over) {
		size_t begin = candidate(lines, limit), end;

		if (begin > lines->at)
			take_after(lines, begin);
		lines->at = begin;
		if (begin == limit || lines->over)
			break;
		end = end_of_line(lines, begin, limit);
		search_line(lines, end, end < limit ? end + 1 : limit);
		if (lines->owed)
			take_after(lines, lines->at);
	}
}

/* The rest of a line that was searched as far as it may be: its bytes are not looked at. */
static void skip(struct lines *lines)
{
	size_t end = end_of_line(lines, lines->at, lines->end);

	lines->skipping = end == lines->end;
	lines->at = lines->skipping ? end : end + 1;
	lines->shown = lines->at;
}

void lines_came(struct lines *lines, size_t count)
{
	const uint8_t *last;

	lines->end += count;
	if (lines->skipping)
		skip(lines);
	if (lines->skipping || lines->over)
		return;
	last = memrchr(lines->window + lines->at, '\n', lines->end - lines->at);
	if (last)
		search(lines, (size_t)(last - lines->window) + 1);
	if (!lines->over && lines->end - lines->at > LINES_LONGEST) {
		lines->too_long++;
		search_line(lines, lines->at + LINES_LONGEST, lines->at + LINES_LONGEST);
		lines->skipping = true;
		skip(lines);
	}
}

void lines_finish(struct lines *lines)
{
	if (!lines->skipping && !lines->over && lines->at < lines->end)
		search(lines, lines->end);
	if (!lines->over)
		take_after(lines, lines->end);
}
