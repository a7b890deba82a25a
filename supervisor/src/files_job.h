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

/* Open the directory that `path` names (O_PATH), making it and those above it where they are missing. -1: reported. */
int files_open_directory(struct job *job, const char *path);

/* Where a write goes: a name in an open directory, and what is there already. */
struct place {
	int parent;
	char name[NAME_BYTES];
	bool exists;
	mode_t mode;               /* that the file gets */
};

#define DRAFT_NAME_BYTES sizeof ".fumehood-XXXXXXXX"

/* A file that is being written: it has no name yet (O_TMPFILE), so that a helper that is killed leaves nothing behind,
 * or, where the file system cannot do that, a temporary one in the same directory. */
struct draft {
	int fd;                    /* -1: none */
	bool named;
	char name[DRAFT_NAME_BYTES];
};

/* -1: reported. What is not put in its place is gone once it is closed, which may come again. */
int files_open_draft(struct job *job, int parent, struct draft *draft);
int files_put_in_place(struct job *job, const struct place *place, struct draft *draft);
void files_close_draft(int parent, struct draft *draft);
/* A name that nobody else has, most likely; -1 with errno. */
int files_temporary_name(char name[DRAFT_NAME_BYTES]);
bool files_is_temporary_name(const char *name);
/* Whether it may be what the kernel calls a file that has no name: "#" and a number. */
bool files_looks_nameless(const char *name);
/* Whether the disk of a file has less left than `floor` says that it must keep. */
bool files_at_floor(int fd, uint64_t floor);

/* The FILE_TYPE_* of a mode, and nanoseconds since 1970 as the wire has them. */
uint32_t files_type(mode_t mode);
uint64_t files_nanoseconds(const struct timespec *time);

/* The operations; -1 with a report, or 0. */
int files_read(struct job *job);
int files_write(struct job *job);
int files_list(struct job *job);
int files_put_tree(struct job *job);
int files_get_tree(struct job *job);
int files_scan_tree(struct job *job);
int files_search(struct job *job);
int files_watch(struct job *job);
int files_remove_tree(struct job *job, int parent, const char *name);

/* Put one record of `list` and `stat` at the end of what a writer holds. `link` may be NULL. */
struct wire_writer;
void files_record(struct wire_writer *writer, const struct stat *status, const char *name, size_t name_length,
		  const char *link, size_t link_length);

#endif
