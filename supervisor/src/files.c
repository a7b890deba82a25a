#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files_job.h"
#include "wire.h"

#define NEW_DIRECTORY_MODE 0755

/* --- failures ------------------------------------------------------------------------------------ */

uint32_t files_error(int err_no)
{
	switch (err_no) {
	case ENOENT:
		return ERROR_NOT_FOUND;
	case EACCES:
	case EPERM:
		return ERROR_PERMISSION;
	case EISDIR:
		return ERROR_IS_DIRECTORY;
	case ENOTDIR:
		return ERROR_NOT_DIRECTORY;
	case EEXIST:
		return ERROR_EXISTS;
	case ENOTEMPTY:
		return ERROR_NOT_EMPTY;
	case EXDEV:
		return ERROR_ESCAPES;
	case ENXIO: /* a socket, or a device without a driver, that was opened */
	case ENODEV:
		return ERROR_NOT_REGULAR;
	case EFBIG:
	case EOVERFLOW:
		return ERROR_TOO_LARGE;
	case ENOSPC:
	case EDQUOT:
		return ERROR_NO_SPACE;
	case EROFS:
		return ERROR_READ_ONLY;
	case EINVAL:
		return ERROR_INVALID;
	case ENAMETOOLONG:
		return ERROR_NAME_TOO_LONG;
	case ELOOP:
	case EMLINK:
		return ERROR_TOO_MANY_LINKS;
	case ENOMEM:
		return ERROR_OUT_OF_MEMORY;
	case EAGAIN: /* a rename raced with every try */
	case EBUSY:
	case ETXTBSY:
		return ERROR_BUSY;
	case ENOSYS:
	case EOPNOTSUPP:
		return ERROR_UNSUPPORTED;
	case EPIPE: /* PID 1 listens no more */
	case ECANCELED:
		return ERROR_CANCELLED;
	default:
		return ERROR_IO;
	}
}

static int put_failure(struct job *job, const char *step, uint32_t error, int err_no)
{
	struct helper_report *report = job->report;

	if (report->error != 0)
		return -1;
	report->error = error;
	report->err_no = (uint32_t)err_no;
	snprintf(report->step, sizeof report->step, "%s", step);
	return -1;
}

int files_fail(struct job *job, const char *step, int err_no)
{
	return put_failure(job, step, files_error(err_no), err_no);
}

int files_refuse(struct job *job, const char *step, uint32_t error)
{
	return put_failure(job, step, error, 0);
}

int files_send(struct job *job, const uint8_t *data, size_t n)
{
	while (n > 0) {
		ssize_t sent = write(job->out_fd, data, n);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return files_fail(job, "send", errno);
		data += sent;
		n -= (size_t)sent;
	}
	return 0;
}

/* --- paths --------------------------------------------------------------------------------------- */

static int take_path(struct job *job, const uint8_t *bytes, size_t length, char out[WIRE_MAX_PATH + 1])
{
	if (length > WIRE_MAX_PATH)
		return files_refuse(job, "path", ERROR_NAME_TOO_LONG);
	if (length == 0 || memchr(bytes, '\0', length) != NULL)
		return files_refuse(job, "path", ERROR_INVALID);
	memcpy(out, bytes, length);
	out[length] = '\0';
	return 0;
}

/* Make the directories of `path` that are missing, one by one from the front. Each prefix is resolved from the
 * start again, so a link or a rename in between cannot lead out. */
static int make_directories(struct job *job, const char *path)
{
	char prefix[WIRE_MAX_PATH + 1];
	size_t at = strspn(path, "/");
	int parent = -1;

	memcpy(prefix, path, at);
	for (;;) {
		size_t length = strcspn(path + at, "/");
		char name[NAME_BYTES];
		int fd;

		memcpy(prefix + at, path + at, length);
		prefix[at + length] = '\0';
		fd = walk_open(job->directory, prefix, job->mode, O_PATH | O_DIRECTORY);
		if (fd < 0 && errno == ENOENT && length < sizeof name) {
			memcpy(name, path + at, length);
			name[length] = '\0';
			if (mkdirat(parent < 0 ? job->directory : parent, name, NEW_DIRECTORY_MODE) < 0 &&
			    errno != EEXIST)
				break;
			fd = walk_open(job->directory, prefix, job->mode, O_PATH | O_DIRECTORY);
		}
		if (fd < 0)
			break;
		if (parent >= 0)
			close(parent);
		parent = fd;
		at += length;
		prefix[at] = '/';
		length = strspn(path + at, "/");
		memset(prefix + at, '/', length);
		at += length;
		if (path[at] == '\0')
			return parent;
	}
	files_fail(job, "parents", errno);
	if (parent >= 0)
		close(parent);
	return -1;
}

