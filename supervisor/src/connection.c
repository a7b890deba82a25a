#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "configure.h"
#include "fields.h"
#include "lease.h"
#include "process.h"
#include "report.h"
#include "session.h"

#ifndef FUMEHOOD_BUILD_ID
#define FUMEHOOD_BUILD_ID "development"
#endif

#if defined(__x86_64__)
#define ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#else
#error "the supervisor is made for x86_64 and aarch64"
#endif

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
#define ACCEPT_STEP 8

static const char socket_name[] = "fumehood";

static struct connection connections[WIRE_MAX_CONNECTIONS];
static uint32_t count;
static uint32_t numbers;
static struct source listener = {.fd = -1};
static uint64_t listen_again = NEVER;

/* Which frames may come in which state. What the table of frames forbids never gets here. */
#define FRAME_BIT(frame) (1u << (frame))
static const uint32_t allowed[CONNECTION_STATES] = {
	[CONNECTION_HELLO] = FRAME_BIT(FRAME_HELLO),
	[CONNECTION_CONFIGURE] = FRAME_BIT(FRAME_CONFIGURE) | FRAME_BIT(FRAME_PING) | FRAME_BIT(FRAME_PONG) |
				 FRAME_BIT(FRAME_DESTROY),
	[CONNECTION_OPEN] = FRAME_BIT(FRAME_PING) | FRAME_BIT(FRAME_PONG) | FRAME_BIT(FRAME_DESTROY) |
			    FRAME_BIT(FRAME_OPEN) | FRAME_BIT(FRAME_STDIN) | FRAME_BIT(FRAME_EOF) |
			    FRAME_BIT(FRAME_CREDIT) | FRAME_BIT(FRAME_CANCEL),
};

uint32_t connection_count(void)
{
	return count;
}

/* --- output ---------------------------------------------------------------------------------------------- */

void connection_drop(struct connection *connection)
{
	connection->doomed = true;
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
	if (connection->doomed || connection->queue.length >= QUEUE_DATA)
		return 0;
	return connection->window;
}

void connection_spend(struct connection *connection, size_t bytes, uint32_t data, uint32_t next)
{
	buffer_commit(&connection->queue, bytes);
	connection->window -= data;
	connection->served = next;
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
	if (connection->queue.capacity > QUEUE_IDLE) {
		buffer_free(&connection->queue);
		buffer_init(&connection->queue, QUEUE_LIMIT, QUEUE_KEEP);
	}
	if (connection->wide)
		connection->wide = fcntl(connection->out.fd, F_SETPIPE_SZ, PIPE_NARROW) < 0 ||
				   fcntl(connection->in.fd, F_SETPIPE_SZ, PIPE_NARROW) < 0;
}

static void connection_flush(struct connection *connection)
{
	size_t length;
	const uint8_t *data = buffer_peek(&connection->queue, &length);
	bool was_full = length >= QUEUE_DATA;
	ssize_t done;

	if (!data || connection->out.armed || connection->rests_until != NEVER)
		return;
	done = write(connection->out.fd, data, length);
	if (done < 0 && errno != EAGAIN && errno != EINTR) {
		connection_drop(connection);
		return;
	}
	if (done > 0)
		buffer_consume(&connection->queue, (size_t)done);
	if (connection->queue.length && connection->wide)
		connection->rests_until = clock_monotonic() + REST;
	else if (connection->queue.length)
		source_arm(&connection->out, EPOLLOUT);
	if (was_full && connection->queue.length < QUEUE_DATA)
		channels_resume(connection);
	if (connection->paused && connection->queue.length < QUEUE_INPUT) {
		connection->paused = false;
		connection->pending = true;
	}
}

static void out_ready(struct source *source)
{
	connection_flush(container_of(source, struct connection, out));
}

/* --- the handshake --------------------------------------------------------------------------------------- */

static void send_end_now(struct connection *connection, uint32_t reason)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_END, 0);
	wire_put_uint(&writer, FIELD_REASON, reason);
	wire_end(&writer);
	connection_send(connection, &writer);
	connection_flush(connection);
	connection_drop(connection);
}

/* All bytes are looked at, whatever they are: the time it takes says nothing. */
static bool same_nonce(const uint8_t *nonce)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < WIRE_NONCE_BYTES; i++)
		difference |= nonce[i] ^ session.nonce[i];
	return difference == 0;
}

static void send_welcome(struct connection *connection)
{
	struct wire_writer writer;
	uint8_t frame[512];
	uint64_t uptime = (clock_boottime() - session.started) / MILLISECOND;

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_WELCOME, 0);
	wire_put_uint(&writer, FIELD_VERSION, WIRE_VERSION_MAX);
	wire_put_text(&writer, FIELD_BUILD, FUMEHOOD_BUILD_ID, strlen(FUMEHOOD_BUILD_ID));
	wire_put_text(&writer, FIELD_ARCHITECTURE, ARCHITECTURE, strlen(ARCHITECTURE));
	wire_put_uint(&writer, FIELD_CONFIGURED, session.configured);
	wire_put_uint(&writer, FIELD_CONNECTION, connection->number);
	wire_put_uint(&writer, FIELD_UPTIME_MS, uptime);
	wire_end(&writer);
	connection_send(connection, &writer);
}

