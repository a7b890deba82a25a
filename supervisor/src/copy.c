#define _GNU_SOURCE
#include "copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "floor.h"

/* Directories within directories, with two descriptors each. The file API of a session makes no deeper ones. */
#define MAX_DEPTH 2048
/* Between two looks at what is left of the disk. */
#define PIECE ((size_t)16 << 20)
#define XATTR_NAMES 65536
#define XATTR_VALUE 65536
/* As for a session that is not told another one. */
#define FLOOR_MOST ((uint64_t)1 << 30)

struct level {
	DIR *from;
	int to;
	struct stat status;        /* of the original, for when the copy is complete */
	char name[NAME_MAX + 1];
};

static struct level levels[MAX_DEPTH];
static uint32_t depth;
static uint64_t bytes, entries, left_out, floor_bytes;
static dev_t device;
/* Of files with several names one is made; this directory has a name for each of them, by the original's number, until the end. */
static int links = -1;
static char links_name[64];

static int failed(const char *what, const char *name)
{
	int code = errno == ENOSPC || errno == EDQUOT ? COPY_NO_ROOM : errno == ELOOP ? COPY_TOO_DEEP : COPY_FAILED;

	fprintf(stderr, "fumehood supervisor: copy: %s %s: %s\n", what, name, strerror(errno));
	return code;
}

/* --- one file -------------------------------------------------------------------------------------------- */

/* What every session leaves free of a disk, a copy leaves too: it is made for whoever asks for it, and fills what all share. */
static bool has_room(int fd)
{
	struct statfs room;

	if (floor_bytes == 0 || fstatfs(fd, &room) < 0)
		return true;
	if ((uint64_t)room.f_bavail * (uint64_t)room.f_bsize >= floor_bytes)
		return true;
	errno = ENOSPC;
	return false;
}

static bool copy_piece(int from, int to, off_t *offset, off_t end)
{
	while (*offset < end) {
		size_t wanted = (size_t)(end - *offset) < PIECE ? (size_t)(end - *offset) : PIECE;
		ssize_t done;

		if (!has_room(to))
			return false;
		done = sendfile(to, from, offset, wanted);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		if (done == 0) /* it has become shorter: as it is now */
			return true;
		bytes += (uint64_t)done;
	}
	return true;
}

/* Holes stay holes. Where the file system does not tell them, all of it counts as data. */
static bool copy_data(int from, int to, off_t size)
{
	off_t at = 0;

	while (at < size) {
		off_t data = lseek(from, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = at;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole <= data)
			hole = size;
		if (lseek(to, data, SEEK_SET) < 0 || !copy_piece(from, to, &data, hole))
			return false;
		at = hole;
	}
	return ftruncate(to, size) == 0;
}

/* Those of users: what the kernel or root would act on (capabilities of programs) no command could have set. */
static bool copy_xattrs(int from, int to)
{
	static char names[XATTR_NAMES], value[XATTR_VALUE];
	ssize_t length = flistxattr(from, names, sizeof(names));

	if (length < 0)
		return errno == ENOTSUP;
	for (char *name = names; name < names + length; name += strlen(name) + 1) {
		ssize_t size;

		if (strncmp(name, "user.", 5) != 0)
			continue;
		size = fgetxattr(from, name, value, sizeof(value));
		if (size < 0 && errno == ENODATA)
			continue;
		if (size < 0 || fsetxattr(to, name, value, (size_t)size, 0) < 0)
			return errno == ENOTSUP;
	}
	return true;
}

/* Owner first: a change of it takes set-uid bits away, which are the mode's. */
static bool finish(int to, const struct stat *status)
{
	struct timespec times[] = {status->st_atim, status->st_mtim};

	return fchown(to, status->st_uid, status->st_gid) == 0 && fchmod(to, status->st_mode & 07777) == 0 &&
	       futimens(to, times) == 0;
}