int files_open_directory(struct job *job, const char *path)
{
	int fd = walk_open(job->directory, path, job->mode, O_PATH | O_DIRECTORY);

	if (fd >= 0)
		return fd;
	return errno == ENOENT ? make_directories(job, path) : files_fail(job, "open", errno);
}

int files_open_parent(struct job *job, const char *path, bool parents, char name[NAME_BYTES])
{
	char above[WIRE_MAX_PATH + 1];
	size_t length = strlen(path), start;
	int fd;

	while (length > 0 && path[length - 1] == '/')
		length--;
	start = length;
	while (start > 0 && path[start - 1] != '/')
		start--;
	if (length - start >= NAME_BYTES)
		return files_fail(job, "path", ENAMETOOLONG);
	memcpy(name, path + start, length - start);
	name[length - start] = '\0';
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		name[0] = '\0';
		start = length;
	}
	memcpy(above, path, start);
	above[start] = '\0';
	/* Nothing above: the directory itself, but "/" where the path was absolute, for the walk to judge. */
	if (start == 0)
		memcpy(above, path[0] == '/' ? "/" : ".", 2);
	fd = walk_open(job->directory, above, job->mode, O_PATH | O_DIRECTORY);
	if (fd < 0 && errno == ENOENT && parents)
		return make_directories(job, above);
	if (fd < 0)
		return files_fail(job, "parent", errno);
	return fd;
}

/* --- the operations that are a call or two ------------------------------------------------------- */

uint32_t files_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return FILE_TYPE_FILE;
	case S_IFDIR:
		return FILE_TYPE_DIRECTORY;
	case S_IFLNK:
		return FILE_TYPE_SYMLINK;
	case S_IFIFO:
		return FILE_TYPE_FIFO;
	case S_IFSOCK:
		return FILE_TYPE_SOCKET;
	case S_IFBLK:
		return FILE_TYPE_BLOCK;
	case S_IFCHR:
		return FILE_TYPE_CHARACTER;
	default:
		return FILE_TYPE_UNKNOWN;
	}
}