static uint32_t on_hello(struct connection *connection, const struct wire_frame *frame)
{
	struct wire_message message;
	const uint8_t *nonce;
	uint32_t length;
	uint32_t violation = fields_parse(frame, &message);

	if (violation)
		return violation;
	nonce = wire_bytes(&message, FIELD_NONCE, &length);
	if (length != WIRE_NONCE_BYTES)
		return VIOLATION_BAD_VALUE;
	if (session.nonce_set && !same_nonce(nonce))
		return VIOLATION_BAD_VALUE;
	if (wire_uint(&message, FIELD_VERSION_MIN, 0) > WIRE_VERSION_MAX ||
	    wire_uint(&message, FIELD_VERSION_MAX, 0) < WIRE_VERSION_MIN) {
		send_end_now(connection, END_PROTOCOL);
		if (!session.configured)
			session_end(END_PROTOCOL);
		return 0;
	}
	memcpy(session.nonce, nonce, WIRE_NONCE_BYTES);
	session.nonce_set = true;
	send_welcome(connection);
	connection->state = session.configured ? CONNECTION_OPEN : CONNECTION_CONFIGURE;
	/* A later connection has sent no configuration: it learns at once what is in force. */
	if (session.configured)
		report_send(connection);
	return 0;
}

static uint32_t on_configure(struct connection *connection, const struct wire_frame *frame)
{
	struct wire_message message;
	uint32_t violation = fields_parse(frame, &message);

	if (violation)
		return violation;
	connection->state = CONNECTION_PREPARING;
	configure_begin(&message);
	return 0;
}

void connections_ready(void)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->state == CONNECTION_PREPARING) {
			report_send(connection);
			connection->state = CONNECTION_OPEN;
		}
		if (connection->state != CONNECTION_FREE)
			connection->pending = true;
	}
}

/* --- input ----------------------------------------------------------------------------------------------- */

static uint32_t on_channel_frame(struct connection *connection, const struct wire_frame *frame)
{
	struct channel *channel;

	if (frame->type == FRAME_OPEN) {
		if (frame->channel <= connection->highest)
			return VIOLATION_BAD_CHANNEL;
		connection->highest = frame->channel;
		return channel_open(connection, frame->channel, frame);
	}
	if (frame->channel > connection->highest)
		return VIOLATION_BAD_CHANNEL;
	channel = channel_find(connection, frame->channel);
	if (!channel)
		return 0; /* sent before the channel's last frame had arrived */
	switch (frame->type) {
	case FRAME_STDIN:
		return channel_stdin(channel, frame->payload, frame->length);
	case FRAME_EOF:
		return channel_eof(channel);
	case FRAME_CANCEL:
		return channel_cancel(channel);
	default:
		return channel_return_credit(channel, wire_credit(frame));
	}
}

static uint32_t on_connection_credit(struct connection *connection, uint32_t bytes)
{
	bool was_out = connection->window == 0;

	if (bytes > WIRE_CONNECTION_WINDOW - connection->window)
		return VIOLATION_BAD_CREDIT;
	connection->window += bytes;
	if (was_out)
		channels_resume(connection);
	return 0;
}

static uint32_t on_frame(struct connection *connection, const struct wire_frame *frame)
{
	struct wire_writer writer;
	uint8_t pong[WIRE_HEADER_BYTES + WIRE_PING_BYTES];

	if (!(allowed[connection->state] & FRAME_BIT(frame->type)))
		return VIOLATION_BAD_STATE;
	if (frame->channel != 0)
		return on_channel_frame(connection, frame);
	switch (frame->type) {
	case FRAME_HELLO:
		return on_hello(connection, frame);
	case FRAME_CONFIGURE:
		return on_configure(connection, frame);
	case FRAME_CREDIT:
		return on_connection_credit(connection, wire_credit(frame));
	case FRAME_DESTROY:
		session_end(END_DESTROYED);
		return 0;
	case FRAME_PING:
		wire_writer_init(&writer, pong, sizeof(pong));
		wire_put_frame(&writer, FRAME_PONG, 0, frame->payload, frame->length);
		connection_send(connection, &writer);
		return 0;
	default:
		return 0; /* PONG: that it came was all */
	}
}

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

		if (connection->queue.length >= QUEUE_INPUT)
			connection->paused = true;
		if (!runnable(connection))
			return;
		next = wire_reader_next(&connection->reader, &frame);
		if (next == 0) {
			connection->pending = false;
			source_arm(&connection->in, EPOLLIN);
			return;
		}
		violation = next < 0 ? connection->reader.violation : on_frame(connection, &frame);
		if (next < 0 || violation)
			connection_drop(connection);
	}
}

