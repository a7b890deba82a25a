#include "handshake.h"

#include <stdbool.h>
#include <string.h>

#include "clock.h"
#include "configure.h"
#include "connection.h"
#include "fields.h"
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
