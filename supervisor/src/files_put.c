/* `put_tree`: files, directories and links from a stream, beneath one directory. What goes wrong with one of them is said in
 * the output, and the rest comes all the same; a disk that is full ends it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32.h"
#include "files_job.h"
#include "packed.h"

#define DIRECTORY_MODE 0755
#define NAME_TRIES 16
/* Behind a piece of this size another one is expected, which is better left in the pipe. */
#define LARGE_PIECE (64u << 10)
/* Between two looks at what the disk has left, over all files. */
#define FLOOR_STEP (256u << 10)

struct put {
	struct job *job;
	int base;                  /* what everything goes beneath */
	int directory;             /* where the last entry went; -1 */
	bool directory_known;
	char directory_path[WIRE_MAX_PATH + 1];
	bool over;                 /* a failure that is not one entry's alone */
	uint64_t moved, next_look; /* bytes until now, and those at which the disk is looked at again */
	struct packed_record record;
	struct packed_reader in;
	struct packed_writer out;
};

/* --- failures ------------------------------------------------------------------------------------------------ */

/* The stream has ended early, or is none: the client is gone, or broken. */
static int lost(struct put *put)
{
	put->over = true;
	return files_fail(put->job, "stream", put->in.err_no == EBADMSG ? EINVAL : ECANCELED);
}

/* Whether what the report says would be true of every entry that follows. */
static bool ends_it(const struct put *put)
{
	switch (put->job->report->error) {
	case ERROR_NO_SPACE:
	case ERROR_OUT_OF_MEMORY:
		return true;
	default:
		return put->over;
	}
}

/* Tell what went wrong with the entry, and forget it. */
static int tell(struct put *put)
{
	struct helper_report *report = put->job->report;
	struct packed_record failed = { .type = PACKED_FAILED, .flags = put->record.type,
					.mode = (uint16_t)report->error, .size = report->err_no };

	if (ends_it(put))
		return -1;
	memcpy(failed.path, put->record.path, sizeof failed.path);
	report->error = report->err_no = 0;
	memset(report->step, 0, sizeof report->step);
	if (packed_write(&put->out, &failed) && packed_flush(&put->out))
		return 0;
	return files_fail(put->job, "send", put->out.err_no);
}

/* --- where an entry goes ------------------------------------------------------------------------------------- */

static void forget_directory(struct put *put)
{
	if (put->directory >= 0)
		close(put->directory);
	put->directory = -1;
	put->directory_known = false;
}

static bool is_name(const char *name, size_t length)
{
	return length > 0 && length < NAME_BYTES && !(length == 1 && name[0] == '.') &&
	       !(length == 2 && name[0] == '.' && name[1] == '.');
}

/* Go down by one name, which is made where it is missing: never through a link, so never out. */
static int step_down(int parent, const char *name)
{
	int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent, name, flags);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (mkdirat(parent, name, DIRECTORY_MODE) < 0 && errno != EEXIST)
		return -1;
	return openat(parent, name, flags);
}

/* Open the directory of `length` bytes of the record's path, unless it is the last entry's too. */
static int open_directory(struct put *put, size_t length)
{
	const char *path = put->record.path;
	size_t at = 0;
	int fd;

	if (put->directory_known && strlen(put->directory_path) == length &&
	    memcmp(put->directory_path, path, length) == 0)
		return put->directory;
	forget_directory(put);
	fd = fcntl(put->base, F_DUPFD_CLOEXEC, 0);
	while (fd >= 0 && at < length) {
		size_t part = strcspn(path + at, "/");
		char name[NAME_BYTES];
		int next;

		if (!is_name(path + at, part)) {
			close(fd);
			return files_refuse(put->job, "path", ERROR_INVALID);
		}
		memcpy(name, path + at, part);
		name[part] = '\0';
		next = step_down(fd, name);
		if (next < 0) {
			files_fail(put->job, "parent", errno);
			close(fd);
			return -1;
		}
		close(fd);
		fd = next;
		at += part + 1;
	}
	if (fd < 0)
		return files_fail(put->job, "parent", errno);
	put->directory = fd;
	put->directory_known = true;
	memcpy(put->directory_path, path, length);
	put->directory_path[length] = '\0';
	return fd;
}

