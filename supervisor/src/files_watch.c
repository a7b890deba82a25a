/* `watch`: what happens in a tree of directories, by inotify. Each directory has a watch of its own; what appears is watched, and
 * what was made in it before it was is told all the same. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "changes.h"
#include "clock.h"
#include "files_job.h"
#include "filter.h"
#include "nodes.h"
#include "wire.h"

#define WANTED (IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | \
		IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
/* From the first change on, so long is waited for more that belong to it. */
#define WINDOW (50 * MILLISECOND)
#define EVENT_BYTES (64u << 10)
#define OUTPUT_BYTES (64u << 10)

struct watch {
	struct job *job;
	int notify;                /* of inotify */
	/* Which directory was asked for. It is not held open: the kernel tells the end only of what nobody holds. */
	dev_t device;
	ino_t inode;
	uint32_t moving;           /* 1 and the change of a directory that has just left its place; 0 */
	struct nodes nodes;
	struct filter filter;
	struct changes changes;
	struct wire_writer writer;
	uint64_t flush_at;
	bool over;                 /* the root is gone */
	bool lost;                 /* events were dropped: what is watched must be found anew */
	bool failed;
	char path[WIRE_MAX_PATH + 1 + NAME_BYTES];
	_Alignas(struct inotify_event) uint8_t events[EVENT_BYTES];
	uint8_t output[OUTPUT_BYTES];
};

/* --- telling --------------------------------------------------------------------------------------------- */

static void send_all(struct watch *watch)
{
	if (watch->writer.length && files_send(watch->job, watch->output, watch->writer.length) < 0)
		watch->failed = true;
	wire_writer_init(&watch->writer, watch->output, sizeof watch->output);
}

static void put(struct watch *watch, const struct change *change)
{
	if (sizeof watch->output - watch->writer.length < 4 + WIRE_MAX_RECORD)
		send_all(watch);
	wire_begin_record(&watch->writer);
	if (change->target_length)
		wire_put_bytes(&watch->writer, FIELD_TARGET, watch->changes.text + change->target,
			       change->target_length);
	wire_put_uint(&watch->writer, FIELD_TYPE, change->directory ? FILE_TYPE_DIRECTORY : FILE_TYPE_UNKNOWN);
	if (change->path_length)
		wire_put_bytes(&watch->writer, FIELD_NAME, watch->changes.text + change->path, change->path_length);
	wire_put_uint(&watch->writer, FIELD_EVENT, change->event);
	wire_end_record(&watch->writer);
}

/* The other half of a move comes right behind the first one. A directory without it has left what is watched. */
static void settle_move(struct watch *watch)
{
	struct change *change = watch->moving ? &watch->changes.list[watch->moving - 1] : NULL;

	watch->moving = 0;
	if (!change || change->event != EVENT_DELETED || !change->node)
		return;
	nodes_forget(&watch->nodes, change->node, watch->notify);
	change->node = 0;
}

/* Send what was noted. */
static void flush(struct watch *watch)
{
	settle_move(watch);
	for (uint32_t i = 0; i < watch->changes.count; i++)
		put(watch, &watch->changes.list[i]);
	send_all(watch);
	changes_clear(&watch->changes);
	watch->flush_at = NEVER;
}

static uint32_t note(struct watch *watch, enum event event, size_t length, bool directory, uint32_t cookie)
{
	if (changes_full(&watch->changes))
		flush(watch);
	if (watch->flush_at == NEVER)
		watch->flush_at = clock_monotonic() + WINDOW;
	if (event != EVENT_OVERFLOW && length > WIRE_MAX_PATH)
		return note(watch, EVENT_OVERFLOW, 0, false, 0);
	return changes_add(&watch->changes, event, watch->path, length, directory, cookie);
}

/* --- which directories are watched ----------------------------------------------------------------------- */

