#include "handshake.h"

#include <stdbool.h>
#include <string.h>

#include "clock.h"
#include "configure.h"
#include "connection.h"
#include "fields.h"
#include "lease.h"
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

void handshake_refuse(struct connection *connection, uint32_t reason, uint32_t error)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_END, 0);
	wire_put_uint(&writer, FIELD_REASON, reason);
	if (error)
		wire_put_uint(&writer, FIELD_ERROR, error);
	wire_end(&writer);
	connection_send(connection, &writer);
	connection_flush(connection);
	connection_drop(connection);
}

bool handshake_same_secret(const uint8_t *one, const uint8_t *other, size_t length)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < length; i++)
		difference |= one[i] ^ other[i];
	return difference == 0;
}

void handshake_put_welcome(struct wire_writer *writer, const struct connection *connection, bool back)
{
	uint64_t uptime = (clock_boottime() - session.started) / MILLISECOND;
	const struct resume *resume = &connection->resume;

	wire_begin(writer, FRAME_WELCOME, 0);
	wire_put_uint(writer, FIELD_VERSION, WIRE_VERSION_MAX);
	if (resume->granted)
		wire_put_text(writer, FIELD_CAPABILITY, WIRE_CAPABILITY_RESUME, strlen(WIRE_CAPABILITY_RESUME));
	if (lease_waits())
		wire_put_text(writer, FIELD_CAPABILITY, WIRE_CAPABILITY_WAIT, strlen(WIRE_CAPABILITY_WAIT));
	wire_put_text(writer, FIELD_BUILD, FUMEHOOD_BUILD_ID, strlen(FUMEHOOD_BUILD_ID));
	wire_put_text(writer, FIELD_ARCHITECTURE, ARCHITECTURE, strlen(ARCHITECTURE));
	wire_put_uint(writer, FIELD_CONFIGURED, session.configured);
	wire_put_uint(writer, FIELD_CONNECTION, connection->number);
	if (resume->granted && !back)
		wire_put_bytes(writer, FIELD_RESUME_KEY, resume->key, sizeof(resume->key));
	if (back)
		wire_put_uint(writer, FIELD_RECEIVED, resume->received);
	wire_put_uint(writer, FIELD_UPTIME_MS, uptime);
	wire_end(writer);
}

static void send_welcome(struct connection *connection)
{
	struct wire_writer writer;
	uint8_t frame[512];

	wire_writer_init(&writer, frame, sizeof(frame));
	handshake_put_welcome(&writer, connection, false);
	connection_send(connection, &writer);
}

/* Whether the client has a capability. */
static bool offers(const struct wire_message *hello, const char *capability)
{
	uint32_t cursor = 0, length;
	const uint8_t *name;

	while ((name = wire_next(hello, FIELD_CAPABILITY, &cursor, &length)))
		if (length == strlen(capability) && memcmp(name, capability, length) == 0)
			return true;
	return false;
}

uint32_t handshake_hello(struct connection *connection, const struct wire_frame *frame)
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
	if (session.nonce_set && !handshake_same_secret(nonce, session.nonce, WIRE_NONCE_BYTES))
		return VIOLATION_BAD_VALUE;
	if (wire_uint(&message, FIELD_VERSION_MIN, 0) > WIRE_VERSION_MAX ||
	    wire_uint(&message, FIELD_VERSION_MAX, 0) < WIRE_VERSION_MIN) {
		handshake_refuse(connection, END_PROTOCOL, 0);
		if (!session.configured)
			session_end(END_PROTOCOL);
		return 0;
	}
	if (resume_wanted(&message))
		return resume_hello(connection, &message);
	memcpy(session.nonce, nonce, WIRE_NONCE_BYTES);
	session.nonce_set = true;
	if (offers(&message, WIRE_CAPABILITY_RESUME))
		(void)resume_grant(connection);
	if (!session.configured && offers(&message, WIRE_CAPABILITY_WAIT))
		lease_wait();
	send_welcome(connection);
	connection->state = session.configured ? CONNECTION_OPEN : CONNECTION_CONFIGURE;
	/* A later connection has sent no configuration: it learns at once what is in force. */
	if (session.configured)
		report_send(connection);
	return 0;
}

uint32_t handshake_configure(struct connection *connection, const struct wire_frame *frame)
{
	struct wire_message message;
	uint32_t violation = fields_parse(frame, &message);

	if (violation)
		return violation;
	connection->state = CONNECTION_PREPARING;
	configure_begin(&message);
	return 0;
}

void handshake_ready(void)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		struct connection *connection = connection_at(i);

		if (connection->state == CONNECTION_PREPARING) {
			report_send(connection);
			connection->state = CONNECTION_OPEN;
		}
		if (connection->state != CONNECTION_FREE)
			connection->pending = true;
	}
}
