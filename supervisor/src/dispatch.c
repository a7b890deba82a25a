#include "dispatch.h"

#include "channel.h"
#include "connection.h"
#include "handshake.h"
#include "session.h"

/* Which frames may come in which state. What the table of frames forbids never gets here. */
#define FRAME_BIT(frame) (1u << (frame))
static const uint32_t allowed[CONNECTION_STATES] = {
	[CONNECTION_HELLO] = FRAME_BIT(FRAME_HELLO),
	[CONNECTION_CONFIGURE] = FRAME_BIT(FRAME_CONFIGURE) | FRAME_BIT(FRAME_PING) | FRAME_BIT(FRAME_PONG) |
				 FRAME_BIT(FRAME_DESTROY) | FRAME_BIT(FRAME_ACK),
	[CONNECTION_OPEN] = FRAME_BIT(FRAME_PING) | FRAME_BIT(FRAME_PONG) | FRAME_BIT(FRAME_DESTROY) |
			    FRAME_BIT(FRAME_OPEN) | FRAME_BIT(FRAME_STDIN) | FRAME_BIT(FRAME_EOF) |
			    FRAME_BIT(FRAME_CREDIT) | FRAME_BIT(FRAME_CANCEL) | FRAME_BIT(FRAME_RESIZE) |
			    FRAME_BIT(FRAME_ACK) | FRAME_BIT(FRAME_LEAVE),
};

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
	case FRAME_RESIZE:
		return channel_resize(channel, frame);
	default:
		return channel_return_credit(channel, wire_credit(frame));
	}
}

uint32_t dispatch_frame(struct connection *connection, const struct wire_frame *frame)
{
	struct wire_writer writer;
	uint8_t pong[WIRE_HEADER_BYTES + WIRE_PING_BYTES];

	if (!(allowed[connection->state] & FRAME_BIT(frame->type)))
		return VIOLATION_BAD_STATE;
	if (frame->channel != 0)
		return on_channel_frame(connection, frame);
	switch (frame->type) {
	case FRAME_HELLO:
		return handshake_hello(connection, frame);
	case FRAME_CONFIGURE:
		return handshake_configure(connection, frame);
	case FRAME_CREDIT:
		return connection_return_credit(connection, wire_credit(frame));
	case FRAME_DESTROY:
		session_end(END_DESTROYED);
		return 0;
	case FRAME_PING:
		wire_writer_init(&writer, pong, sizeof(pong));
		wire_put_frame(&writer, FRAME_PONG, 0, frame->payload, frame->length);
		connection_send(connection, &writer);
		resume_tell(connection);
		return 0;
	case FRAME_ACK:
		return resume_acknowledged(connection, frame);
	case FRAME_LEAVE:
		if (!connection->resume.granted)
			return VIOLATION_BAD_STATE;
		connection_drop(connection);
		return 0;
	default:
		return 0; /* PONG: that it came was all */
	}
}
