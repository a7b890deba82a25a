#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "dispatch.h"
#include "lease.h"
#include "pause.h"
#include "process.h"
#include "session.h"

/* Of a connection's queue: data stops at the first level, reading from the client at the second (a client that
 * asks and never reads answers), and the last one holds every answer that 256 channels can still give. */
#define QUEUE_DATA (128u * 1024)
#define QUEUE_INPUT (256u * 1024)
#define QUEUE_LIMIT (1024u * 1024)
/* Kept between two turns of a busy connection. */
#define QUEUE_KEEP QUEUE_INPUT
/* Kept while nothing goes on. */
#define QUEUE_IDLE (16u * 1024)
/* What the pipes to and from the engine hold as a rule. The engine moves a few KiB at a time: while they carry a stream they
 * are wide, or each of these would wake us. */
#define PIPE_NARROW (64 * 1024)
/* How long a wide pipe that is full is left alone: much less than the engine needs for all of it. It counts as writable
 * again with each page that the engine takes. */
#define REST (MILLISECOND / 4)
/* Frames of one connection handled in one turn: an OPEN costs a fork. */
#define FRAME_STEP 32

static struct connection connections[WIRE_MAX_CONNECTIONS];
static uint32_t count;
static uint32_t numbers;

uint32_t connection_count(void)
{
	return count;
}

struct connection *connection_at(uint32_t index)
{
	return &connections[index];
}

/* --- output ---------------------------------------------------------------------------------------------- */

void connection_drop(struct connection *connection)
{
	connection->doomed = true;
}

void connection_lose(struct connection *connection)
{
	connection->lost = true;
}

size_t connection_unwritten(const struct connection *connection)
{
	return connection->queue.length - connection->resume.written;
}

bool connection_full(const struct connection *connection)
{
	return connection_unwritten(connection) >= QUEUE_DATA ||
	       (connection->resume.granted && connection->queue.length >= RESUME_DATA);
}

void connection_send(struct connection *connection, const struct wire_writer *frames)
{
	if (connection->doomed)
		return;
	if (frames->failed || !buffer_append(&connection->queue, frames->data, frames->length))
		connection_drop(connection);
}

uint8_t *connection_reserve(struct connection *connection, size_t bytes)
{
	uint8_t *room = connection->doomed ? NULL : buffer_reserve(&connection->queue, bytes);

	if (!room)
		connection_drop(connection);
	return room;
}

uint32_t connection_credit(const struct connection *connection)
{
	if (connection->doomed || connection_full(connection))
		return 0;
	return connection->window;
}

void connection_spend(struct connection *connection, size_t bytes, uint32_t data, uint32_t next)
{
	buffer_commit(&connection->queue, bytes);
	connection->window -= data;
	connection->served = next;
}

uint32_t connection_return_credit(struct connection *connection, uint32_t bytes)
{
	bool was_out = connection->window == 0;

	if (bytes > WIRE_CONNECTION_WINDOW - connection->window)
		return VIOLATION_BAD_CREDIT;
	connection->window += bytes;
	if (was_out)
		channels_resume(connection);
	return 0;
}

/* A socket has no such size, and a kernel may refuse: then the pipes stay as they are. */
void connection_widen(struct connection *connection)
{
	if (connection->wide)
		return;
	connection->wide = process_widen_pipe(connection->out.fd);
	(void)process_widen_pipe(connection->in.fd);
}

/* Nothing goes on: memory goes back. A pipe that has not been emptied yet cannot be narrowed; there is a next turn. */
static void connection_rest(struct connection *connection)
{
	buffer_trim(&connection->queue, QUEUE_IDLE);
	if (connection->wide)
		connection->wide = fcntl(connection->out.fd, F_SETPIPE_SZ, PIPE_NARROW) < 0 ||
				   fcntl(connection->in.fd, F_SETPIPE_SZ, PIPE_NARROW) < 0;
}

void connection_flush(struct connection *connection)
{
	size_t length;
	const uint8_t *data = buffer_peek(&connection->queue, &length);
	size_t kept = connection->resume.written;
	bool was_full = connection_full(connection);
	ssize_t done;

	if (length == kept || connection->out.fd < 0 || connection->out.armed || connection->rests_until != NEVER)
		return;
	done = write(connection->out.fd, data + kept, length - kept);
	if (done < 0 && errno != EAGAIN && errno != EINTR) {
		connection_lose(connection);
		return;
	}
	if (done > 0)
		resume_written(connection, (size_t)done);
	if (connection_unwritten(connection) && connection->wide)
		connection->rests_until = clock_monotonic() + REST;
	else if (connection_unwritten(connection))
		source_arm(&connection->out, EPOLLOUT);
	if (was_full && !connection_full(connection))
		channels_resume(connection);
	if (connection->paused && connection_unwritten(connection) < QUEUE_INPUT) {
		connection->paused = false;
		connection->pending = true;
	}
}

static void out_ready(struct source *source)
{
	connection_flush(container_of(source, struct connection, out));
}

/* --- input ----------------------------------------------------------------------------------------------- */

/* Whether frames of this connection may be handled now. */
static bool runnable(const struct connection *connection)
{
	if (connection->doomed || connection->paused || session_ending())
		return false;
	if (connection->state == CONNECTION_FREE || connection->state == CONNECTION_PREPARING)
		return false;
	/* A relay waits until the first connection has configured the session. */
	return connection->number == 1 || session.ready;
}

