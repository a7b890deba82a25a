#define _GNU_SOURCE
#include "incoming.h"

#include <errno.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "sockets.h"
#include "stream.h"
#include "task.h"

/* Before the next try when there is no descriptor, or no memory, for one more connection. */
#define PAUSE (100 * MILLISECOND)

/* Who has connected and was not taken over. A free place has no ticket. */
struct waiting {
	uint64_t ticket;
	int fd;
};

/* The one task that listens, NULL for none; and who waits for its client. */
static struct task *listening;
static struct waiting waiting[WIRE_MAX_INCOMING];
static uint64_t last_ticket;

static struct waiting *place_of(uint64_t ticket)
{
	for (uint32_t i = 0; i < WIRE_MAX_INCOMING; i++)
		if (waiting[i].ticket == ticket)
			return &waiting[i];
	return NULL;
}

static void announce(struct channel *channel, uint64_t ticket)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_INCOMING, channel->id);
	wire_put_uint(&writer, FIELD_TICKET, ticket);
	wire_end(&writer);
	connection_send(channel->connection, &writer);
}

static void tell_opened(struct channel *channel)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_OPENED, channel->id);
	wire_end(&writer);
	connection_send(channel->connection, &writer);
}

/* Take one connection at a time, so that a flood of them does not keep the loop; armed again only while there is room, and what
 * has no room waits in the kernel. */
static void incoming_reported(struct task *task)
{
	struct waiting *place = place_of(0);
	int fd;

	if (!place)
		return;
	fd = socket_accept(task->report.fd);
	if (fd >= 0) {
		*place = (struct waiting){.ticket = ++last_ticket, .fd = fd};
		announce(task->channel, last_ticket);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		/* Still in the queue: armed now, it would be reported for ever. */
		task->deadline = clock_monotonic() + PAUSE;
		return;
	}
	if (place_of(0))
		source_arm(&task->report, EPOLLIN);
}

static void incoming_due(struct task *task, uint64_t now)
{
	(void)now;
	task->deadline = NEVER;
	source_arm(&task->report, EPOLLIN);
}

/* Nobody will serve those who wait: they learn it by a reset. */
static void turn_away(void)
{
	for (uint32_t i = 0; i < WIRE_MAX_INCOMING; i++) {
		if (!waiting[i].ticket)
			continue;
		socket_break(waiting[i].fd);
		close(waiting[i].fd);
		waiting[i].ticket = 0;
	}
}

static void incoming_cancel(struct task *task)
{
	listening = NULL;
	turn_away();
	channel_fail(task->channel, ERROR_CANCELLED, 0, "listen", UINT64_MAX);
	task_free(task);
}

static void incoming_reaped(struct task *task, int status)
{
	(void)task;
	(void)status;
}

static void incoming_nothing(struct task *task)
{
	(void)task;
}

/* A socket that is listened on, as the report's source. */
static const struct task_kind incoming_kind = {
	.reported = incoming_reported, .reaped = incoming_reaped, .due = incoming_due, .cancel = incoming_cancel,
	.flowed = incoming_nothing, .input_ended = incoming_nothing,
};

/* A task for the channel, or NULL: then the channel has ended. */
static struct task *join(struct channel *channel)
{
	struct task *task = task_new(&incoming_kind, channel);

	if (task)
		channel->task = task;
	else
		channel_fail(channel, ERROR_PROCESS_LIMIT, 0, "task", UINT64_MAX);
	return task;
}

void incoming_listen(struct channel *channel, const struct wire_message *message)
{
	uint64_t port = wire_uint(message, FIELD_PORT, 0);
	struct task *task;
	int fd, err_no;

	if (port < 1 || port > UINT16_MAX) {
		channel_fail(channel, ERROR_INVALID, 0, "port", UINT64_MAX);
		return;
	}
	fd = listening ? -1 : socket_listen((uint16_t)port);
	if (fd < 0) {
		err_no = listening ? EADDRINUSE : errno;
		channel_fail(channel, err_no == EADDRINUSE ? ERROR_ADDRESS_IN_USE : ERROR_IO, (uint32_t)err_no,
			     "listen", UINT64_MAX);
		return;
	}
	task = join(channel);
	if (!task) {
		close(fd);
		return;
	}
	if (!task_open_report(task, fd)) {
		err_no = errno;
		close(fd);
		channel_fail(channel, ERROR_IO, (uint32_t)err_no, "listen", UINT64_MAX);
		task_free(task);
		return;
	}
	listening = task;
	tell_opened(channel);
}

void incoming_accept(struct channel *channel, const struct wire_message *message)
{
	uint64_t ticket = wire_uint(message, FIELD_TICKET, 0);
	struct waiting *place = ticket ? place_of(ticket) : NULL;
	struct task *task;
	int fd;

	/* A number is no secret: only who was told of it may have it. */
	if (!place || listening->channel->connection != channel->connection) {
		channel_fail(channel, ERROR_NOT_FOUND, 0, "ticket", UINT64_MAX);
		return;
	}
	task = join(channel);
	if (!task)
		return;
	fd = place->fd;
	place->ticket = 0;
	/* There is room again. */
	if (listening->deadline == NEVER && !listening->report.armed)
		source_arm(&listening->report, EPOLLIN);
	stream_join(task, fd);
}
