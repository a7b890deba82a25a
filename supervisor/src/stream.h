/* A channel whose other end is a connected socket: STDIN goes in, STDOUT comes out, and each direction ends by itself. */
#ifndef FUMEHOOD_STREAM_H
#define FUMEHOOD_STREAM_H

struct task;

/* Join the task's channel to a connected, non-blocking socket, which is taken over whatever comes of it: OPENED goes out, and
 * the task is this file's from now on; or the channel ends with FAIL and the task with it. */
void stream_join(struct task *task, int fd);

#endif
