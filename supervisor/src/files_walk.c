#define _GNU_SOURCE
#include "files_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The uppermost directories are kept open; from deeper ones ".." leads back, and what is found there is
 * compared with what was left. */
#define KEPT_LEVELS 64
/* A stack of this many levels is 32 MiB; nothing but an attack is deeper. */
#define MAX_LEVELS (1u << 20)

_Static_assert(offsetof(struct entry, name) == 19, "must be what getdents64 writes");

void walker_start(struct walker *tree, int fd, int64_t offset)
{
	tree->fd = fd;
	tree->offset = offset;
	tree->at = tree->end = 0;
}

void walker_close(struct walker *tree)
{
	while (tree->depth > 0) {
		tree->depth--;
		if (tree->levels[tree->depth].fd >= 0)
			close(tree->levels[tree->depth].fd);
	}
	free(tree->levels);
	if (tree->fd >= 0)
		close(tree->fd);
}

int walker_next(struct walker *tree, struct entry **out)
{
	for (;;) {
		struct entry *entry;

		if (tree->at == tree->end) {
			long n = syscall(SYS_getdents64, tree->fd, tree->entries, sizeof tree->entries);

			/* ENOENT: the directory has been removed under us, so it is empty. */
			if (n < 0 && errno != ENOENT)
				return -1;
			if (n <= 0)
				return 0;
			tree->at = 0;
			tree->end = (size_t)n;
		}
		entry = (struct entry *)(void *)(tree->entries + tree->at);
		tree->at += entry->size;
		tree->offset = entry->next;
		if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
			*out = entry;
			return 1;
		}
	}
}

static bool push_level(struct walker *tree, struct level level)
{
	if (tree->depth == tree->capacity) {
		size_t capacity = tree->capacity == 0 ? 64 : 2 * tree->capacity;
		struct level *levels;

		if (capacity > MAX_LEVELS) {
			errno = ENAMETOOLONG;
			return false;
		}
		levels = realloc(tree->levels, capacity * sizeof *levels);
		if (levels == NULL)
			return false;
		tree->levels = levels;
		tree->capacity = capacity;
	}
	tree->levels[tree->depth++] = level;
	return true;
}

int walker_open(int parent, const char *name)
{
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

int walker_enter(struct walker *tree, const struct entry *entry, int64_t offset, uint32_t path_length)
{
	bool kept = tree->depth < KEPT_LEVELS;
	struct stat above, back;
	int fd = walker_open(tree->fd, entry->name);

	if (fd < 0)
		return -1;
	/* One that may be read and not searched has no way back: it is not entered rather than never left. */
	if (fstat(tree->fd, &above) < 0 || (!kept && fstatat(fd, "..", &back, 0) < 0) ||
	    !push_level(tree, (struct level){ .device = above.st_dev,
					      .inode = above.st_ino,
					      .offset = offset,
					      .fd = kept ? tree->fd : -1,
					      .path_length = path_length,
					      .child = entry->inode })) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	if (!kept)
		close(tree->fd);
	walker_start(tree, fd, 0);
	return 0;
}

int walker_leave(struct walker *tree)
{
	struct level *level = &tree->levels[--tree->depth];
	struct stat above;
	int fd = level->fd;

	if (fd < 0) {
		fd = walker_open(tree->fd, "..");
		if (fd < 0)
			return -1;
		if (fstat(fd, &above) < 0 || above.st_dev != level->device || above.st_ino != level->inode) {
			close(fd);
			errno = EBUSY;
			return -1;
		}
	}
	close(tree->fd);
	walker_start(tree, fd, level->offset);
	return lseek(fd, level->offset, SEEK_SET) < 0 ? -1 : 0;
}

bool walker_is_race(int err_no)
{
	return err_no == ENOENT || err_no == ENOTDIR || err_no == ELOOP;
}
