#define _GNU_SOURCE
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RACE_TRIES 64
#define MAX_LINKS 40
#define MAX_REST 8192
/* Ancestors that are kept open for "..". A path may be deeper; a ".." that needs one of those let go is
 * ELOOP, which only a chain of links with more than this many ".." meets. */
#define KEPT 64

bool walk_without_openat2;

static int open_flags(int flags)
{
	flags |= O_CLOEXEC;
	if ((flags & O_PATH) == 0)
		flags |= O_NOCTTY | O_NONBLOCK;
	return flags;
}

/* --- without openat2: one component at a time ---------------------------------------------------- */

/* The directories from the start down to where the walk is: open[(depth - 1) % KEPT] is the current one, and the
 * start itself is not in it. Invariant: every one of them was reached by a name in the one above it. */
struct walk {
	int start;
	int open[KEPT];
	unsigned depth, kept;
	unsigned links;
	enum walk_mode mode;
	char rest[MAX_REST];       /* what is still to be walked */
};

static int current(const struct walk *walk)
{
	return walk->depth == 0 ? walk->start : walk->open[(walk->depth - 1) % KEPT];
}

static void drop(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

static void push(struct walk *walk, int fd)
{
	unsigned slot = walk->depth % KEPT;

	if (walk->kept == KEPT)
		drop(walk->open[slot]);
	else
		walk->kept++;
	walk->open[slot] = fd;
	walk->depth++;
}

static void to_start(struct walk *walk)
{
	while (walk->kept > 0) {
		walk->depth--;
		walk->kept--;
		drop(walk->open[walk->depth % KEPT]);
	}
	walk->depth = 0;
}

/* "..": back to the directory that we came from, which is where we have been, wherever it has been moved since. */
static int up(struct walk *walk)
{
	if (walk->depth == 0) {
		if (walk->mode == WALK_IN_ROOT)
			return 0;
		errno = EXDEV;
		return -1;
	}
	if (walk->kept < 2 && walk->depth > 1) {
		errno = ELOOP;
		return -1;
	}
	walk->depth--;
	walk->kept--;
	drop(walk->open[walk->depth % KEPT]);
	return 0;
}

/* An absolute path, of the caller's or of a link. */
static int from_root(struct walk *walk)
{
	if (walk->mode != WALK_IN_ROOT) {
		errno = EXDEV;
		return -1;
	}
	to_start(walk);
	return 0;
}

/* Put a link's text before the rest of the path. */
static int expand(struct walk *walk, int link, const char *rest)
{
	char text[MAX_REST];
	ssize_t length = readlinkat(link, "", text, sizeof text);
	size_t after = strlen(rest);

	if (length < 0)
		return -1;
	if (++walk->links > MAX_LINKS) {
		errno = ELOOP;
		return -1;
	}
	if (length == 0) {
		errno = ENOENT;
		return -1;
	}
	if ((size_t)length + 1 + after + 1 > sizeof walk->rest) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memmove(walk->rest + length + (after > 0), rest, after + 1);
	if (after > 0)
		walk->rest[length] = '/';
	memcpy(walk->rest, text, (size_t)length);
	return text[0] == '/' ? from_root(walk) : 0;
}

/* Take the next component off the path: its length, 0 at the end. A slash at the end leaves an empty rest
 * behind a component, which the caller takes for ".". */
static size_t component(const struct walk *walk, char name[256], const char **rest)
{
	const char *from = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(from, "/");

	*rest = from + length;
	if (length > 255) {
		errno = ENAMETOOLONG;
		return SIZE_MAX;
	}
	memcpy(name, from, length);
	name[length] = '\0';
	return length;
}

/* Open the last component for good, having looked at it as `seen`. A link is there only when O_NOFOLLOW asked
 * for it. EAGAIN: it has become one since, so the walk starts again. */
static int open_last(const struct walk *walk, const char *name, int flags, int seen, mode_t type)
{
	int fd;

	if ((flags & O_PATH) != 0) {
		if ((flags & O_DIRECTORY) == 0 || S_ISDIR(type))
			return seen;
		fd = -1;
		errno = ENOTDIR;
	} else {
		fd = openat(current(walk), name, open_flags(flags) | O_NOFOLLOW);
		if (fd < 0 && errno == ELOOP && !S_ISLNK(type))
			errno = EAGAIN;
	}
	drop(seen);
	return fd;
}

/* One step. Returns 1 with *result when the walk is over, 0 when it goes on, -1 with errno. */
static int step(struct walk *walk, int flags, int *result)
{
	char name[256];
	const char *rest;
	struct stat status;
	size_t length = component(walk, name, &rest);
	bool last = *rest == '\0';
	int fd;

	if (length == SIZE_MAX)
		return -1;
	if (length == 0 || (last && (strcmp(name, ".") == 0 || strcmp(name, "..") == 0))) {
		if (strcmp(name, "..") == 0 && up(walk) < 0)
			return -1;
		*result = openat(current(walk), ".", open_flags(flags));
		return *result < 0 ? -1 : 1;
	}
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		if (strcmp(name, "..") == 0 && up(walk) < 0)
			return -1;
		memmove(walk->rest, rest, strlen(rest) + 1);
		return 0;
	}
	fd = openat(current(walk), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &status) < 0) {
		drop(fd);
		return -1;
	}
	if (S_ISLNK(status.st_mode) && !(last && (flags & O_NOFOLLOW) != 0)) {
		int done = expand(walk, fd, rest);

		drop(fd);
		return done;
	}
	if (last) {
		*result = open_last(walk, name, flags, fd, status.st_mode);
		return *result < 0 ? -1 : 1;
	}
	if (!S_ISDIR(status.st_mode)) {
		drop(fd);
		errno = ENOTDIR;
		return -1;
	}
	push(walk, fd);
	memmove(walk->rest, rest, strlen(rest) + 1);
	return 0;
}

static int walk_components(int directory, const char *path, enum walk_mode mode, int flags)
{
	struct walk walk = { .start = directory, .mode = mode };
	int result = -1, done = 0;

	if (path[0] == '\0') {
		errno = ENOENT;
		return -1;
	}
	if (snprintf(walk.rest, sizeof walk.rest, "%s", path) >= (int)sizeof walk.rest) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (path[0] == '/' && from_root(&walk) < 0)
		return -1;
	while (done == 0)
		done = step(&walk, flags, &result);
	to_start(&walk);
	return result;
}

/* --- both ways ----------------------------------------------------------------------------------- */

static int kernel_open(int directory, const char *path, enum walk_mode mode, int flags)
{
	struct open_how how = {
		.flags = (unsigned)open_flags(flags),
		.resolve = RESOLVE_NO_MAGICLINKS |
			   (mode == WALK_BENEATH ? RESOLVE_BENEATH : RESOLVE_IN_ROOT),
	};

	if (walk_without_openat2) {
		errno = ENOSYS;
		return -1;
	}
	return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

int walk_open(int directory, const char *path, enum walk_mode mode, int flags)
{
	for (int tries = 0; tries < RACE_TRIES; tries++) {
		int fd = kernel_open(directory, path, mode, flags);

		/* Old seccomp profiles answer EPERM for what they do not know. Where it is the file's own answer, the
		 * walk gets it again. */
		if (fd < 0 && (errno == ENOSYS || errno == EPERM))
			fd = walk_components(directory, path, mode, flags);
		if (fd >= 0 || errno != EAGAIN)
			return fd;
	}
	return -1;
}