/* Times outside of what fits become the nearest that does. */
uint64_t files_nanoseconds(const struct timespec *time)
{
	if (time->tv_sec < 0)
		return 0;
	if ((uint64_t)time->tv_sec >= UINT64_MAX / 1000000000u)
		return UINT64_MAX;
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

void files_record(struct wire_writer *writer, const struct stat *status, const char *name, size_t name_length,
		  const char *link, size_t link_length)
{
	wire_begin_record(writer);
	wire_put_uint(writer, FIELD_UID, status->st_uid);
	wire_put_uint(writer, FIELD_GID, status->st_gid);
	wire_put_uint(writer, FIELD_MODE, status->st_mode & 07777);
	wire_put_uint(writer, FIELD_SIZE, (uint64_t)status->st_size);
	wire_put_uint(writer, FIELD_TYPE, files_type(status->st_mode));
	wire_put_uint(writer, FIELD_MODIFIED_NS, files_nanoseconds(&status->st_mtim));
	wire_put_bytes(writer, FIELD_NAME, name, name_length);
	if (link != NULL)
		wire_put_bytes(writer, FIELD_LINK, link, link_length);
	wire_end_record(writer);
}

/* One record; its name is the last component of the path as it was asked for. */
static int stat_path(struct job *job)
{
	uint8_t record[4 + WIRE_MAX_RECORD];
	char link[WIRE_MAX_PATH];
	struct wire_writer writer;
	struct stat status;
	ssize_t link_length = -1;
	const char *name = strrchr(job->path, '/');
	int fd = walk_open(job->directory, job->path, job->mode,
			   O_PATH | (job->request->follow ? 0 : O_NOFOLLOW));

	if (fd < 0)
		return files_fail(job, "open", errno);
	if (fstat(fd, &status) < 0) {
		files_fail(job, "stat", errno);
		close(fd);
		return -1;
	}
	if (S_ISLNK(status.st_mode))
		link_length = readlinkat(fd, "", link, sizeof link);
	close(fd);
	name = name == NULL || name[1] == '\0' ? job->path : name + 1;
	wire_writer_init(&writer, record, sizeof record);
	files_record(&writer, &status, name, strlen(name), link_length < 0 ? NULL : link,
		     link_length < 0 ? 0 : (size_t)link_length);
	if (writer.failed)
		return files_refuse(job, "record", ERROR_NAME_TOO_LONG);
	job->report->entries = 1;
	return files_send(job, record, writer.length);
}

static int make_directory(struct job *job)
{
	char name[NAME_BYTES];
	int parent = files_open_parent(job, job->path, job->request->parents, name);
	int failed = 0;

	if (parent < 0)
		return -1;
	if (name[0] == '\0')
		failed = EEXIST;
	else if (mkdirat(parent, name, job->request->mode & 01777) < 0)
		failed = errno;
	close(parent);
	if (failed == EEXIST && job->request->parents) {
		/* What is there must be a directory, or a link to one beneath. */
		int fd = walk_open(job->directory, job->path, job->mode, O_PATH | O_DIRECTORY);

		if (fd >= 0) {
			close(fd);
			return 0;
		}
	}
	return failed == 0 ? 0 : files_fail(job, "mkdir", failed);
}

static int remove_path(struct job *job)
{
	char name[NAME_BYTES];
	struct stat status;
	int parent = files_open_parent(job, job->path, false, name);
	int done = 0;

	if (parent < 0)
		return -1;
	if (name[0] == '\0')
		done = files_refuse(job, "path", ERROR_INVALID);
	else if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		done = files_fail(job, "stat", errno);
	else if (S_ISDIR(status.st_mode) && job->request->recursive)
		done = files_remove_tree(job, parent, name);
	else if (unlinkat(parent, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0) < 0)
		done = files_fail(job, "remove", errno);
	close(parent);
	return done;
}

static int rename_path(struct job *job)
{
	char from_name[NAME_BYTES], to_name[NAME_BYTES];
	int from, to, done = 0;

	if (take_path(job, job->request->target, job->request->target_len, job->target) < 0)
		return -1;
	from = files_open_parent(job, job->path, false, from_name);
	if (from < 0)
		return -1;
	to = files_open_parent(job, job->target, job->request->parents, to_name);
	if (to < 0)
		done = -1;
	else if (from_name[0] == '\0' || to_name[0] == '\0')
		done = files_refuse(job, "path", ERROR_INVALID);
	else if (renameat(from, from_name, to, to_name) < 0)
		/* Here EXDEV says that a mount lies between the two, not that a path leads out. */
		done = errno == EXDEV ? put_failure(job, "rename", ERROR_UNSUPPORTED, EXDEV)
				      : files_fail(job, "rename", errno);
	close(from);
	if (to >= 0)
		close(to);
	return done;
}

/* --- the request --------------------------------------------------------------------------------- */

static int run(struct job *job)
{
	if (take_path(job, job->request->path, job->request->path_len, job->path) < 0)
		return -1;
	switch (job->request->op) {
	case OPERATION_READ:
		return files_read(job);
	case OPERATION_WRITE:
		return files_write(job);
	case OPERATION_LIST:
		return files_list(job);
	case OPERATION_STAT:
		return stat_path(job);
	case OPERATION_MAKE_DIRECTORY:
		return make_directory(job);
	case OPERATION_REMOVE:
		return remove_path(job);
	case OPERATION_RENAME:
		return rename_path(job);
	case OPERATION_PUT_TREE:
		return files_put_tree(job);
	case OPERATION_GET_TREE:
		return files_get_tree(job);
	case OPERATION_SCAN_TREE:
		return files_scan_tree(job);
	case OPERATION_SEARCH:
		return files_search(job);
	case OPERATION_WATCH:
		return files_watch(job);
	default:
		return files_refuse(job, "operation", ERROR_UNSUPPORTED);
	}
}

void files_run(const struct file_request *request, int workspace_fd, int root_fd, int in_fd, int out_fd,
	       int commit_fd, struct helper_report *report)
{
	/* Not on the stack: the paths are large, and a helper runs one request. */
	static struct job job;
	bool whole = request->root == ROOT_FILESYSTEM;

	*report = (struct helper_report){ 0 };
	job = (struct job){
		.request = request,
		.report = report,
		.directory = whole ? root_fd : workspace_fd,
		.mode = whole ? WALK_IN_ROOT : WALK_BENEATH,
		.in_fd = in_fd,
		.out_fd = out_fd,
		.commit_fd = commit_fd,
	};
	/* A closed pipe and the limit on file size are errors to report, and modes are those asked for. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	umask(0);
	run(&job);
}
