/* `list` and the recursive `remove`: directories of any depth and width, in bounded memory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "files_job.h"
#include "files_walk.h"
#include "filter.h"
#include "wire.h"

#define OUTPUT_BYTES (64u << 10)
/* How often a directory that was emptied may be found full again before somebody else is to blame. */
#define RACE_TRIES 16

/* --- list ---------------------------------------------------------------------------------------- */

struct listing {
	struct job *job;
	struct walker tree;
	struct filter filter;
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

/* Whether something is only closed to this user. Below the directory that was asked for it is counted and passed by: it says
 * nothing about the rest. */
static bool is_closed(int err_no)
{
	return files_error(err_no) == ERROR_PERMISSION;
}

/* Whether an entry of which the name alone is known is asked for, or what may be in it. */
static bool may_be_wanted(struct listing *listing, const struct entry *entry, uint32_t path_length)
{
	return entry->type == DT_DIR || entry->type == DT_UNKNOWN ||
	       filter_includes(&listing->filter, listing->path, path_length);
}

/* Add the record of one entry, whose path is in place, if it is asked for. 1: it is a directory; 0; -1: reported. */
static int list_entry(struct listing *listing, const struct entry *entry, uint32_t path_length)
{
	struct job *job = listing->job;
	const char *name = entry->name;
	char link[WIRE_MAX_PATH];
	ssize_t link_length = -1;
	struct stat status;

	if (fstatat(listing->tree.fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		/* The directory may be read and not searched. */
		if (listing->tree.depth == 0 || !is_closed(errno))
			return walker_is_race(errno) ? 0 : files_fail(job, "stat", errno);
		job->report->unreadable += may_be_wanted(listing, entry, path_length);
		return 0;
	}
	if (!filter_includes(&listing->filter, listing->path, path_length))
		return S_ISDIR(status.st_mode);
	if (job->report->entries == job->request->limit)
		return files_refuse(job, "limit", ERROR_TOO_MANY_ENTRIES);
	if (S_ISLNK(status.st_mode)) {
		link_length = readlinkat(listing->tree.fd, name, link, sizeof link);
		/* Those in /proc may be seen by all and read by few: such a record has no target, as `stat` has it. */
		if (link_length < 0 && !is_closed(errno))
			return walker_is_race(errno) || errno == EINVAL ? 0 : files_fail(job, "link", errno);
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
	struct walker *tree = &listing->tree;
	struct job *job = listing->job;
	struct entry *entry;
	uint32_t length;
	int more = walker_next(tree, &entry), kind;

	if (more < 0 && tree->depth > 0 && is_closed(errno)) {
		job->report->unreadable++;
		more = 0;
	}
	if (more < 0)
		return files_fail(job, "list", errno);
	if (more == 0) {
		if (tree->depth == 0)
			return 0;
		if (walker_leave(tree) < 0)
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
	if (filter_excludes(&listing->filter, listing->path, length))
		return 1;
	kind = list_entry(listing, entry, length);
	if (kind <= 0 || !job->request->recursive)
		return kind < 0 ? -1 : 1;
	if (walker_enter(tree, entry, tree->offset, listing->path_length) < 0) {
		if (!is_closed(errno))
			return walker_is_race(errno) ? 1 : files_fail(job, "list", errno);
		job->report->unreadable++;
		return 1;
	}
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
	if (!filter_load(&listing.filter, job->request->message)) {
		close(fd);
		return files_refuse(job, "program", ERROR_INVALID);
	}
	walker_start(&listing.tree, fd, 0);
	wire_writer_init(&listing.writer, listing.output, sizeof listing.output);
	while (more > 0)
		more = list_step(&listing);
	walker_close(&listing.tree);
	return more < 0 ? -1 : flush(&listing);
}

/* --- remove -------------------------------------------------------------------------------------- */

struct removal {
	struct job *job;
	struct walker tree;
	uint64_t emptied;          /* inode of the directory that was left last */
	unsigned again;            /* how often one that was emptied was found full */
};

/* Remove one entry, or go down into it: then it is met again, empty, on the way back, since reading
 * goes on in front of it. */
static int remove_entry(struct removal *removal, const struct entry *entry, int64_t before)
{
	struct walker *tree = &removal->tree;
	bool directory = entry->type == DT_DIR;

	if (!directory && unlinkat(tree->fd, entry->name, 0) < 0) {
		directory = errno == EISDIR;
		if (!directory && errno != ENOENT)
			return files_fail(removal->job, "remove", errno);
	}
	if (!directory || unlinkat(tree->fd, entry->name, AT_REMOVEDIR) == 0 || walker_is_race(errno))
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return files_fail(removal->job, "remove", errno);
	/* Somebody keeps on filling it. */
	if (entry->inode == removal->emptied && ++removal->again > RACE_TRIES)
		return files_fail(removal->job, "remove", ENOTEMPTY);
	if (walker_enter(tree, entry, before, 0) < 0 && !walker_is_race(errno))
		return files_fail(removal->job, "remove", errno);
	return 0;
}

static int empty_directory(struct removal *removal)
{
	struct walker *tree = &removal->tree;

	for (;;) {
		int64_t before = tree->offset;
		struct entry *entry;
		int more = walker_next(tree, &entry);

		if (more == 0 && tree->depth == 0)
			return 0;
		if (more < 0 || (more == 0 && walker_leave(tree) < 0))
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
		fd = walker_open(parent, name);
		if (fd < 0)
			return files_fail(job, "open", errno);
		removal = (struct removal){ .job = job, .again = again };
		walker_start(&removal.tree, fd, 0);
		done = empty_directory(&removal);
		walker_close(&removal.tree);
		if (done < 0)
			return -1;
	}
	return files_fail(job, "remove", ENOTEMPTY);
}
