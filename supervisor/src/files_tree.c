/* `list` and the recursive `remove`: directories of any depth and width, in bounded memory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files_job.h"
#include "wire.h"

/* The uppermost directories are kept open; from deeper ones ".." leads back, and what is found there is
 * compared with what was left. */
#define KEPT_LEVELS 64
/* A stack of this many levels is 32 MiB; nothing but an attack is deeper. */
#define MAX_LEVELS (1u << 20)
#define ENTRY_BYTES 8192
#define OUTPUT_BYTES (64u << 10)
/* How often a directory that was emptied may be found full again before somebody else is to blame. */
#define RACE_TRIES 16

struct entry {
	uint64_t inode;
	int64_t next;              /* where the directory goes on behind it */
	uint16_t size;
	uint8_t type;
	char name[];
};

_Static_assert(offsetof(struct entry, name) == 19, "must be what getdents64 writes");

/* --- walking ------------------------------------------------------------------------------------- */

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
struct tree {
	int fd;
	int64_t offset;            /* behind the entry that came last */
	size_t at, end;            /* of what getdents gave */
	struct level *levels;
	size_t depth, capacity;
	_Alignas(uint64_t) uint8_t entries[ENTRY_BYTES];
};

static void go_to(struct tree *tree, int fd, int64_t offset)
{
	tree->fd = fd;
	tree->offset = offset;
	tree->at = tree->end = 0;
}

static void close_tree(struct tree *tree)
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

/* The next entry but "." and "..": 1, 0 at the end, -1 with errno. It is good until the next call. */
static int next_entry(struct tree *tree, struct entry **out)
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

static bool push_level(struct tree *tree, struct level level)
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