/* Open the directory that was asked for; -1 with ENOENT when another one has its name by now. */
static int open_root(const struct watch *watch)
{
	struct stat status;
	int fd = walk_open(watch->job->directory, watch->job->path, watch->job->mode, O_RDONLY | O_DIRECTORY);

	if (fd < 0 || !watch->inode)
		return fd;
	if (fstat(fd, &status) == 0 && status.st_dev == watch->device && status.st_ino == watch->inode)
		return fd;
	close(fd);
	errno = ENOENT;
	return -1;
}

/* Open a watched directory by the names that lead to it, none of them a link. */
static int open_node(const struct watch *watch, size_t length)
{
	char path[sizeof watch->path];
	int fd = open_root(watch);
	char *name, *rest = NULL;

	memcpy(path, watch->path, length);
	path[length] = '\0';
	for (name = strtok_r(path, "/", &rest); fd >= 0 && name; name = strtok_r(NULL, "/", &rest)) {
		int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		int saved = errno;

		close(fd);
		errno = saved;
		fd = next;
	}
	return fd;
}

/* Watch a directory whose path is in place, as a child of `parent`. Its number; 0: it is watched already, or gone, or closed
 * to this user; UINT32_MAX: no more can be watched. */
static uint32_t add_directory(struct watch *watch, uint32_t parent, const char *name, int fd)
{
	int wd, saved;

	/* By ".", so that it is this directory whatever its name is by now, and /proc is not needed. */
	if (fchdir(fd) < 0)
		return 0;
	if (nodes_full(&watch->nodes)) {
		errno = ENOSPC;
		return UINT32_MAX;
	}
	wd = inotify_add_watch(watch->notify, ".", WANTED);
	saved = errno;
	(void)fchdir(watch->job->directory);
	errno = saved;
	if (wd < 0)
		return errno == ENOSPC || errno == ENOMEM ? UINT32_MAX : 0;
	if (nodes_find(&watch->nodes, wd))
		return 0;
	return nodes_add(&watch->nodes, wd, parent, name);
}

/* Whether it is a file on its way to its place, of a write or an upload by this supervisor: nothing of it is told, so that what takes
 * its place comes from where nobody watches. */
static bool is_draft(const char *name, bool directory)
{
	return !directory && files_is_temporary_name(name);
}

/* Go through a directory that has just been watched: note what is in it (`tell`), and watch its directories, whose own turn comes
 * later. False: no more can be watched. */
static bool scan(struct watch *watch, uint32_t node, size_t length, int fd, bool tell)
{
	DIR *directory = fdopendir(fd);
	const struct dirent *entry;
	bool good = true;

	if (!directory) {
		close(fd);
		return true;
	}
	if (length)
		watch->path[length++] = '/';
	while (good && !watch->failed && (entry = readdir(directory)) != NULL) {
		size_t name_length = strlen(entry->d_name), whole = length + name_length;
		bool is_directory = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
		int child;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		memcpy(watch->path + length, entry->d_name, name_length);
		if (filter_excludes(&watch->filter, watch->path, whole))
			continue;
		child = !is_directory ? -1
				      : openat(dirfd(directory), entry->d_name,
					       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (tell && !is_draft(entry->d_name, child >= 0))
			note(watch, EVENT_CREATED, whole, entry->d_type == DT_DIR || child >= 0, 0);
		if (child < 0)
			continue;
		if (watch->job->request->recursive && whole < WIRE_MAX_PATH) {
			uint32_t added = add_directory(watch, node, entry->d_name, child);

			good = added != UINT32_MAX;
			if (good && added)
				nodes_queue(&watch->nodes, added);
		}
		close(child);
	}
	closedir(directory);
	return good;
}

/* Scan every directory that waits for it. */
static bool scan_queued(struct watch *watch, bool tell)
{
	uint32_t node;
	bool good = true;

	while ((node = nodes_next(&watch->nodes)) != 0) {
		size_t length = nodes_path(&watch->nodes, node, watch->path, WIRE_MAX_PATH);
		int fd = length == SIZE_MAX ? -1 : open_node(watch, length);

		if (fd >= 0 && good)
			good = scan(watch, node, length, fd, tell);
		else if (fd >= 0)
			close(fd);
	}
	return good;
}

/* A directory has appeared whose path is in place. */
static void appear(struct watch *watch, uint32_t parent, const char *name, size_t length)
{
	int fd;
	uint32_t node;

	if (!watch->job->request->recursive || length >= WIRE_MAX_PATH)
		return;
	fd = open_node(watch, length);
	if (fd < 0)
		return;
	node = add_directory(watch, parent, name, fd);
	close(fd);
	if (node == 0)
		return;
	if (node != UINT32_MAX)
		nodes_queue(&watch->nodes, node);
	if (node == UINT32_MAX || !scan_queued(watch, true))
		note(watch, EVENT_OVERFLOW, 0, false, 0);
}

/* Watch everything anew. */
static bool begin(struct watch *watch)
{
	uint32_t node;
	int fd;

	if (watch->notify >= 0)
		close(watch->notify);
	nodes_clear(&watch->nodes);
	watch->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->notify < 0)
		return false;
	fd = open_root(watch);
	if (fd < 0)
		return false;
	node = add_directory(watch, 0, "", fd);
	close(fd);
	if (node == 0 || node == UINT32_MAX)
		return false;
	if (!watch->job->request->recursive)
		return true;
	nodes_queue(&watch->nodes, node);
	if (scan_queued(watch, false))
		return true;
	errno = ENOSPC;
	return false;
}

