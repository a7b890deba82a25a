#define _GNU_SOURCE
#include "ports.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "clock.h"
#include "sockets.h"
#include "stream.h"
#include "task.h"

/* How long a server may leave a connection unanswered: its backlog is full, and the kernel tries on for minutes. */
#define PATIENCE_MS 10000
/* Between two looks at a port that nobody serves yet. */
#define FIRST_PAUSE (5 * MILLISECOND)
#define LONGEST_PAUSE (100 * MILLISECOND)

static bool waiting(const struct task *task)
{
	return task->channel->operation == OPERATION_WAIT_PORT;
}

static void fail(struct task *task, uint32_t error, int err_no)
{
	channel_fail(task->channel, error, (uint32_t)err_no, "connect", UINT64_MAX);
	task_free(task);
}

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

/* Nobody answers at either address. */
static void settle_refused(struct task *task)
{
	struct socket_state *state = &task->socket;
	uint64_t next = clock_monotonic() + state->pause;

	if (!waiting(task)) {
		fail(task, state->err_no == ECONNREFUSED ? ERROR_CONNECTION_REFUSED : ERROR_IO, state->err_no);
		return;
	}
	state->pause = state->pause * 2 < LONGEST_PAUSE ? state->pause * 2 : LONGEST_PAUSE;
	task->deadline = next < state->until ? next : state->until;
}

static void settle_connected(struct task *task)
{
	int fd;

	if (waiting(task)) {
		finish(task);
		return;
	}
	/* One number out of the set of those that are waited for, and back for the two directions. */
	fd = fcntl(task->report.fd, F_DUPFD_CLOEXEC, 3);
	source_close(&task->report);
	if (fd < 0)
		fail(task, ERROR_IO, errno);
	else
		stream_join(task, fd);
}

static void dial_ready(struct source *source);

/* Try the address at hand, then the next one. Only the first one's error is told: ::1 is missing in most containers. */
static void dial(struct task *task)
{
	struct socket_state *state = &task->socket;

	for (; state->tries < 2; state->tries++) {
		int fd = socket_dial(state->tries == 1, state->port);

		if (fd >= 0 && source_open(&task->report, fd, EPOLLOUT, dial_ready)) {
			task->deadline = state->until;
			return;
		}
		if (state->tries == 0)
			state->err_no = errno;
		if (fd >= 0)
			close(fd);
	}
	settle_refused(task);
}

static void settle(struct task *task, int err_no)
{
	struct socket_state *state = &task->socket;

	if (err_no == 0) {
		settle_connected(task);
		return;
	}
	if (state->tries == 0)
		state->err_no = err_no;
	source_close(&task->report);
	state->tries++;
	dial(task);
}

static void dial_ready(struct source *source)
{
	int err_no = socket_dialled(source->fd);

	if (err_no == EINPROGRESS)
		source_arm(source, EPOLLOUT);
	else
		settle(container_of(source, struct task, report), err_no);
}

/* The time is over, or it is time for another look. What has been settled meanwhile counts: nobody may be told that a port has no
 * server before somebody has looked, however short the time. */
static void ports_due(struct task *task, uint64_t now)
{
	int err_no = task->report.fd >= 0 ? socket_dialled(task->report.fd) : EINPROGRESS;

	if (err_no != EINPROGRESS) {
		settle(task, err_no);
		return;
	}
	if (now >= task->socket.until) {
		fail(task, ERROR_TIMED_OUT, 0);
		return;
	}
	task->socket.tries = 0;
	dial(task);
}

static void ports_cancel(struct task *task)
{
	fail(task, ERROR_CANCELLED, 0);
}

static void ports_reaped(struct task *task, int status)
{
	(void)task;
	(void)status;
}

static void ports_nothing(struct task *task)
{
	(void)task;
}

/* A socket that is being connected, as the report's source, and a deadline. Input waits in the channel's queue. */
static const struct task_kind ports_kind = {
	.reported = ports_nothing, .reaped = ports_reaped, .due = ports_due, .cancel = ports_cancel,
	.flowed = ports_nothing, .input_ended = ports_nothing,
};

void ports_open(struct channel *channel, const struct wire_message *message)
{
	uint64_t port = wire_uint(message, FIELD_PORT, 0);
	uint64_t patience = wire_uint(message, FIELD_TIMEOUT_MS, PATIENCE_MS);
	struct task *task;

	if (port < 1 || port > UINT16_MAX) {
		channel_fail(channel, ERROR_INVALID, 0, "port", UINT64_MAX);
		return;
	}
	task = task_new(&ports_kind, channel);
	if (!task) {
		channel_fail(channel, ERROR_PROCESS_LIMIT, 0, "task", UINT64_MAX);
		return;
	}
	channel->task = task;
	task->socket = (struct socket_state){
		.port = (uint16_t)port, .pause = FIRST_PAUSE, .until = clock_after_ms(task->started, patience),
	};
	dial(task);
}
