#define _GNU_SOURCE
#include "changes.h"
#include "files_job.h"
#include "nodes.h"
#include "test.h"

static struct changes changes;

static uint32_t add(enum event event, const char *path)
{
	return changes_add(&changes, event, path, strlen(path), false, 0);
}

TEST("many changes of one file are one, and none behind its creation")
{
	changes_clear(&changes);
	CHECK(add(EVENT_CREATED, "a") == 0);
	CHECK(add(EVENT_MODIFIED, "a") == UINT32_MAX);
	CHECK(add(EVENT_MODIFIED, "b") == 1);
	CHECK(add(EVENT_MODIFIED, "b") == UINT32_MAX);
	CHECK(add(EVENT_DELETED, "b") == 2);
	CHECK(add(EVENT_CREATED, "b") == 3);
	CHECK(add(EVENT_MODIFIED, "b") == UINT32_MAX);
	CHECK(add(EVENT_CREATED, "b") == UINT32_MAX);
	EQUAL(changes.count, 4);
}

TEST("the two halves of a move are one change, and what follows belongs to the new name")
{
	changes_clear(&changes);
	add(EVENT_MODIFIED, "a");
	CHECK(changes_add(&changes, EVENT_DELETED, "a", 1, false, 77) == 1);
	CHECK(changes_moved(&changes, 78, "b", 1) == UINT32_MAX);
	CHECK(changes_moved(&changes, 0, "b", 1) == UINT32_MAX);
	CHECK(changes_moved(&changes, 77, "b", 1) == 1);
	CHECK(changes_moved(&changes, 77, "c", 1) == UINT32_MAX);
	EQUAL(changes.list[1].event, EVENT_MOVED);
	CHECK(add(EVENT_MODIFIED, "b") == 2);
	CHECK(add(EVENT_CREATED, "a") == 3);
}

TEST("changes are full before they overrun, with paths of any length")
{
	static char path[WIRE_MAX_PATH];

	memset(path, 'p', sizeof path);
	for (size_t length = 1; length <= sizeof path; length *= 5) {
		uint32_t count = 0;

		changes_clear(&changes);
		while (!changes_full(&changes)) {
			memcpy(path, &count, sizeof count < length ? sizeof count : length);
			changes_add(&changes, count % 2 ? EVENT_DELETED : EVENT_CREATED, path, length, false, count + 1);
			changes_moved(&changes, count + 1, path, length);
			count++;
		}
		CHECK(count > 0 && changes.count <= CHANGES_MOST && changes.text_length <= CHANGES_TEXT);
	}
}

static const char *path_of(const struct nodes *nodes, uint32_t node)
{
	static char path[64];
	size_t length = nodes_path(nodes, node, path, sizeof path - 1);

	if (length == SIZE_MAX)
		return "(none)";
	path[length] = '\0';
	return path;
}

TEST("a directory that moves takes all beneath it along, and never into itself")
{
	struct nodes nodes;
	uint32_t root, a, b, c;

	CHECK(nodes_init(&nodes, 8));
	root = nodes_add(&nodes, 10, 0, "");
	a = nodes_add(&nodes, 11, root, "a");
	b = nodes_add(&nodes, 12, a, "b");
	c = nodes_add(&nodes, 13, root, "c");
	EQUAL(root, NODES_ROOT);
	SAME_TEXT(path_of(&nodes, root), "");
	SAME_TEXT(path_of(&nodes, b), "a/b");
	CHECK(nodes_move(&nodes, a, c, "new"));
	SAME_TEXT(path_of(&nodes, b), "c/new/b");
	EQUAL(nodes_child(&nodes, c, "new"), a);
	EQUAL(nodes_child(&nodes, root, "a"), 0);
	CHECK(!nodes_move(&nodes, c, b, "loop") && !nodes_move(&nodes, c, c, "loop"));
	EQUAL(nodes_find(&nodes, 12), b);
	nodes_drop(&nodes, b);
	EQUAL(nodes_find(&nodes, 12), 0);
	SAME_TEXT(path_of(&nodes, b), "(none)");
	EQUAL(nodes_add(&nodes, 20, root, "d"), b);
}

TEST("a path that is too long, and one that leads to no root, are none")
{
	struct nodes nodes;
	uint32_t node, last = 0;
	char path[16];

	CHECK(nodes_init(&nodes, 100));
	node = nodes_add(&nodes, 1, 0, "");
	for (int wd = 2; wd < 12; wd++)
		node = nodes_add(&nodes, wd, last = node, "xx");
	EQUAL(nodes_path(&nodes, node, path, sizeof path), SIZE_MAX);
	nodes_drop(&nodes, last);
	SAME_TEXT(path_of(&nodes, node), "(none)");
}

TEST("no more directories than may be are known, and each that waits comes once")
{
	struct nodes nodes;

	CHECK(!nodes_init(&nodes, 0) && !nodes_init(&nodes, NODES_MOST + 1) && nodes_init(&nodes, 3));
	for (int wd = 1; wd <= 3; wd++) {
		CHECK(!nodes_full(&nodes));
		nodes_queue(&nodes, nodes_add(&nodes, wd, wd > 1, "n"));
	}
	CHECK(nodes_full(&nodes));
	EQUAL(nodes_next(&nodes), 1);
	EQUAL(nodes_next(&nodes), 2);
	nodes_queue(&nodes, 1);
	EQUAL(nodes_next(&nodes), 3);
	EQUAL(nodes_next(&nodes), 1);
	EQUAL(nodes_next(&nodes), 0);
}

TEST("drafts and files without a name are told by what they are called, and nothing else is")
{
	char name[DRAFT_NAME_BYTES];
	static const char *const none[] = { "", ".fumehood-", ".fumehood-0123456", ".fumehood-012345678", ".fumehood-0123456g",
					    ".fumehood-0123456A", "fumehood-01234567x", "#", "#a", "#1a", "##1", " #1", "1" };

	for (int i = 0; i < 16; i++) {
		CHECK(files_temporary_name(name) == 0);
		CHECK(files_is_temporary_name(name) && !files_looks_nameless(name));
	}
	CHECK(files_looks_nameless("#0") && files_looks_nameless("#18446744073709551615"));
	CHECK(!files_is_temporary_name("#0"));
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		CHECK(!files_is_temporary_name(none[i]) && !files_looks_nameless(none[i]));
}
