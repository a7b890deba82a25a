/* `get_tree`: the files that a stream of requests names, beneath one directory, one after the other. What cannot be read is
 * said in its place, and the next one follows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32.h"
#include "files_job.h"
#include "packed.h"

#define PIECE (128u << 10)
#define LARGE_PIECE (1u << 20)

struct get {
	struct job *job;
	int base;
	enum walk_mode mode;
	struct packed_record record;   /* the request, and then what is said of its file */
	struct packed_reader in;
	struct packed_writer out;
};

static int unsent(struct get *get)
{
	return files_fail(get->job, "send", get->out.err_no);
}

static int refuse(struct get *get, uint32_t error, int err_no)
{
	get->record.type = PACKED_FAILED;
	get->record.mode = (uint16_t)error;
	get->record.size = (uint64_t)err_no;
	get->record.modified_ns = 0;
	return packed_write(&get->out, &get->record) ? 0 : unsent(get);
}

static int send_broken(struct get *get, uint32_t error)
{
	return packed_write_number(&get->out, PACKED_BROKEN) && packed_write_number(&get->out, error) ? 0 : unsent(get);
}

/* All but the rest of a large file, without a copy to us. 1: go on behind it; 0: it is broken; -1: reported. */
static int send_large(struct get *get, int fd, uint64_t *left)
{
	while (*left >= LARGE_PIECE) {
		int done = packed_splice_piece(&get->out, fd, LARGE_PIECE, &get->job->report->size);

		if (done < 0)
			return unsent(get);
		if (done == 0)
			return send_broken(get, errno == 0 ? ERROR_BUSY : files_error(errno));
		*left -= LARGE_PIECE;
	}
	return 1;
}

/* The content as pieces. A file of a known size gives no more than it had when it was opened: one that grows as fast as it
 * is read has no end. One that says that it is empty (/proc) is read to its end, and the client bounds it. */
static int send_content(struct get *get, int fd, uint64_t size)
{
	uint64_t left = size > 0 ? size : UINT64_MAX;
	uint32_t crc = 0;

	if (size > 0 && (get->record.flags & PACKED_CHECKED) == 0) {
		int done = send_large(get, fd, &left);

		if (done <= 0)
			return done;
	}
	while (left > 0) {
		uint8_t *room = packed_room(&get->out, PIECE);
		ssize_t got;

		if (room == NULL)
			return unsent(get);
		do
			got = read(fd, room, left < PIECE ? (size_t)left : PIECE);
		while (got < 0 && errno == EINTR);
		if (got < 0) {
			uint32_t error = errno == EAGAIN || errno == EINVAL ? ERROR_NOT_REGULAR : files_error(errno);

			return send_broken(get, error);
		}
		if (got == 0)
			break;
		if (get->record.flags & PACKED_CHECKED)
			crc = crc32_more(crc, room, (size_t)got);
		packed_piece(&get->out, (size_t)got);
		get->job->report->size += (uint64_t)got;
		left -= (uint64_t)got;
	}
	return packed_write_number(&get->out, 0) && packed_write_number(&get->out, crc) ? 0 : unsent(get);
}

static int send_file(struct get *get, int fd)
{
	struct packed_record *record = &get->record;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return refuse(get, files_error(errno), errno);
	if (S_ISDIR(status.st_mode))
		return refuse(get, ERROR_IS_DIRECTORY, 0);
	if (!S_ISREG(status.st_mode))
		return refuse(get, ERROR_NOT_REGULAR, 0);
	record->type = FILE_TYPE_FILE;
	record->mode = status.st_mode & 07777;
	record->size = (uint64_t)status.st_size;
	record->modified_ns = files_nanoseconds(&status.st_mtim);
	get->job->report->entries++;
	return packed_write(&get->out, record) ? send_content(get, fd, record->size) : unsent(get);
}

/* O_NONBLOCK is in the open, and stays: neither a FIFO nor a file in /proc that has nothing to say must hold up the rest. */
static int answer(struct get *get)
{
	int flags = O_RDONLY | (get->job->request->follow ? 0 : O_NOFOLLOW);
	int fd, done;

	get->record.link[0] = '\0';
	fd = walk_open(get->base, get->record.path, get->mode, flags);
	if (fd < 0)
		return refuse(get, files_error(errno), errno);
	done = send_file(get, fd);
	close(fd);
	return done;
}

static int answer_all(struct get *get)
{
	for (;;) {
		/* Whoever waits for the answers before it asks on must get them. */
		if (!packed_has(&get->in) && !packed_flush(&get->out))
			return unsent(get);
		if (!packed_read(&get->in, &get->record))
			return files_fail(get->job, "stream", get->in.err_no == EBADMSG ? EINVAL : ECANCELED);
		if (get->record.type == PACKED_END)
			return packed_flush(&get->out) ? 0 : unsent(get);
		/* What is no file is a mark in the stream: it comes back as it is. */
		if (get->record.type == FILE_TYPE_FILE ? answer(get) < 0 : !packed_write(&get->out, &get->record))
			return unsent(get);
	}
}

int files_get_tree(struct job *job)
{
	static struct get get;
	int done;

	get = (struct get){ .job = job, .in.fd = job->in_fd, .out.fd = job->out_fd };
	/* Beneath the directory itself: a link to elsewhere in the workspace leads out of the tree. */
	get.mode = strcmp(job->path, ".") == 0 ? job->mode : WALK_BENEATH;
	get.base = walk_open(job->directory, job->path, job->mode, O_PATH | O_DIRECTORY);
	if (get.base < 0)
		return files_fail(job, "open", errno);
	done = answer_all(&get);
	close(get.base);
	return done;
}
