#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "connection.h"
#include "sockets.h"
#include "task.h"

/* Both take the task with them: nothing of a socket is left for anybody once its channel is over. */

static void finish(struct task *task)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, task->channel->id);
	wire_end(&writer);
	channel_end(task->channel, &writer);
	task_free(task);
}

static void fail(struct task *task, uint32_t error, int err_no, const char *step)
{
	channel_fail(task->channel, error, (uint32_t)err_no, step, UINT64_MAX);
	task_free(task);
}

static void send_event(struct channel *channel, uint8_t type)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, type, channel->id);
	wire_end(&writer);
	connection_send(channel->connection, &writer);
}

/* After every change. A reset shows as an error of whichever direction meets it first, and the other then looks as if it had
 * come to its end: so input that could not be written makes the end of the output a reset as well. */
static void advance(struct task *task)
{
	struct channel *channel = task->channel;
	int err_no = task->out.err_no;

	if (task->out.source.fd >= 0)
		return;
	if (err_no || channel->input_broken) {
		fail(task, ERROR_CONNECTION_RESET, err_no ? err_no : EPIPE, "stream");
		return;
	}
	if (!task->socket.output_ended) {
		task->socket.output_ended = true;
		send_event(channel, FRAME_STDOUT_END);
	}
	if (channel->input.fd < 0)
		finish(task);
}

/* All input was written, and its descriptor is closed. */
static void stream_input_ended(struct task *task)
{
	if (task->out.source.fd >= 0)
		socket_finish(task->out.source.fd);
	advance(task);
}

/* Where the client had come to an end of its own, the kernel still delivers what it has taken; otherwise the other end learns that
 * something is missing. */
static void stream_cancel(struct task *task)
{
	if (task->channel->input.fd >= 0)
		socket_break(task->channel->input.fd);
	fail(task, ERROR_CANCELLED, 0, "stream");
}

static void stream_due(struct task *task, uint64_t now)
{
	(void)now;
	task->deadline = NEVER;
}

static void stream_reaped(struct task *task, int status)
{
	(void)task;
	(void)status;
}

static void stream_reported(struct task *task)
{
	(void)task;
}

/* No child, no report, no deadline: its socket is all that it has. */
static const struct task_kind stream_kind = {
	.reported = stream_reported, .reaped = stream_reaped, .due = stream_due, .cancel = stream_cancel,
	.flowed = advance, .input_ended = stream_input_ended,
};

/* The two directions have a descriptor each, since each is waited for and ended by itself. */
void stream_join(struct task *task, int fd)
{
	struct channel *channel = task->channel;
	int twin = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	task->kind = &stream_kind;
	task->deadline = NEVER;
	if (twin >= 0 && flow_open(&task->out, twin, task, channel, FRAME_STDOUT, UNBOUNDED)) {
		/* First of all, and before what waits in the channel's queue may end it. */
		send_event(channel, FRAME_OPENED);
		if (channel_connect_input(channel, fd))
			return;
	} else if (twin >= 0) {
		close(twin);
	}
	close(fd);
	fail(task, ERROR_IO, errno, "socket");
}
