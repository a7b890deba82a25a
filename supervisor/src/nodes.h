/* The directories that a watch knows: each has the kernel's number, a name, and the directory above it, so that
 * a whole tree that is renamed costs one entry. */
#ifndef FUMEHOOD_NODES_H
#define FUMEHOOD_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODES_MOST 65536u
/* Numbers of nodes begin here; 0 is none. */
#define NODES_ROOT 1u

struct node {
	int wd;                    /* 0: a free one */
	uint32_t parent;
	uint32_t next;             /* of those with the same hash; of the free ones; of the queue */
	uint32_t queued;
	bool doomed;
	char *name;
};

struct nodes {
	uint32_t limit, used, high, free_first;
	uint32_t queue_first, queue_last;
	uint32_t *bucket;          /* by wd */
	struct node *list;
};

/* Room for `limit` directories, at most NODES_MOST; false: that is not possible. */
bool nodes_init(struct nodes *nodes, uint64_t limit);
/* Forget all of them. */
void nodes_clear(struct nodes *nodes);
bool nodes_full(const struct nodes *nodes);

/* The number of a new one; UINT32_MAX: memory is out. The first one is the root. */
uint32_t nodes_add(struct nodes *nodes, int wd, uint32_t parent, const char *name);
uint32_t nodes_find(const struct nodes *nodes, int wd);
/* The one of this name in another one. */
uint32_t nodes_child(const struct nodes *nodes, uint32_t parent, const char *name);
/* Give it another place. False: memory is out, or it would lie in itself. */
bool nodes_move(struct nodes *nodes, uint32_t node, uint32_t parent, const char *name);
/* The kernel watches it no more. */
void nodes_drop(struct nodes *nodes, uint32_t node);
/* Watch it no more, nor anything beneath; its wds are removed from `notify`. */
void nodes_forget(struct nodes *nodes, uint32_t node, int notify);

/* The path from the root, "" for the root itself, not terminated; SIZE_MAX: it is longer, or leads to no root. */
size_t nodes_path(const struct nodes *nodes, uint32_t node, char *path, size_t capacity);

/* Those that are still to be scanned: each once. */
void nodes_queue(struct nodes *nodes, uint32_t node);
uint32_t nodes_next(struct nodes *nodes);

#endif
