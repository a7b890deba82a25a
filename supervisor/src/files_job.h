/* What the files_*.c share: one request at work. Nothing outside them includes this. */
#ifndef FUMEHOOD_FILES_JOB_H
#define FUMEHOOD_FILES_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "files.h"
#include "walk.h"

#define NAME_BYTES 256

struct job {
	const struct file_request *request;
	struct helper_report *report;
	int directory;             /* what the paths are relative to */
	enum walk_mode mode;
	int in_fd, out_fd, commit_fd;
	char path[WIRE_MAX_PATH + 1];
	char target[WIRE_MAX_PATH + 1];
};

/* Put the first failure into the report. Both return -1, so that a caller can return with them. */
int files_fail(struct job *job, const char *step, int err_no);
int files_refuse(struct job *job, const char *step, uint32_t error);

/* Open the directory that holds what `path` names (O_PATH), making missing ones with `parents`, and give the last
 * component. A path whose last component is "." or ".." has none: `name` is empty then and the descriptor
 * that of the directory itself. -1: reported. */
int files_open_parent(struct job *job, const char *path, bool parents, char name[NAME_BYTES]);

/* Write all of it, or report the failure and return -1. */
int files_send(struct job *job, const uint8_t *data, size_t n);

/* The operations; -1 with a report, or 0. */
int files_read(struct job *job);
int files_write(struct job *job);
int files_list(struct job *job);
int files_remove_tree(struct job *job, int parent, const char *name);

/* Put one record of `list` and `stat` at the end of what a writer holds. `link` may be NULL. */
struct wire_writer;
void files_record(struct wire_writer *writer, const struct stat *status, const char *name, size_t name_length,
		  const char *link, size_t link_length);

#endif
