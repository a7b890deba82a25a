#define _GNU_SOURCE
#include "resume.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "connection.h"
#include "handshake.h"
#include "lease.h"
#include "session.h"

bool resume_grant(struct connection *connection)
{
	struct resume *resume = &connection->resume;

	resume->granted = getrandom(resume->key, sizeof(resume->key), GRND_NONBLOCK) == sizeof(resume->key);
	if (resume->granted)
		connection->queue.limit += RESUME_KEEP;
	return resume->granted;
}

/* --- counting -------------------------------------------------------------------------------------------- */

void resume_tell(struct connection *connection)
{
	struct resume *resume = &connection->resume;
	struct wire_writer writer;
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_ACK_BYTES], total[WIRE_ACK_BYTES];

	if (!resume->granted || resume->received == resume->told)
		return;
	resume->told = resume->received;
	wire_store64(total, resume->received);
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_put_frame(&writer, FRAME_ACK, 0, total, sizeof(total));
	connection_send(connection, &writer);
}

void resume_received(struct connection *connection, size_t bytes)
{
	connection->resume.received += bytes;
	if (connection->resume.received - connection->resume.told >= WIRE_CREDIT_STEP)
		resume_tell(connection);
}

/* The first bytes of the queue are kept no longer. */
static void forget(struct connection *connection, size_t bytes)
{
	buffer_consume(&connection->queue, bytes);
	connection->resume.written -= bytes;
	connection->resume.gone += bytes;
}

void resume_written(struct connection *connection, size_t bytes)
{
	struct resume *resume = &connection->resume;

	resume->written += bytes;
	if (!resume->granted)
		forget(connection, resume->written);
	else if (resume->written > RESUME_KEEP)
		forget(connection, resume->written - RESUME_KEEP);
}

uint32_t resume_acknowledged(struct connection *connection, const struct wire_frame *frame)
{
	struct resume *resume = &connection->resume;
	uint64_t total = wire_load64(frame->payload);
	bool was_full = connection_full(connection);

	if (!resume->granted)
		return VIOLATION_BAD_STATE;
	if (total > resume->gone + resume->written)
		return VIOLATION_BAD_CREDIT;
	/* What has been forgotten meanwhile may be acknowledged late. */
	if (total > resume->gone)
		forget(connection, (size_t)(total - resume->gone));
	if (was_full && !connection_full(connection))
		channels_resume(connection);
	return 0;
}

/* --- leaving and coming back ----------------------------------------------------------------------------- */

bool resume_parked(const struct connection *connection)
{
	return connection->resume.until != NEVER;
}

bool resume_park(struct connection *connection)
{
	uint64_t grace = lease_grace_ms();

	if (!connection->resume.granted || connection->state != CONNECTION_OPEN || grace == 0 || session_ending())
		return false;
	connection->resume.until = clock_after_ms(clock_monotonic(), grace);
	connection_leave_stream(connection);
	return true;
}

bool resume_wanted(const struct wire_message *hello)
{
	return wire_has(hello, FIELD_CONNECTION) || wire_has(hello, FIELD_RESUME_KEY) ||
	       wire_has(hello, FIELD_RECEIVED);
}

static struct connection *find(const struct wire_message *hello, const uint8_t *key)
{
	uint64_t number = wire_uint(hello, FIELD_CONNECTION, 0);

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		struct connection *connection = connection_at(i);

		if (connection->state == CONNECTION_OPEN && connection->number == number &&
		    connection->resume.granted && !connection->doomed &&
		    handshake_same_secret(key, connection->resume.key, WIRE_RESUME_KEY_BYTES))
			return connection;
	}
	return NULL;
}

/* Go back to the byte behind those that the client has: false when that one is not kept, or was never written. */
static bool go_back(struct connection *connection, uint64_t received)
{
	struct resume *resume = &connection->resume;

	if (received < resume->gone || received > resume->gone + resume->written)
		return false;
	forget(connection, (size_t)(received - resume->gone));
	resume->written = 0;
	return true;
}

/* The WELCOME is not one of the counted bytes, so it does not go through the queue. A new stream takes it whole. */
static void welcome_back(struct connection *connection)
{
	struct wire_writer writer;
	uint8_t frame[512];

	wire_writer_init(&writer, frame, sizeof(frame));
	handshake_put_welcome(&writer, connection, true);
	if (writer.failed || write(connection->out.fd, frame, writer.length) != (ssize_t)writer.length)
		connection_lose(connection);
}

uint32_t resume_hello(struct connection *newcomer, const struct wire_message *hello)
{
	uint32_t length;
	const uint8_t *key = wire_bytes(hello, FIELD_RESUME_KEY, &length);
	struct connection *connection;

	if (!wire_has(hello, FIELD_CONNECTION) || !key || !wire_has(hello, FIELD_RECEIVED))
		return VIOLATION_FIELD_MISSING;
	if (length != WIRE_RESUME_KEY_BYTES)
		return VIOLATION_BAD_VALUE;
	/* Where to go on is in the answer: nothing can have been sent behind the question. */
	if (newcomer->stdio || newcomer->reader.start != newcomer->reader.end)
		return VIOLATION_BAD_STATE;
	connection = find(hello, key);
	if (!connection || !go_back(connection, wire_uint(hello, FIELD_RECEIVED, 0))) {
		handshake_refuse(newcomer, END_CLIENT_LOST, ERROR_NOT_FOUND);
		return 0;
	}
	connection_take_stream(connection, newcomer);
	connection->resume.told = connection->resume.received;
	welcome_back(connection);
	return 0;
}