static void in_ready(struct source *source)
{
	struct connection *connection = container_of(source, struct connection, in);
	size_t room;
	uint8_t *space = wire_reader_space(&connection->reader, &room);
	ssize_t got = space ? read(source->fd, space, room) : 0;

	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		source_arm(source, EPOLLIN);
		return;
	}
	if (got <= 0) {
		connection_drop(connection);
		return;
	}
	connection->heard = clock_monotonic();
	wire_reader_commit(&connection->reader, (size_t)got);
	connection->pending = true;
}

/* --- coming and going ------------------------------------------------------------------------------------ */

/* Both descriptors are taken over, or closed. */
static void connection_new(int in_fd, int out_fd)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->state != CONNECTION_FREE)
			continue;
		*connection = (struct connection){
			.state = CONNECTION_HELLO, .number = ++numbers, .in.fd = -1, .out.fd = -1,
			.window = WIRE_CONNECTION_WINDOW, .rests_until = NEVER, .heard = clock_monotonic(),
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

static void connection_close(struct connection *connection)
{
	bool first = connection->number == 1;

	channels_abandon(connection);
	source_close(&connection->in);
	source_close(&connection->out);
	if (first) {
		/* Nothing else may ever get these two numbers. */
		(void)dup2(session.null_fd, STDIN_FILENO);
		(void)dup2(session.null_fd, STDOUT_FILENO);
	}
	wire_reader_free(&connection->reader);
	buffer_free(&connection->queue);
	connection->state = CONNECTION_FREE;
	count--;
	if (first && !session.ready)
		session_end(END_NOT_CONFIGURED);
	lease_left();
}

static bool admitted(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == RESERVED_ID;
}

static void listener_ready(struct source *source)
{
	for (int i = 0; i < ACCEPT_STEP; i++) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		int twin;

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			listen_again = clock_monotonic() + SECOND / 10;
			return;
		}
		if (fd < 0)
			break;
		if (!admitted(fd) || (twin = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
			close(fd);
			continue;
		}
		connection_new(fd, twin);
	}
	source_arm(source, EPOLLIN);
}

bool connections_listen(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(socket_name));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	/* A leading NUL: an abstract name, of this network namespace, in no directory that could be changed. */
	memcpy(address.sun_path + 1, socket_name, sizeof(socket_name) - 1);
	if (bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 64) == 0 &&
	    source_open(&listener, fd, EPOLLIN, listener_ready))
		return true;
	close(fd);
	return false;
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
		if (connection->doomed) {
			connection_close(connection);
			continue;
		}
		if (channel_count() == 0 && connection->queue.length == 0)
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

	if (connection->state == CONNECTION_FREE || patience == 0)
		return false;
	*when = clock_after_ms(connection->heard, patience);
	return true;
}

uint64_t connections_deadline(void)
{
	uint64_t first = listen_again;

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		uint64_t when;

		if (overdue_at(&connections[i], &when) && when < first)
			first = when;
		if (connections[i].state != CONNECTION_FREE && connections[i].rests_until < first)
			first = connections[i].rests_until;
	}
	return first;
}

void connections_due(uint64_t now)
{
	if (listen_again <= now) {
		listen_again = NEVER;
		source_arm(&listener, EPOLLIN);
	}
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		uint64_t when;

		if (overdue_at(&connections[i], &when) && when <= now)
			connection_drop(&connections[i]);
		/* The turn that follows writes. */
		if (connections[i].rests_until <= now)
			connections[i].rests_until = NEVER;
	}
}

/* --- the end --------------------------------------------------------------------------------------------- */

/* One connection's last bytes: true while it has some, or while its relay has not passed them on. */
static bool leaving(struct connection *connection)
{
	uint8_t rest[4096];

	if (connection->state == CONNECTION_FREE || connection->doomed)
		return false;
	connection->out.armed = false;
	connection->rests_until = NEVER;
	connection_flush(connection);
	if (connection->doomed)
		return false;
	if (connection->queue.length)
		return true;
	if (connection->number == 1)
		return false; /* the engine's pipe outlives us */
	(void)shutdown(connection->out.fd, SHUT_WR);
	while (read(connection->in.fd, rest, sizeof(rest)) > 0)
		;
	return errno == EAGAIN;
}

void connections_end(const struct wire_writer *end, uint64_t patience)
{
	uint64_t deadline = clock_monotonic() + patience;

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++)
		if (connections[i].state > CONNECTION_HELLO)
			connection_send(&connections[i], end);
	for (;;) {
		struct pollfd waits[WIRE_MAX_CONNECTIONS];
		nfds_t waiting = 0;
		uint64_t now = clock_monotonic();

		for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
			struct connection *connection = &connections[i];

			errno = 0;
			if (leaving(connection))
				waits[waiting++] = connection->queue.length
					? (struct pollfd){.fd = connection->out.fd, .events = POLLOUT}
					: (struct pollfd){.fd = connection->in.fd, .events = POLLIN};
		}
		if (!waiting || now >= deadline)
			return;
		(void)poll(waits, waiting, (int)((deadline - now) / MILLISECOND) + 1);
	}
}