static int open_directory(int parent, const char *name)
{
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* Go down into `entry`; back above, reading goes on at `offset`. -1 with errno: nothing has changed. */
static int enter(struct tree *tree, const struct entry *entry, int64_t offset, uint32_t path_length)
{
	bool kept = tree->depth < KEPT_LEVELS;
	struct stat above;
	int fd = open_directory(tree->fd, entry->name);

	if (fd < 0)
		return -1;
	if (fstat(tree->fd, &above) < 0 ||
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
	go_to(tree, fd, 0);
	return 0;
}

/* Go back up. -1 with errno: EBUSY when the tree has been moved under us. */
static int leave(struct tree *tree)
{
	struct level *level = &tree->levels[--tree->depth];
	struct stat above;
	int fd = level->fd;

	if (fd < 0) {
		fd = open_directory(tree->fd, "..");
		if (fd < 0)
			return -1;
		if (fstat(fd, &above) < 0 || above.st_dev != level->device || above.st_ino != level->inode) {
			close(fd);
			errno = EBUSY;
			return -1;
		}
	}
	close(tree->fd);
	go_to(tree, fd, level->offset);
	return lseek(fd, level->offset, SEEK_SET) < 0 ? -1 : 0;
}

/* What may be wrong with a name that was there a moment ago. */
static bool is_race(int err_no)
{
	return err_no == ENOENT || err_no == ENOTDIR || err_no == ELOOP;
}

/* --- list ---------------------------------------------------------------------------------------- */

struct listing {
	struct job *job;
	struct tree tree;
	struct wire_writer writer;
	uint32_t path_length;      /* of the current directory's path, with its slash */
	char path[WIRE_MAX_PATH + NAME_BYTES];
	uint8_t output[OUTPUT_BYTES];
};

static int flush(struct listing *listing)
{
	int done = files_send(listing->job, listing->output, listing->writer.length);

	wire_writer_init(&listing->writer, listing->output, sizeof listing->output);
	return done;
}

/* Add the record of one entry, whose path is in place. 1: it is a directory; 0; -1: reported. */
static int list_entry(struct listing *listing, const char *name, uint32_t path_length)
{
	struct job *job = listing->job;
	char link[WIRE_MAX_PATH];
	ssize_t link_length = -1;
	struct stat status;

	if (fstatat(listing->tree.fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return is_race(errno) ? 0 : files_fail(job, "stat", errno);
	if (job->report->entries == job->request->limit)
		return files_refuse(job, "limit", ERROR_TOO_MANY_ENTRIES);
	if (S_ISLNK(status.st_mode)) {
		link_length = readlinkat(listing->tree.fd, name, link, sizeof link);
		if (link_length < 0)
			return is_race(errno) || errno == EINVAL ? 0 : files_fail(job, "link", errno);
	}
	if (sizeof listing->output - listing->writer.length < 4 + WIRE_MAX_RECORD && flush(listing) < 0)
		return -1;
	files_record(&listing->writer, &status, listing->path, path_length, link_length < 0 ? NULL : link,
		     link_length < 0 ? 0 : (size_t)link_length);
	job->report->entries++;
	return S_ISDIR(status.st_mode);
}

/* One step: 1 while there is more, 0 at the end, -1: reported. */
static int list_step(struct listing *listing)
{
	struct tree *tree = &listing->tree;
	struct job *job = listing->job;
	struct entry *entry;
	uint32_t length;
	int more = next_entry(tree, &entry), kind;

	if (more < 0)
		return files_fail(job, "list", errno);
	if (more == 0) {
		if (tree->depth == 0)
			return 0;
		if (leave(tree) < 0)
			return files_fail(job, "list", errno);
		listing->path_length = tree->levels[tree->depth].path_length;
		return 1;
	}
	length = (uint32_t)strlen(entry->name);
	memcpy(listing->path + listing->path_length, entry->name, length);
	length += listing->path_length;
	/* Leaving out what is too deep to be named would look like an empty directory. */
	if (length > WIRE_MAX_PATH)
		return files_fail(job, "list", ENAMETOOLONG);
	kind = list_entry(listing, entry->name, length);
	if (kind <= 0 || !job->request->recursive)
		return kind < 0 ? -1 : 1;
	if (enter(tree, entry, tree->offset, listing->path_length) < 0)
		return is_race(errno) ? 1 : files_fail(job, "list", errno);
	listing->path[length] = '/';
	listing->path_length = length + 1;
	return 1;
}

int files_list(struct job *job)
{
	static struct listing listing;
	int more = 1;
	int fd = walk_open(job->directory, job->path, job->mode, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return files_fail(job, "open", errno);
	listing = (struct listing){ .job = job };
	go_to(&listing.tree, fd, 0);
	wire_writer_init(&listing.writer, listing.output, sizeof listing.output);
	while (more > 0)
		more = list_step(&listing);
	close_tree(&listing.tree);
	return more < 0 ? -1 : flush(&listing);
}

/* --- remove -------------------------------------------------------------------------------------- */

struct removal {
	struct job *job;
	struct tree tree;
	uint64_t emptied;          /* inode of the directory that was left last */
	unsigned again;            /* how often one that was emptied was found full */
};

/* Remove one entry, or go down into it: then it is met again, empty, on the way back, since reading
 * goes on in front of it. */
static int remove_entry(struct removal *removal, const struct entry *entry, int64_t before)
{
	struct tree *tree = &removal->tree;
	bool directory = entry->type == DT_DIR;

	if (!directory && unlinkat(tree->fd, entry->name, 0) < 0) {
		directory = errno == EISDIR;
		if (!directory && errno != ENOENT)
			return files_fail(removal->job, "remove", errno);
	}
	if (!directory || unlinkat(tree->fd, entry->name, AT_REMOVEDIR) == 0 || is_race(errno))
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return files_fail(removal->job, "remove", errno);
	/* Somebody keeps on filling it. */
	if (entry->inode == removal->emptied && ++removal->again > RACE_TRIES)
		return files_fail(removal->job, "remove", ENOTEMPTY);
	if (enter(tree, entry, before, 0) < 0 && !is_race(errno))
		return files_fail(removal->job, "remove", errno);
	return 0;
}

static int empty_directory(struct removal *removal)
{
	struct tree *tree = &removal->tree;

	for (;;) {
		int64_t before = tree->offset;
		struct entry *entry;
		int more = next_entry(tree, &entry);

		if (more == 0 && tree->depth == 0)
			return 0;
		if (more < 0 || (more == 0 && leave(tree) < 0))
			return files_fail(removal->job, "remove", errno);
		if (more == 0)
			removal->emptied = tree->levels[tree->depth].child;
		else if (remove_entry(removal, entry, before) < 0)
			return -1;
	}
}

int files_remove_tree(struct job *job, int parent, const char *name)
{
	static struct removal removal;
	unsigned again = 0;

	for (; again < RACE_TRIES; again = removal.again + 1) {
		int fd, done;

		if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return files_fail(job, "remove", errno);
		fd = open_directory(parent, name);
		if (fd < 0)
			return files_fail(job, "open", errno);
		removal = (struct removal){ .job = job, .again = again };
		go_to(&removal.tree, fd, 0);
		done = empty_directory(&removal);
		close_tree(&removal.tree);
		if (done < 0)
			return -1;
	}
	return files_fail(job, "remove", ENOTEMPTY);
}