/* --- events ---------------------------------------------------------------------------------------------- */

static void end(struct watch *watch)
{
	watch->over = true;
	watch->path[0] = '.';
	note(watch, EVENT_DELETED, 1, true, 0);
}

/* Whether there is no file of such a name in the directory whose path is in place. One that was removed meanwhile is told by that, and
 * one that was moved away by its move. */
static bool is_nameless(const struct watch *watch, size_t length, const char *name)
{
	struct stat status;
	bool missing;
	int fd;

	if (!files_looks_nameless(name))
		return false;
	fd = open_node(watch, length);
	if (fd < 0)
		return false;
	missing = fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	close(fd);
	return missing;
}

static void on_self(struct watch *watch, const struct inotify_event *event, uint32_t node)
{
	bool gone = event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED);

	if (gone && node == NODES_ROOT && !watch->over)
		end(watch);
	if (event->mask & IN_IGNORED)
		nodes_drop(&watch->nodes, node);
}

static void on_moved_to(struct watch *watch, const struct inotify_event *event, uint32_t node, size_t length)
{
	bool directory = event->mask & IN_ISDIR;
	uint32_t place, moved = 0;

	if (changes_full(&watch->changes))
		flush(watch);
	place = length <= WIRE_MAX_PATH ? changes_moved(&watch->changes, event->cookie, watch->path, length)
					: UINT32_MAX;
	if (place == UINT32_MAX)
		note(watch, EVENT_CREATED, length, directory, 0);
	else
		moved = watch->changes.list[place].node;
	if (moved && !nodes_move(&watch->nodes, moved, node, event->name))
		watch->lost = true;
	if (directory && !moved)
		appear(watch, node, event->name, length);
}

static void on_name(struct watch *watch, const struct inotify_event *event, uint32_t node, size_t length)
{
	bool directory = event->mask & IN_ISDIR;
	uint32_t place;

	if (event->mask & IN_CREATE) {
		note(watch, EVENT_CREATED, length, directory, 0);
		if (directory)
			appear(watch, node, event->name, length);
	} else if (event->mask & IN_MOVED_FROM) {
		/* Its changes may have been taken for those of a file without a name. */
		if (files_looks_nameless(event->name))
			note(watch, EVENT_MODIFIED, length, directory, 0);
		place = note(watch, EVENT_DELETED, length, directory, event->cookie);
		if (directory && place != UINT32_MAX) {
			watch->changes.list[place].node = nodes_child(&watch->nodes, node, event->name);
			watch->moving = place + 1;
		}
	} else if (event->mask & IN_MOVED_TO) {
		on_moved_to(watch, event, node, length);
	} else if (event->mask & IN_DELETE) {
		note(watch, EVENT_DELETED, length, directory, 0);
	} else if (event->mask & (IN_MODIFY | IN_ATTRIB)) {
		note(watch, EVENT_MODIFIED, length, directory, 0);
	}
}