static int copy_file(int from_directory, int to_directory, const char *name, const struct stat *status)
{
	int from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), to;
	struct stat opened;
	int code = COPY_OK;

	if (from < 0)
		return failed("cannot read", name);
	if (fstat(from, &opened) < 0 || !S_ISREG(opened.st_mode) || opened.st_ino != status->st_ino) {
		close(from);
		errno = EAGAIN;
		return failed("something else is now at", name);
	}
	to = openat(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0 || !copy_data(from, to, opened.st_size) || !copy_xattrs(from, to) || !finish(to, &opened))
		code = failed("cannot copy", name);
	if (to >= 0)
		close(to);
	close(from);
	return code;
}

static bool finish_at(int to_directory, const char *name, const struct stat *status)
{
	struct timespec times[] = {status->st_atim, status->st_mtim};

	if (fchownat(to_directory, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (!S_ISLNK(status->st_mode) && fchmodat(to_directory, name, status->st_mode & 07777, 0) < 0)
		return false;
	return utimensat(to_directory, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static int copy_link(int from_directory, int to_directory, const char *name, const struct stat *status)
{
	char target[PATH_MAX + 1];
	ssize_t length = readlinkat(from_directory, name, target, sizeof(target) - 1);

	if (length < 0)
		return failed("cannot read the link", name);
	target[length] = '\0';
	if (symlinkat(target, to_directory, name) < 0 || !finish_at(to_directory, name, status))
		return failed("cannot make the link", name);
	return COPY_OK;
}

/* Pipes and sockets. A device could be made by nobody in a session: one that is there is not passed on. */
static int copy_special(int to_directory, const char *name, const struct stat *status)
{
	if (!S_ISFIFO(status->st_mode) && !S_ISSOCK(status->st_mode)) {
		left_out++;
		return COPY_OK;
	}
	if (mknodat(to_directory, name, (status->st_mode & S_IFMT) | 0600, 0) < 0 ||
	    !finish_at(to_directory, name, status))
		return failed("cannot make", name);
	return COPY_OK;
}

/* --- several names --------------------------------------------------------------------------------------- */

static void number_name(char out[32], const struct stat *status)
{
	snprintf(out, 32, "%" PRIu64, (uint64_t)status->st_ino);
}

/* Whether it is there already under another name, and has this one too now. */
static bool linked(int to_directory, const char *name, const struct stat *status)
{
	char number[32];

	if (status->st_nlink < 2)
		return false;
	number_name(number, status);
	return linkat(links, number, to_directory, name, 0) == 0;
}

/* Where it cannot have so many names, those beyond are files by themselves. */
static bool remember(int to_directory, const char *name, const struct stat *status)
{
	char number[32];

	if (status->st_nlink < 2)
		return true;
	number_name(number, status);
	return linkat(to_directory, name, links, number, 0) == 0 || errno == EMLINK || errno == EEXIST;
}

static int forget_links(int to)
{
	int fd = dup(links);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!directory)
		return failed("cannot list", links_name);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && unlinkat(links, entry->d_name, 0) < 0)
			return failed("cannot remove", entry->d_name);
	closedir(directory);
	close(links);
	return unlinkat(to, links_name, AT_REMOVEDIR) < 0 ? failed("cannot remove", links_name) : COPY_OK;
}

/* --- the tree -------------------------------------------------------------------------------------------- */

/* Takes both descriptors over. */
static int enter(int from, int to, const char *name, const struct stat *status)
{
	struct level *level = &levels[depth];

	if (from < 0 || to < 0)
		return failed("cannot enter", name);
	level->from = fdopendir(from);
	if (!level->from)
		return failed("cannot list", name);
	level->to = to;
	level->status = *status;
	snprintf(level->name, sizeof(level->name), "%s", name);
	depth++;
	return COPY_OK;
}

static int copy_directory(const struct level *parent, const char *name, const struct stat *status)
{
	int from, to;

	if (depth == MAX_DEPTH) {
		errno = ELOOP;
		return failed("too deep:", name);
	}
	if (mkdirat(parent->to, name, 0700) < 0)
		return failed("cannot make", name);
	from = openat(dirfd(parent->from), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	to = openat(parent->to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return enter(from, to, name, status);
}

static int copy_entry(const struct level *level, const char *name)
{
	int from = dirfd(level->from);
	struct stat status;
	int code;

	if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return failed("cannot look at", name);
	if (status.st_dev != device) {
		left_out++;
		return COPY_OK;
	}
	entries++;
	if (S_ISDIR(status.st_mode))
		return copy_directory(level, name, &status);
	if (linked(level->to, name, &status))
		return COPY_OK;
	if (!has_room(level->to))
		return failed("no room for", name);
	if (S_ISREG(status.st_mode))
		code = copy_file(from, level->to, name, &status);
	else if (S_ISLNK(status.st_mode))
		code = copy_link(from, level->to, name, &status);
	else
		return copy_special(level->to, name, &status);
	if (code == COPY_OK && !remember(level->to, name, &status))
		code = failed("cannot link", name);
	return code;
}

/* Its owner, mode and times last: they are those of before its content was made. The workspace itself belongs to the session that
 * it is for, whose supervisor hands it over; of the original it gets the mode. */
static int leave(void)
{
	struct level *level = &levels[--depth];
	bool done;

	if (depth == 0)
		done = fchmod(level->to, level->status.st_mode & 07777) == 0;
	else
		done = copy_xattrs(dirfd(level->from), level->to) && finish(level->to, &level->status);
	if (!done)
		return failed("cannot finish", level->name);
	closedir(level->from);
	close(level->to);
	return COPY_OK;
}

static int walk(void)
{
	int code = COPY_OK;

	while (code == COPY_OK && depth) {
		const struct level *level = &levels[depth - 1];
		struct dirent *entry;

		errno = 0;
		entry = readdir(level->from);
		if (!entry)
			code = errno ? failed("cannot list", level->name) : leave();
		else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			code = copy_entry(level, entry->d_name);
	}
	return code;
}

/* Two for each level. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static bool is_empty(int to)
{
	int fd = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint32_t found = 0;

	if (!directory)
		return false;
	while ((entry = readdir(directory)))
		/* What a new file system has from its making. */
		found += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			 strcmp(entry->d_name, "lost+found") != 0;
	closedir(directory);
	errno = ENOTEMPTY;
	return found == 0;
}

static int prepare(int from, int to, struct stat *status)
{
	struct statfs room;
	uint64_t random;

	if (from < 0 || fstat(from, status) < 0)
		return failed("cannot enter", "the original");
	if (to < 0 || fstatfs(to, &room) < 0)
		return failed("cannot enter", "the copy");
	device = status->st_dev;
	if (floor_watches((uint32_t)room.f_type))
		floor_bytes = floor_default((uint64_t)room.f_blocks * (uint64_t)room.f_bsize, FLOOR_MOST);
	if (!is_empty(to))
		return failed("there is something in", "the copy");
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return failed("cannot make up", "a name");
	snprintf(links_name, sizeof(links_name), ".fumehood-links-%016" PRIx64, random);
	if (mkdirat(to, links_name, 0700) < 0)
		return failed("cannot make", links_name);
	links = openat(to, links_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return links < 0 ? failed("cannot enter", links_name) : COPY_OK;
}

int copy_tree(const char *from, const char *to)
{
	int from_fd = open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int to_fd = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;
	int code = prepare(from_fd, to_fd, &status);

	allow_descriptors();
	if (code == COPY_OK)
		code = enter(from_fd, dup(to_fd), ".", &status);
	if (code == COPY_OK)
		code = walk();
	if (code == COPY_OK)
		code = forget_links(to_fd);
	if (code == COPY_OK && syncfs(to_fd) < 0)
		code = failed("cannot write back", to);
	if (code == COPY_OK && printf("copied %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", bytes, entries, left_out) < 0)
		code = COPY_FAILED;
	return code;
}
