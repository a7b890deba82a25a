#include "nodes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

static uint32_t *bucket_of(const struct nodes *nodes, int wd)
{
	return &nodes->bucket[(uint32_t)wd % (nodes->limit + 1)];
}

bool nodes_init(struct nodes *nodes, uint64_t limit)
{
	if (limit == 0 || limit > NODES_MOST)
		return false;
	*nodes = (struct nodes){.limit = (uint32_t)limit};
	nodes->bucket = calloc(limit + 1, sizeof(*nodes->bucket));
	nodes->list = calloc(limit + 1, sizeof(*nodes->list));
	return nodes->bucket && nodes->list;
}

void nodes_clear(struct nodes *nodes)
{
	for (uint32_t i = NODES_ROOT; i <= nodes->high; i++)
		free(nodes->list[i].name);
	memset(nodes->bucket, 0, (nodes->limit + 1) * sizeof(*nodes->bucket));
	memset(nodes->list, 0, (nodes->limit + 1) * sizeof(*nodes->list));
	nodes->used = nodes->high = nodes->free_first = nodes->queue_first = nodes->queue_last = 0;
}

bool nodes_full(const struct nodes *nodes)
{
	return nodes->used == nodes->limit;
}

uint32_t nodes_add(struct nodes *nodes, int wd, uint32_t parent, const char *name)
{
	uint32_t node = nodes->free_first ? nodes->free_first : nodes->high + 1;
	struct node *place = &nodes->list[node];
	uint32_t next_free = place->next;

	place->name = strdup(name);
	if (!place->name)
		return UINT32_MAX;
	if (nodes->free_first)
		nodes->free_first = next_free;
	else
		nodes->high = node;
	nodes->used++;
	place->wd = wd;
	place->parent = parent;
	place->next = *bucket_of(nodes, wd);
	*bucket_of(nodes, wd) = node;
	return node;
}

uint32_t nodes_find(const struct nodes *nodes, int wd)
{
	uint32_t node = wd > 0 ? *bucket_of(nodes, wd) : 0;

	while (node && nodes->list[node].wd != wd)
		node = nodes->list[node].next;
	return node;
}

uint32_t nodes_child(const struct nodes *nodes, uint32_t parent, const char *name)
{
	for (uint32_t i = NODES_ROOT; i <= nodes->high; i++) {
		const struct node *node = &nodes->list[i];

		if (node->wd && node->parent == parent && strcmp(node->name, name) == 0)
			return i;
	}
	return 0;
}

/* Whether `node` is `above`, or lies beneath it. */
static bool is_beneath(const struct nodes *nodes, uint32_t node, uint32_t above)
{
	while (node && node != above)
		node = nodes->list[node].parent;
	return node == above;
}

bool nodes_move(struct nodes *nodes, uint32_t node, uint32_t parent, const char *name)
{
	char *copy;

	/* It may have been dropped since. */
	if (!nodes->list[node].wd)
		return true;
	copy = is_beneath(nodes, parent, node) ? NULL : strdup(name);
	if (!copy)
		return false;
	free(nodes->list[node].name);
	nodes->list[node].name = copy;
	nodes->list[node].parent = parent;
	return true;
}

void nodes_drop(struct nodes *nodes, uint32_t node)
{
	uint32_t *at = bucket_of(nodes, nodes->list[node].wd);

	while (*at != node)
		at = &nodes->list[*at].next;
	*at = nodes->list[node].next;
	free(nodes->list[node].name);
	nodes->list[node] = (struct node){.next = nodes->free_first};
	nodes->free_first = node;
	nodes->used--;
}

void nodes_forget(struct nodes *nodes, uint32_t node, int notify)
{
	if (!nodes->list[node].wd)
		return;
	/* All are found before the first is cut off, since those in between lead to it. Each is dropped when the kernel has said
	 * its last word of it, and what it says before leads to no root. */
	for (uint32_t i = NODES_ROOT; i <= nodes->high; i++)
		nodes->list[i].doomed = nodes->list[i].wd && is_beneath(nodes, i, node);
	for (uint32_t i = NODES_ROOT; i <= nodes->high; i++) {
		if (!nodes->list[i].doomed)
			continue;
		nodes->list[i].parent = 0;
		(void)inotify_rm_watch(notify, nodes->list[i].wd);
	}
}

size_t nodes_path(const struct nodes *nodes, uint32_t node, char *path, size_t capacity)
{
	size_t length = 0;
	uint32_t at;

	for (at = node; at && at != NODES_ROOT; at = nodes->list[at].parent) {
		if (!nodes->list[at].wd)
			return SIZE_MAX;
		length += strlen(nodes->list[at].name) + (at != node);
	}
	if (!at || length > capacity)
		return SIZE_MAX;
	for (size_t end = length, i = node; i != NODES_ROOT; i = nodes->list[i].parent) {
		size_t size = strlen(nodes->list[i].name);

		if (i != node)
			path[--end] = '/';
		end -= size;
		memcpy(path + end, nodes->list[i].name, size);
	}
	return length;
}

void nodes_queue(struct nodes *nodes, uint32_t node)
{
	if (nodes->queue_first)
		nodes->list[nodes->queue_last].queued = node;
	else
		nodes->queue_first = node;
	nodes->queue_last = node;
}

uint32_t nodes_next(struct nodes *nodes)
{
	uint32_t node = nodes->queue_first;

	if (!node)
		return 0;
	nodes->queue_first = node == nodes->queue_last ? 0 : nodes->list[node].queued;
	return node;
}
