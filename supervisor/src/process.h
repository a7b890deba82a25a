/* Small duties of every child of PID 1. */
#ifndef FUMEHOOD_PROCESS_H
#define FUMEHOOD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Close every descriptor from `first` on. Everything is O_CLOEXEC besides: this is the second line for those that exec. */
void process_close_from(int first);
/* Close every descriptor but these, and put /dev/null on 0, 1 and 2. */
void process_keep_only(const int *keep, size_t count);

/* Let every signal but SIGCHLD be ignored (SIG_IGN) or have its default (SIG_DFL). */
void process_set_signals(void (*handler)(int));

/* Be the first to be killed when memory runs out, and the last to run: PID 1 must stay able to kill. Before the
 * change of uid, since afterwards the file belongs to root. */
void process_yield(void);

/* Be the last to be killed when memory runs out, as far as that goes without a capability: for PID 1 and what it keeps. */
void process_stand_back(void);

/* A pipe, close-on-exec; PID 1's end (0: the read end, 1: the write end, -1: neither) is non-blocking, and the other may be
 * opened again by its user through /dev/stdout and the like, whatever uid that is. */
bool process_pipe(int ends[2], int ours);

/* Bytes after which a pipe carries a stream and not a few lines; then it may hold more, where the kernel grants that. Not
 * from the start: the pages that all pipes of one user hold together are limited. */
#define PIPE_STREAM (256 * 1024)
#define PIPE_WIDE (256 * 1024)
bool process_widen_pipe(int fd);

#endif
