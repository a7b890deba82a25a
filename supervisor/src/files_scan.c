/* `scan_tree`: what is below a directory, each entry before what is in it. A directory that cannot be read, or is too deep to be
 * named, is said to be so, and the rest follows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files_job.h"
#include "files_walk.h"
#include "packed.h"

struct scan {
	struct job *job;
	struct walker tree;
	struct packed_record record;   /* its path is that of the current directory, with its slash, and of the entry */
	uint32_t path_length;          /* of the directory's part */
	struct packed_writer out;
};

static int send_record(struct scan *scan)
{
	return packed_write(&scan->out, &scan->record) ? 0 : files_fail(scan->job, "send", scan->out.err_no);
}

static int refuse(struct scan *scan, int err_no)
{
	scan->record.type = PACKED_FAILED;
	scan->record.mode = (uint16_t)files_error(err_no);
	scan->record.size = (uint64_t)err_no;
	scan->record.modified_ns = 0;
	scan->record.link[0] = '\0';
	return send_record(scan);
}

/* Describe one entry. 1: a directory to go into, 0: nothing to go into, -1: reported. */
static int describe(struct scan *scan, const char *name)
{
	struct packed_record *record = &scan->record;
	struct job *job = scan->job;
	struct stat status;
	ssize_t link = 0;

	if (fstatat(scan->tree.fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return walker_is_race(errno) ? 0 : refuse(scan, errno);
	if (job->report->entries >= job->request->limit)
		return files_refuse(job, "limit", ERROR_TOO_MANY_ENTRIES);
	if (S_ISLNK(status.st_mode)) {
		link = readlinkat(scan->tree.fd, name, record->link, WIRE_MAX_PATH);
		if (link < 0)
			return walker_is_race(errno) || errno == EINVAL ? 0 : refuse(scan, errno);
	}
	record->link[link] = '\0';
	record->type = (uint8_t)files_type(status.st_mode);
	record->mode = status.st_mode & 07777;
	record->size = (uint64_t)status.st_size;
	record->modified_ns = files_nanoseconds(&status.st_mtim);
	job->report->entries++;
	return send_record(scan) < 0 ? -1 : S_ISDIR(status.st_mode);
}

static int leave(struct scan *scan)
{
	if (walker_leave(&scan->tree) < 0)
		return files_fail(scan->job, "scan", errno);
	scan->path_length = scan->tree.levels[scan->tree.depth].path_length;
	return 1;
}

/* One step: 1 while there is more, 0 at the end, -1: reported. */
static int step(struct scan *scan)
{
	struct walker *tree = &scan->tree;
	char *path = scan->record.path;
	struct entry *entry;
	size_t length;
	int more = walker_next(tree, &entry), kind;

	if (more < 0)
		return files_fail(scan->job, "scan", errno);
	if (more == 0)
		return tree->depth == 0 ? 0 : leave(scan);
	length = strlen(entry->name);
	if (scan->path_length + length > WIRE_MAX_PATH - 1) {
		path[scan->path_length - 1] = '\0';
		return refuse(scan, ENAMETOOLONG) < 0 ? -1 : 1;
	}
	memcpy(path + scan->path_length, entry->name, length + 1);
	kind = describe(scan, entry->name);
	if (kind <= 0)
		return kind < 0 ? -1 : 1;
	if (walker_enter(tree, entry, tree->offset, scan->path_length) < 0)
		return walker_is_race(errno) || refuse(scan, errno) == 0 ? 1 : -1;
	length += scan->path_length;
	path[length] = '/';
	scan->path_length = (uint32_t)length + 1;
	return 1;
}

int files_scan_tree(struct job *job)
{
	static struct scan scan;
	int more = 1;
	int fd = walk_open(job->directory, job->path, job->mode, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return files_fail(job, "open", errno);
	scan = (struct scan){ .job = job, .out.fd = job->out_fd };
	walker_start(&scan.tree, fd, 0);
	while (more > 0)
		more = step(&scan);
	walker_close(&scan.tree);
	if (more < 0)
		return -1;
	return packed_flush(&scan.out) ? 0 : files_fail(job, "send", scan.out.err_no);
}
