/* `read` and `write`: the bytes of one regular file, through a pipe. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "files_job.h"
#include "floor.h"

#define BUFFER_BYTES (256u << 10)
/* What one splice may move: more than any pipe holds. */
#define SPLICE_BYTES (1u << 20)
#define MAX_LINKS 40
#define NAME_TRIES 16
#define DRAFT_PREFIX ".fumehood-"
/* Of a file that is written, so much passes between two looks at what its disk has left. */
#define FLOOR_STEP (256u << 10)

/* --- moving bytes -------------------------------------------------------------------------------- */

/* Move up to n bytes between a pipe and a file. The kernel does it without a copy to us where it can (splice); some file
 * systems cannot, and then `buffer` is made and used for the rest. Returns as read(2) does; -1 with errno, and
 * *writing tells whose error it is. */
struct mover {
	int from, to;
	uint8_t *buffer;
	bool copying;
	bool writing;
};

static ssize_t copy_some(struct mover *mover, size_t n)
{
	ssize_t got, done = 0;

	if (mover->buffer == NULL) {
		mover->buffer = malloc(BUFFER_BYTES);
		if (mover->buffer == NULL) {
			errno = ENOMEM;
			return -1;
		}
	}
	mover->writing = false;
	do
		got = read(mover->from, mover->buffer, n < BUFFER_BYTES ? n : BUFFER_BYTES);
	while (got < 0 && errno == EINTR);
	mover->writing = true;
	while (done < got) {
		ssize_t put = write(mover->to, mover->buffer + done, (size_t)(got - done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		done += put;
	}
	if (got < 0)
		mover->writing = false;
	return got;
}

static ssize_t move_some(struct mover *mover, size_t n)
{
	ssize_t moved;

	if (mover->copying)
		return copy_some(mover, n);
	do
		moved = splice(mover->from, NULL, mover->to, NULL, n < SPLICE_BYTES ? n : SPLICE_BYTES,
			       SPLICE_F_MOVE);
	while (moved < 0 && errno == EINTR);
	if (moved >= 0 || (errno != EINVAL && errno != ENOSYS && errno != EPERM))
		return moved;
	mover->copying = true;
	return copy_some(mover, n);
}

/* A file may refuse a read of its content by EINVAL (some in /proc are read in whole records only): that is the file's
 * fault, not that of the request. */
static int fail_moving(struct job *job, const char *step, int err_no)
{
	return files_fail(job, step, err_no == EINVAL ? EIO : err_no);
}

/* A large file stops short of the disk's floor, as if the disk ended there: it is removed, and its writer is told. Otherwise
 * the whole session would be ended for it a moment later. */
bool files_at_floor(int fd, uint64_t floor)
{
	struct statfs status;

	return floor && fstatfs(fd, &status) == 0 && floor_watches((uint32_t)status.f_type) &&
	       (uint64_t)status.f_bavail * (uint64_t)status.f_bsize < floor;
}

/* Move everything up to `limit` bytes, counted in report->size. What is left behind the limit is ERROR_TOO_LARGE. With a
 * `floor` the target is a file, which leaves so much on its disk. */
static int move_all(struct job *job, struct mover *mover, uint64_t limit, uint64_t floor)
{
	uint64_t *size = &job->report->size, next_look = FLOOR_STEP;
	uint8_t extra;
	ssize_t n;

	while (*size < limit) {
		uint64_t left = limit - *size;

		if (*size >= next_look) {
			if (files_at_floor(mover->to, floor))
				return files_fail(job, "floor", ENOSPC);
			next_look = *size + FLOOR_STEP;
		}

		n = move_some(mover, left < SPLICE_BYTES ? (size_t)left : SPLICE_BYTES);
		if (n < 0)
			return fail_moving(job, mover->writing ? "write" : "read", errno);
		if (n == 0)
			return 0;
		*size += (uint64_t)n;
	}
	do
		n = read(mover->from, &extra, 1);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_moving(job, "read", errno);
	return n == 0 ? 0 : files_refuse(job, "limit", ERROR_TOO_LARGE);
}

/* --- read ---------------------------------------------------------------------------------------- */

/* What `fd` is, by itself and not by its name, which may name something else by now. */
static int check_regular(struct job *job, int fd, struct stat *status)
{
	if (fstat(fd, status) < 0)
		return files_fail(job, "stat", errno);
	if (S_ISDIR(status->st_mode))
		return files_refuse(job, "open", ERROR_IS_DIRECTORY);
	if (!S_ISREG(status->st_mode))
		return files_refuse(job, "open", ERROR_NOT_REGULAR);
	return 0;
}

/* The size that a file tells is only good for an early refusal: /proc says 0, and a file may grow or shrink. */
static int read_from(struct job *job, int fd)
{
	const struct file_request *request = job->request;
	struct mover mover = { .from = fd, .to = job->out_fd };
	struct stat status;
	int done;

	if (check_regular(job, fd, &status) < 0)
		return -1;
	if (request->offset > INT64_MAX)
		return files_refuse(job, "offset", ERROR_INVALID);
	if ((uint64_t)status.st_size > request->offset &&
	    (uint64_t)status.st_size - request->offset > request->limit) {
		job->report->size = (uint64_t)status.st_size;
		return files_refuse(job, "limit", ERROR_TOO_LARGE);
	}
	fcntl(fd, F_SETFL, 0);
	if (request->offset > 0 && lseek(fd, (off_t)request->offset, SEEK_SET) < 0)
		return files_fail(job, "seek", errno);
	done = move_all(job, &mover, request->limit, 0);
	free(mover.buffer);
	return done;
}

int files_read(struct job *job)
{
	/* O_NONBLOCK is in it: a FIFO must not hang the open. */
	int fd = walk_open(job->directory, job->path, job->mode, O_RDONLY);
	int done;

	if (fd < 0)
		return files_fail(job, "open", errno);
	done = read_from(job, fd);
	close(fd);
	return done;
}

/* --- write --------------------------------------------------------------------------------------- */

/* Put the text of the link `name` where the last component of `path` was. */
static int follow_link(struct job *job, int parent, const char *name)
{
	char link[WIRE_MAX_PATH + 1];
	ssize_t length = readlinkat(parent, name, link, WIRE_MAX_PATH);
	char *last = strrchr(job->path, '/');
	size_t kept = last == NULL ? 0 : (size_t)(last + 1 - job->path);

	/* No link any more: somebody changes the name, and it is looked at again. */
	if (length < 0 && errno == EINVAL)
		return 0;
	if (length < 0)
		return files_fail(job, "link", errno);
	link[length] = '\0';
	if (link[0] == '/')
		kept = 0;
	if (kept + (size_t)length > WIRE_MAX_PATH)
		return files_fail(job, "link", ENAMETOOLONG);
	memcpy(job->path + kept, link, (size_t)length + 1);
	return 0;
}

/* Find the place of a write. A link as the last component is followed, as every program that opens a file for writing
 * does; each step is resolved beneath the directory again, so one that leads out is `escapes`. Nothing but a
 * regular file is replaced, and only one that the workload could have written: the rename alone would
 * ask for no more than the right to change the directory. */
static int find_place(struct job *job, struct place *place)
{
	struct stat status;

	for (int links = 0; links <= MAX_LINKS; links++) {
		size_t length = strlen(job->path);

		place->parent = files_open_parent(job, job->path, job->request->parents, place->name);
		if (place->parent < 0)
			return -1;
		place->exists = false;
		place->mode = job->request->mode & 07777;
		if (place->name[0] == '\0' || job->path[length - 1] == '/')
			return files_refuse(job, "path", ERROR_IS_DIRECTORY);
		if (fstatat(place->parent, place->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
			return errno == ENOENT ? 0 : files_fail(job, "stat", errno);
		if (S_ISREG(status.st_mode)) {
			if (faccessat(place->parent, place->name, W_OK, 0) < 0 && errno != ETXTBSY)
				return files_fail(job, "open", errno);
			place->exists = true;
			/* As a write by anybody but its owner would, it loses setuid and setgid. */
			place->mode = status.st_mode & 01777;
			return 0;
		}
		if (S_ISDIR(status.st_mode))
			return files_refuse(job, "open", ERROR_IS_DIRECTORY);
		if (!S_ISLNK(status.st_mode))
			return files_refuse(job, "open", ERROR_NOT_REGULAR);
		if (follow_link(job, place->parent, place->name) < 0)
			return -1;
		close(place->parent);
		place->parent = -1;
	}
	return files_fail(job, "link", ELOOP);
}

int files_temporary_name(char name[DRAFT_NAME_BYTES])
{
	uint32_t random;

	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return -1;
	snprintf(name, DRAFT_NAME_BYTES, DRAFT_PREFIX "%08x", random);
	return 0;
}

bool files_is_temporary_name(const char *name)
{
	const char *number = name + strlen(DRAFT_PREFIX);

	return strlen(name) == DRAFT_NAME_BYTES - 1 && strncmp(name, DRAFT_PREFIX, strlen(DRAFT_PREFIX)) == 0 &&
	       strspn(number, "0123456789abcdef") == strlen(number);
}

bool files_looks_nameless(const char *name)
{
	return name[0] == '#' && name[1] != '\0' && name[1 + strspn(name + 1, "0123456789")] == '\0';
}

static void proc_path(int fd, char path[32])
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

int files_open_draft(struct job *job, int parent, struct draft *draft)
{
	char path[32];

	draft->named = false;
	draft->fd = openat(parent, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (draft->fd >= 0) {
		/* It gets its name through /proc, so there must be one. */
		proc_path(draft->fd, path);
		if (access(path, F_OK) == 0)
			return 0;
		close(draft->fd);
	}
	for (int tries = 0; tries < NAME_TRIES; tries++) {
		if (files_temporary_name(draft->name) < 0)
			return files_fail(job, "create", errno);
		draft->fd = openat(parent, draft->name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC,
				   0600);
		if (draft->fd >= 0) {
			draft->named = true;
			return 0;
		}
		if (errno != EEXIST)
			break;
	}
	return files_fail(job, "create", errno);
}

/* Give a nameless draft a temporary name, from which rename(2) can replace what is there. */
static int name_draft(struct job *job, int parent, struct draft *draft)
{
	char path[32];

	proc_path(draft->fd, path);
	for (int tries = 0; tries < NAME_TRIES; tries++) {
		if (files_temporary_name(draft->name) < 0)
			break;
		if (linkat(AT_FDCWD, path, parent, draft->name, AT_SYMLINK_FOLLOW) == 0) {
			draft->named = true;
			return 0;
		}
		if (errno != EEXIST)
			break;
	}
	return files_fail(job, "link", errno);
}

/* Whether PID 1 has seen the client's EOF: until then the input may have ended because the client is gone. */
static int await_commit(struct job *job)
{
	char word = 0;
	ssize_t n;

	do
		n = read(job->commit_fd, &word, 1);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return files_fail(job, "commit", errno);
	return n == 1 && word == 'C' ? 0 : files_refuse(job, "commit", ERROR_CANCELLED);
}

/* Whether what is there is still what the caller has seen, by its size and time. Between this look and the rename somebody may
 * yet write: what that loses is a write at the very moment of ours. */
static bool is_unchanged(const struct job *job, const struct place *place)
{
	const struct file_request *request = job->request;
	struct stat status;

	if (!request->guarded)
		return true;
	if (fstatat(place->parent, place->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT && request->modified_ns == UINT64_MAX;
	return S_ISREG(status.st_mode) && (uint64_t)status.st_size == request->size &&
	       files_nanoseconds(&status.st_mtim) == request->modified_ns;
}

int files_put_in_place(struct job *job, const struct place *place, struct draft *draft)
{
	char path[32];

	if (!is_unchanged(job, place))
		return files_refuse(job, "guard", ERROR_CHANGED);
	if (fchmod(draft->fd, place->mode) < 0)
		return files_fail(job, "mode", errno);
	proc_path(draft->fd, path);
	if (!draft->named && !place->exists &&
	    linkat(AT_FDCWD, path, place->parent, place->name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (!draft->named && name_draft(job, place->parent, draft) < 0)
		return -1;
	if (renameat(place->parent, draft->name, place->parent, place->name) < 0)
		return files_fail(job, "rename", errno);
	draft->named = false;
	return 0;
}

void files_close_draft(int parent, struct draft *draft)
{
	if (draft->fd >= 0)
		close(draft->fd);
	if (draft->named)
		unlinkat(parent, draft->name, 0);
	*draft = (struct draft){ .fd = -1 };
}

static int write_draft(struct job *job, const struct place *place, struct draft *draft)
{
	struct mover mover = { .from = job->in_fd, .to = draft->fd, .writing = true };
	int done = move_all(job, &mover, job->request->limit, job->request->floor);

	free(mover.buffer);
	if (done < 0 || await_commit(job) < 0)
		return -1;
	return files_put_in_place(job, place, draft);
}

int files_write(struct job *job)
{
	struct place place = { .parent = -1 };
	struct draft draft = { .fd = -1 };
	int done = find_place(job, &place);

	if (done == 0)
		done = files_open_draft(job, place.parent, &draft);
	if (done == 0)
		done = write_draft(job, &place, &draft);
	files_close_draft(place.parent, &draft);
	if (place.parent >= 0)
		close(place.parent);
	return done;
}