/* The directory that an entry goes into, and its name there. -1: reported. No part of the path is empty: of the last
 * slash that is seen here, of the ones before it by open_directory. */
static int find_place(struct put *put, const char **name)
{
	const char *path = put->record.path, *slash = strrchr(path, '/');

	*name = slash == NULL ? path : slash + 1;
	if (!is_name(*name, strlen(*name)) || slash == path || (slash != NULL && slash[-1] == '/'))
		return files_refuse(put->job, "path", ERROR_INVALID);
	return open_directory(put, slash == NULL ? 0 : (size_t)(slash - path));
}

/* --- files --------------------------------------------------------------------------------------------------- */

static int write_all(struct put *put, int fd, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return files_fail(put->job, "write", errno);
		bytes += done;
		n -= (size_t)done;
	}
	return 0;
}

/* The same for what still is in the pipe, without a copy where the kernel can. */
static int move_some(struct put *put, int fd, size_t n, size_t *moved)
{
	ssize_t done = packed_splice(&put->in, fd, n);
	const uint8_t *bytes;

	if (done > 0) {
		*moved = (size_t)done;
		return 0;
	}
	if (done < 0 && errno != EINVAL && errno != ENOSYS && errno != EPERM)
		return files_fail(put->job, "write", errno);
	bytes = packed_read_some(&put->in, n, moved);
	return bytes == NULL ? lost(put) : write_all(put, fd, bytes, *moved);
}

/* What the session may write to one file, and what its disk must keep, hold for each. */
static int check_room(struct put *put, int fd, uint64_t size)
{
	struct job *job = put->job;

	if (size > job->request->limit)
		return files_refuse(job, "limit", ERROR_TOO_LARGE);
	if (put->moved < put->next_look)
		return 0;
	put->next_look = put->moved + FLOOR_STEP;
	if (!files_at_floor(fd, job->request->floor))
		return 0;
	put->over = true;
	return files_fail(job, "floor", ENOSPC);
}

/* One piece of `n` bytes into the draft, or nowhere once that has failed. -1: the transfer is over. */
static int take_piece(struct put *put, struct draft *draft, size_t n, uint64_t *size, uint32_t *crc)
{
	bool checked = put->record.flags & PACKED_CHECKED;

	while (n > 0) {
		size_t got = 0;
		const uint8_t *bytes;
		int done = 0;

		if (!checked && draft->fd >= 0 && !packed_has(&put->in)) {
			done = check_room(put, draft->fd, *size + n);
			if (done == 0)
				done = move_some(put, draft->fd, n, &got);
		} else {
			bytes = packed_read_some(&put->in, n, &got);
			if (bytes == NULL)
				return lost(put);
			if (checked)
				*crc = crc32_more(*crc, bytes, got);
			if (draft->fd >= 0)
				done = check_room(put, draft->fd, *size + got);
			if (done == 0 && draft->fd >= 0)
				done = write_all(put, draft->fd, bytes, got);
		}
		n -= got;
		*size += got;
		put->moved += got;
		if (done < 0 && ends_it(put))
			return -1;
		if (done < 0)
			files_close_draft(put->directory, draft);
	}
	return 0;
}

/* Everything up to the file's end. -1: the transfer is over. Otherwise *whole says whether the file came to its end; why
 * the draft is closed is in the report. */
static int take_content(struct put *put, struct draft *draft, bool *whole, uint64_t *size)
{
	uint32_t length = 0, crc = 0, word;

	for (;;) {
		if (!packed_read_number(&put->in, &length, length >= LARGE_PIECE))
			return lost(put);
		if (length == 0 || length == PACKED_BROKEN)
			break;
		if (take_piece(put, draft, length, size, &crc) < 0)
			return -1;
	}
	if (!packed_read_number(&put->in, &word, false))
		return lost(put);
	*whole = length == 0;
	if (*whole && (put->record.flags & PACKED_CHECKED) && word != crc && draft->fd >= 0) {
		files_close_draft(put->directory, draft);
		files_refuse(put->job, "checksum", ERROR_IO);
	}
	return 0;
}

