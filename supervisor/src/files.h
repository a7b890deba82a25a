/* File operations, in a helper process that is the workload's user already and holds no capability.
 *
 * Every path is resolved beneath a directory descriptor and every decision is taken on an open descriptor, since the
 * workload may change any name between two of our system calls. The caller bounds the time: a file
 * system that hangs is answered by killing the helper.
 */
#ifndef FUMEHOOD_FILES_H
#define FUMEHOOD_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire_table.h"

struct wire_message;

/* One of the OPERATION_* from READ to RENAME, WATCH, SEARCH, or of those with trees, as OPEN asked for it. What an operation does not use is
 * ignored. The paths are bytes as they came, not terminated, and need no check before. */
struct file_request {
	enum operation op;
	enum root root;
	const uint8_t *path;
	size_t path_len;
	const uint8_t *target;     /* rename */
	size_t target_len;
	uint64_t offset;           /* read */
	/* read, write: bytes; put_tree: bytes of each file; list, scan_tree: entries; search: matches; watch: directories */
	uint64_t limit;
	uint64_t floor;            /* write: what a file of more than 256 KiB leaves on its disk; 0: any */
	uint32_t mode;             /* write: of a new file; make_directory */
	bool parents, recursive, follow;
	/* What else there is, of search, watch and list: programs, and numbers; NULL: nothing. */
	const struct wire_message *message;
	/* write: the file's size and time as it must still be, and whether they were given. */
	bool guarded;
	uint64_t size, modified_ns;
};

/* What the helper hands back to PID 1, which trusts none of it more than a value to pass on. */
struct helper_report {
	uint32_t error;            /* ERROR_*, 0: done */
	uint32_t err_no;           /* the kernel's, 0 where there is none */
	uint64_t size;             /* bytes sent or written; with ERROR_TOO_LARGE the file's size where it tells */
	uint64_t entries;
	uint64_t unreadable;       /* list: entries that the user may not read */
	char step[32];             /* what failed, one word, terminated */
};

/* Carry out one request. The process ends afterwards: the umask and signal dispositions are changed.
 *
 * workspace_fd, root_fd: the directories that `root` chooses from (O_PATH is enough).
 * in_fd:     `write`, `put_tree` and `get_tree` read it to its end. Otherwise -1.
 * out_fd:    `read` writes bytes to it, `list`, `stat`, `search` and `watch` write records, and those with trees write packed ones. A
 *            blocking pipe. Otherwise -1.
 * commit_fd: `write` puts the file in place only after the single byte 'C' has come from here, once in_fd has ended. The
 *            end of it without that byte aborts: ERROR_CANCELLED, and nothing is left behind. Otherwise -1.
 */
void files_run(const struct file_request *request, int workspace_fd, int root_fd, int in_fd, int out_fd,
	       int commit_fd, struct helper_report *report);

/* The ERROR_* for an errno of a file system call. */
uint32_t files_error(int err_no);

#endif
