/* What has happened to files since it was last told: in order, and put together. No system calls.
 *
 * Many writes to one file are one change. What does not fit is told as an overflow, so memory is bounded.
 */
#ifndef FUMEHOOD_CHANGES_H
#define FUMEHOOD_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire_table.h"

#define CHANGES_MOST 1024u
#define CHANGES_TEXT (256u << 10)
#define CHANGES_SLOTS (4 * CHANGES_MOST)

struct change {
	enum event event;
	bool directory;
	uint32_t path, path_length;      /* in the text */
	uint32_t target, target_length;  /* of MOVED */
	uint32_t cookie;                 /* of a DELETED that may turn out to be a move; 0 */
	uint32_t node;                   /* whatever the caller keeps with it */
};

struct changes {
	uint32_t count;
	uint32_t text_length;
	struct change list[CHANGES_MOST];
	uint32_t slot[CHANGES_SLOTS];    /* by path: 1 and the last change of it; 0: none */
	char text[CHANGES_TEXT];
};

void changes_clear(struct changes *changes);
/* Whether any more can be noted: one of the longest paths. */
bool changes_full(const struct changes *changes);

/* Note a change, of one of the longest paths at most, or let it go where the last one says the same. `cookie` 0: none. Returns
 * its place, or UINT32_MAX. */
uint32_t changes_add(struct changes *changes, enum event event, const char *path, size_t length, bool directory,
		     uint32_t cookie);
/* What was taken for a deletion was the first half of a move: make it one. Returns its place, or UINT32_MAX when there is
 * no such. */
uint32_t changes_moved(struct changes *changes, uint32_t cookie, const char *target, size_t length);

#endif
