/* Walking a tree of directories that hostile code may change at any moment: any depth and width, in bounded memory. */
#ifndef FUMEHOOD_FILES_WALK_H
#define FUMEHOOD_FILES_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ENTRY_BYTES 8192

/* As getdents64 writes it. */
struct entry {
	uint64_t inode;
	int64_t next;              /* where the directory goes on behind it */
	uint16_t size;
	uint8_t type;
	char name[];
};

/* A directory above the current one. */
struct level {
	dev_t device;
	ino_t inode;
	int64_t offset;            /* where to go on in it */
	int fd;                    /* -1: not kept open */
	uint32_t path_length;      /* of `list`: the path down to it */
	uint64_t child;            /* the entry in it that was entered */
};

/* A place in a tree. No link is ever followed, and ".." only back to a directory that we came from. */
struct walker {
	int fd;
	int64_t offset;            /* behind the entry that came last */
	size_t at, end;            /* of what getdents gave */
	struct level *levels;
	size_t depth, capacity;
	_Alignas(uint64_t) uint8_t entries[ENTRY_BYTES];
};

/* Begin, in a walker that is all zero, with an open directory, taken over. */
void walker_start(struct walker *tree, int fd, int64_t offset);
void walker_close(struct walker *tree);
/* The next entry but "." and "..": 1, 0 at the end, -1 with errno. It is good until the next call. */
int walker_next(struct walker *tree, struct entry **out);
/* Go down into `entry`; back above, reading goes on at `offset`. -1 with errno: nothing has changed. */
int walker_enter(struct walker *tree, const struct entry *entry, int64_t offset, uint32_t path_length);
/* Go back up. -1 with errno: EBUSY when the tree has been moved under us. */
int walker_leave(struct walker *tree);
/* What may be wrong with a name that was there a moment ago. */
bool walker_is_race(int err_no);
/* Open a directory by its name in another one, never through a link. */
int walker_open(int parent, const char *name);

#endif