static void on_event(struct watch *watch, const struct inotify_event *event)
{
	uint32_t node = nodes_find(&watch->nodes, event->wd);
	size_t length, name_length;

	if (watch->moving && !(event->mask & IN_MOVED_TO &&
			       event->cookie == watch->changes.list[watch->moving - 1].cookie))
		settle_move(watch);
	if (event->mask & IN_Q_OVERFLOW)
		watch->lost = true;
	/* Of a directory that is not watched any more. */
	if (!node)
		return;
	if (event->len == 0) {
		on_self(watch, event, node);
		return;
	}
	length = nodes_path(&watch->nodes, node, watch->path, WIRE_MAX_PATH);
	if (length == SIZE_MAX || is_draft(event->name, event->mask & IN_ISDIR))
		return;
	if (event->mask & (IN_MODIFY | IN_ATTRIB) && is_nameless(watch, length, event->name))
		return;
	if (length)
		watch->path[length++] = '/';
	name_length = strlen(event->name);
	memcpy(watch->path + length, event->name, name_length);
	length += name_length;
	if (!filter_excludes(&watch->filter, watch->path, length))
		on_name(watch, event, node, length);
}

/* Take what is there. False: nothing was. */
static bool take(struct watch *watch)
{
	ssize_t got = read(watch->notify, watch->events, sizeof watch->events);

	if (got <= 0)
		return got < 0 && errno == EINTR;
	for (size_t at = 0; at < (size_t)got && !watch->failed && !watch->over;) {
		const struct inotify_event *event = (const struct inotify_event *)(void *)(watch->events + at);

		on_event(watch, event);
		at += sizeof *event + event->len;
	}
	return true;
}

/* Events were dropped, so directories may have come and gone unseen. What is told afterwards is whole again. */
static void recover(struct watch *watch)
{
	watch->lost = false;
	flush(watch);
	if (!begin(watch) && errno != ENOSPC)
		end(watch);
	note(watch, EVENT_OVERFLOW, 0, false, 0);
}

static void run(struct watch *watch)
{
	while (!watch->failed && !watch->over) {
		struct pollfd waits[] = {{.fd = watch->notify, .events = POLLIN}, {.fd = watch->job->out_fd}};
		uint64_t now = clock_monotonic();
		int ms = watch->flush_at == NEVER ? -1
			 : watch->flush_at > now  ? (int)((watch->flush_at - now) / MILLISECOND) + 1
						  : 0;

		/* PID 1 has closed its end: nobody wants to know. */
		if (poll(waits, 2, ms) > 0 && waits[1].revents)
			return;
		while (!watch->failed && !watch->over && !watch->lost && clock_monotonic() < watch->flush_at &&
		       take(watch))
			;
		if (watch->lost)
			recover(watch);
		if (clock_monotonic() >= watch->flush_at)
			flush(watch);
	}
	flush(watch);
}

int files_watch(struct job *job)
{
	static struct watch watch;
	const struct change ready = {.event = EVENT_READY, .directory = true};
	struct stat status;
	int fd;

	watch = (struct watch){.job = job, .notify = -1, .flush_at = NEVER};
	wire_writer_init(&watch.writer, watch.output, sizeof watch.output);
	if (!filter_load(&watch.filter, job->request->message))
		return files_refuse(job, "program", ERROR_INVALID);
	if (!nodes_init(&watch.nodes, job->request->limit))
		return files_refuse(job, "limit", ERROR_INVALID);
	fd = open_root(&watch);
	if (fd < 0 || fstat(fd, &status) < 0)
		return files_fail(job, "open", errno);
	watch.device = status.st_dev;
	watch.inode = status.st_ino;
	close(fd);
	if (!begin(&watch)) {
		if (errno == ENOSPC || errno == EMFILE)
			return files_refuse(job, "watch", ERROR_WATCH_LIMIT);
		return files_fail(job, "watch", errno);
	}
	put(&watch, &ready);
	send_all(&watch);
	run(&watch);
	return watch.failed ? -1 : 0;
}