static void handle_frames(struct connection *connection)
{
	for (int i = 0; i < FRAME_STEP; i++) {
		struct wire_frame frame;
		uint32_t violation;
		int next;

		if (connection_unwritten(connection) >= QUEUE_INPUT)
			connection->paused = true;
		if (!runnable(connection))
			return;
		next = wire_reader_next(&connection->reader, &frame);
		if (next == 0) {
			connection->pending = false;
			if (connection->in.fd >= 0)
				source_arm(&connection->in, EPOLLIN);
			return;
		}
		violation = next < 0 ? connection->reader.violation : dispatch_frame(connection, &frame);
		if (next < 0 || violation)
			connection_drop(connection);
	}
}

static void in_ready(struct source *source)
{
	struct connection *connection = container_of(source, struct connection, in);
	size_t room;
	uint8_t *space = wire_reader_space(&connection->reader, &room);
	ssize_t got;

	if (!space) {
		connection_drop(connection);
		return;
	}
	got = read(source->fd, space, room);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		source_arm(source, EPOLLIN);
		return;
	}
	if (got <= 0) {
		connection_lose(connection);
		return;
	}
	connection->heard = clock_monotonic();
	wire_reader_commit(&connection->reader, (size_t)got);
	resume_received(connection, (size_t)got);
	connection->pending = true;
}

/* --- coming and going ------------------------------------------------------------------------------------ */

void connection_new(int in_fd, int out_fd)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->state != CONNECTION_FREE)
			continue;
		*connection = (struct connection){
			.state = CONNECTION_HELLO, .number = ++numbers, .in.fd = -1, .out.fd = -1,
			.window = WIRE_CONNECTION_WINDOW, .rests_until = NEVER, .heard = clock_monotonic(),
			.stdio = in_fd == STDIN_FILENO, .resume.until = NEVER,
		};
		wire_reader_init(&connection->reader, SIDE_CLIENT);
		buffer_init(&connection->queue, QUEUE_LIMIT, QUEUE_KEEP);
		count++;
		if (!source_open(&connection->out, out_fd, 0, out_ready))
			close(out_fd);
		if (!source_open(&connection->in, in_fd, EPOLLIN, in_ready))
			close(in_fd);
		if (connection->in.fd < 0 || connection->out.fd < 0)
			connection_drop(connection);
		lease_joined();
		return;
	}
	close(in_fd);
	close(out_fd);
}

void connection_first(void)
{
	connection_new(STDIN_FILENO, STDOUT_FILENO);
}

static void close_stream(struct connection *connection)
{
	source_close(&connection->in);
	source_close(&connection->out);
	if (connection->stdio) {
		/* Nothing else may ever get these two numbers. */
		(void)dup2(session.null_fd, STDIN_FILENO);
		(void)dup2(session.null_fd, STDOUT_FILENO);
	}
	connection->stdio = connection->wide = false;
	connection->rests_until = NEVER;
}

void connection_leave_stream(struct connection *connection)
{
	close_stream(connection);
	count--;
	lease_left();
}

static void connection_free(struct connection *connection)
{
	wire_reader_free(&connection->reader);
	buffer_free(&connection->queue);
	connection->state = CONNECTION_FREE;
}

void connection_take_stream(struct connection *connection, struct connection *other)
{
	/* Whether it had noticed the loss or not: of the two, one goes on. */
	close_stream(connection);
	if (!resume_parked(connection))
		count--;
	source_take_over(&connection->in, &other->in, in_ready);
	source_take_over(&connection->out, &other->out, out_ready);
	connection->lost = false;
	connection->heard = other->heard;
	connection->resume.until = NEVER;
	connection->pending = true;
	other->pending = false;
	connection_free(other);
}

static void connection_close(struct connection *connection)
{
	bool parked = resume_parked(connection);

	channels_abandon(connection);
	pause_left(connection);
	close_stream(connection);
	connection_free(connection);
	if (connection->number == 1 && !session.ready)
		session_end(END_NOT_CONFIGURED);
	/* Of a parked one that has been said when it was. */
	if (!parked) {
		count--;
		lease_left();
	}
}

bool connections_turn(void)
{
	bool more = false;

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++)
		if (connections[i].pending && runnable(&connections[i]))
			handle_frames(&connections[i]);
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->state == CONNECTION_FREE)
			continue;
		connection_flush(connection);
		if (connection->lost && !connection->doomed && !resume_park(connection))
			connection_drop(connection);
		connection->lost = false;
		if (connection->doomed) {
			connection_close(connection);
			continue;
		}
		if (channel_count() == 0 && connection_unwritten(connection) == 0)
			connection_rest(connection);
		more |= connection->pending && runnable(connection);
	}
	return more;
}

void connections_excuse(uint64_t now)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++)
		connections[i].heard = now;
}

/* Also for a connection that is paused because its client does not read: to be heard, it has to read. */
static bool overdue_at(const struct connection *connection, uint64_t *when)
{
	uint64_t patience = lease_heartbeat_ms();

	if (connection->state == CONNECTION_FREE || resume_parked(connection) || patience == 0)
		return false;
	*when = clock_after_ms(connection->heard, patience);
	return true;
}

uint64_t connections_deadline(void)
{
	uint64_t first = NEVER;

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		uint64_t when;

		if (overdue_at(&connections[i], &when) && when < first)
			first = when;
		if (connections[i].state != CONNECTION_FREE && connections[i].rests_until < first)
			first = connections[i].rests_until;
		if (connections[i].state != CONNECTION_FREE && connections[i].resume.until < first)
			first = connections[i].resume.until;
	}
	return first;
}

void connections_due(uint64_t now)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		uint64_t when;

		if (connections[i].state == CONNECTION_FREE)
			continue;
		if (overdue_at(&connections[i], &when) && when <= now)
			connection_lose(&connections[i]);
		/* Its client has not come back. */
		if (connections[i].resume.until <= now)
			connection_drop(&connections[i]);
		/* The turn that follows writes. */
		if (connections[i].rests_until <= now)
			connections[i].rests_until = NEVER;
	}
}
