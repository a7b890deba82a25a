#include "environment.h"

#include "channel.h"
#include "connection.h"
#include "fields.h"
#include "session.h"

/* A frame holds 64 KiB: there is no need to fill it. */
#define PIECE 32768

void environment_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	static uint8_t frame[PIECE + 256];
	struct wire_writer writer;
	uint64_t offset = wire_uint(message, FIELD_OFFSET, 0);
	size_t left;

	if (offset > session.env_bytes) {
		channel_refuse(connection, channel, ERROR_INVALID, "offset");
		return;
	}
	left = session.env_bytes - (size_t)offset;
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, channel);
	wire_put_uint(&writer, FIELD_SIZE, session.env_bytes);
	/* Without an environment there is no place to point to. */
	wire_put_bytes(&writer, FIELD_ENVIRONMENT, left ? session.environment + offset : "",
		       left < PIECE ? left : PIECE);
	wire_end(&writer);
	connection_send(connection, &writer);
}