static int finish_file(struct put *put, const char *name, struct draft *draft)
{
	struct place place = { .parent = put->directory, .mode = put->record.mode & 07777 };
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = (time_t)(put->record.modified_ns / 1000000000u),
				       .tv_nsec = (long)(put->record.modified_ns % 1000000000u) } };

	memcpy(place.name, name, strlen(name) + 1);
	if (futimens(draft->fd, times) < 0)
		return files_fail(put->job, "time", errno);
	return files_put_in_place(put->job, &place, draft);
}

static int put_file(struct put *put)
{
	struct draft draft = { .fd = -1 };
	const char *name;
	uint64_t size = 0;
	bool whole = false;
	int done = find_place(put, &name);

	if (done >= 0)
		done = files_open_draft(put->job, put->directory, &draft);
	/* One that cannot be written is read to its end all the same: the next one lies behind it. */
	if (done >= 0 || !ends_it(put))
		done = take_content(put, &draft, &whole, &size);
	if (done == 0 && draft.fd >= 0 && whole)
		done = finish_file(put, name, &draft);
	files_close_draft(put->directory, &draft);
	if (done < 0 || put->job->report->error != 0)
		return -1;
	put->job->report->size += whole ? size : 0;
	return whole;
}

/* --- directories and links ----------------------------------------------------------------------------------- */

/* One that is there already stays as it is. Its owner can use it, whatever mode it came with: more is to go into it. */
static int put_directory(struct put *put)
{
	const char *name;
	int parent = find_place(put, &name), fd, failed = 0;
	mode_t mode = (put->record.mode & 07777) | 0700;
	bool made;

	if (parent < 0)
		return -1;
	made = mkdirat(parent, name, mode & 0777) == 0;
	if (!made && errno != EEXIST)
		return files_fail(put->job, "mkdir", errno);
	if (made && (mode & 07000) == 0)
		return 1;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	/* What is there may be closed to its reader, and is a directory all the same. */
	if (fd < 0 && !made && errno == EACCES)
		fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || (made && fchmod(fd, mode) < 0))
		failed = errno;
	if (fd >= 0)
		close(fd);
	return failed == 0 ? 1 : files_fail(put->job, "mkdir", failed);
}

/* As a file does, it takes the place of a file or link of its name, never that of a directory. */
static int put_link(struct put *put)
{
	const char *name, *text = put->record.link;
	int parent = find_place(put, &name);
	char draft[DRAFT_NAME_BYTES];

	if (parent < 0)
		return -1;
	if (symlinkat(text, parent, name) == 0)
		return 1;
	for (int tries = 0; errno == EEXIST && tries < NAME_TRIES; tries++) {
		if (files_temporary_name(draft) < 0)
			break;
		if (symlinkat(text, parent, draft) < 0)
			continue;
		if (renameat(parent, draft, parent, name) == 0)
			return 1;
		files_fail(put->job, "rename", errno);
		unlinkat(parent, draft, 0);
		return -1;
	}
	return files_fail(put->job, "symlink", errno);
}

/* --- the stream ---------------------------------------------------------------------------------------------- */

/* 1: it is there. 0: the client itself gave it up. -1: reported. */
static int put_entry(struct put *put)
{
	switch (put->record.type) {
	case FILE_TYPE_FILE:
		return put_file(put);
	case FILE_TYPE_DIRECTORY:
		return put_directory(put);
	case FILE_TYPE_SYMLINK:
		return put_link(put);
	default:
		put->over = true;
		return files_refuse(put->job, "stream", ERROR_INVALID);
	}
}

static int put_all(struct put *put)
{
	for (;;) {
		int done;

		if (!packed_read(&put->in, &put->record))
			return lost(put);
		if (put->record.type == PACKED_END)
			return 0;
		done = put_entry(put);
		if (done < 0 && tell(put) < 0)
			return -1;
		if (done > 0)
			put->job->report->entries++;
	}
}

int files_put_tree(struct job *job)
{
	static struct put put;
	int done;

	put = (struct put){ .job = job, .directory = -1, .in.fd = job->in_fd, .out.fd = job->out_fd };
	put.base = files_open_directory(job, job->path);
	if (put.base < 0)
		return -1;
	done = put_all(&put);
	forget_directory(&put);
	close(put.base);
	return done;
}
