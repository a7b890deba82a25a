/* The lines of one file that a pattern matches, found in a window that moves over the file. No system calls: the caller fills
 * the window and takes what is found. */
#ifndef FUMEHOOD_LINES_H
#define FUMEHOOD_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "regex.h"
#include "regex_dfa.h"

/* Of what has been searched so much is kept, for the context before a match. */
#define LINES_KEPT (256u << 10)
/* A longer line is searched up to here. */
#define LINES_LONGEST (1u << 20)
#define LINES_WINDOW (LINES_KEPT + 2 * LINES_LONGEST)

struct line {
	uint64_t number;           /* from 1 */
	const uint8_t *text;       /* without its end */
	size_t length;
	bool match;                /* otherwise it is context */
	size_t start, end;         /* of the match in it */
};

/* What becomes of a line that was found: false ends the search of the file. */
typedef bool (*line_taker)(void *context, const struct line *line);

struct lines {
	struct regex *pattern;
	struct regex_dfa *dfa;     /* of the pattern; NULL: each line is searched by itself */
	uint64_t before, after;    /* lines of context */
	line_taker take;
	bool (*late)(void *context);
	void *context;

	uint8_t *window;           /* LINES_WINDOW bytes */
	size_t end;                /* of what is in it */
	size_t at;                 /* searched up to here: the begin of a line */
	size_t shown;              /* lines up to here were taken */
	size_t counted;            /* line ends up to here are in `number` */
	uint64_t number;           /* of the line at `counted` */
	uint64_t owed;             /* lines of context still to be taken */
	bool skipping;             /* the rest of a line that was too long */
	bool over;                 /* the taker wants no more, or it is late: nothing is looked at any more */
	uint64_t too_long;         /* lines, in all files */
};

/* Begin with another file. */
void lines_begin(struct lines *lines);
/* Where the next bytes go, and how many may; then, how many came. */
uint8_t *lines_room(struct lines *lines, size_t *room);
void lines_came(struct lines *lines, size_t count);
/* There is nothing behind what came. */
void lines_finish(struct lines *lines);

#endif
