#define _GNU_SOURCE
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "must.h"

void model_start(struct model *model)
{
	memset(model, 0, sizeof *model);
	wire_reader_init(&model->sent, SIDE_CLIENT);
	wire_reader_init(&model->received, SIDE_SUPERVISOR);
}

void model_free(struct model *model)
{
	wire_reader_free(&model->sent);
	wire_reader_free(&model->received);
}

static struct model_channel *look_into(struct model *model, uint32_t id)
{
	return id < MODEL_CHANNELS ? &model->channel[id] : NULL;
}

/* From where the log's output counts: one that is asked for from its end on may begin anywhere. */
static uint64_t first_position(const struct wire_message *message)
{
	uint64_t offset = wire_uint(message, FIELD_OFFSET, 0);

	return offset == UINT64_MAX ? 0 : offset;
}

static uint32_t note_sent(void *context, const struct wire_frame *frame)
{
	struct model *model = context;
	struct model_channel *channel = look_into(model, frame->channel);
	struct wire_message message;

	if (frame->type == FRAME_CREDIT && frame->channel == 0)
		model->output_credit += wire_credit(frame);
	if (channel == NULL)
		return 0;
	if (frame->type == FRAME_OPEN && fields_parse(frame, &message) == 0) {
		channel->opened = true;
		channel->operation = (enum operation)wire_uint(&message, FIELD_OPERATION, 0);
		channel->position = first_position(&message);
	} else if (frame->type == FRAME_CREDIT) {
		channel->output_credit += wire_credit(frame);
	} else if (frame->type == FRAME_STDIN) {
		channel->input += frame->length;
	}
	return 0;
}

void model_sent(struct model *model, const uint8_t *data, size_t n)
{
	model->bytes_sent += n;
	(void)wire_reader_feed(&model->sent, data, n, note_sent, model);
}

/* Whether the operation may have this stream. */
static bool has_stream(enum operation operation, uint8_t type)
{
	switch (operation) {
#define X(name, input, output) \
	case OPERATION_##name: \
		return output == 2 || (output == 1 && type == FRAME_STDOUT);
		WIRE_OPERATIONS(X)
#undef X
	default:
		return false;
	}
}

static bool answers_exit(enum operation operation)
{
	return operation == OPERATION_EXEC || operation == OPERATION_TERMINAL || operation == OPERATION_ATTACH ||
	       operation == OPERATION_STOP;
}

static uint64_t position_of(const struct wire_frame *frame)
{
	struct wire_message message;

	MUST(fields_parse(frame, &message) == 0);
	return wire_uint(&message, FIELD_OFFSET, 0);
}

static uint64_t ticket_of(const struct wire_frame *frame)
{
	struct wire_message message;

	MUST(fields_parse(frame, &message) == 0);
	return wire_uint(&message, FIELD_TICKET, 0);
}

static bool is_socket(enum operation operation)
{
	switch (operation) {
#define X(name) case OPERATION_##name:
		WIRE_SOCKET_OPERATIONS(X)
#undef X
		return true;
	default:
		return false;
	}
}

static void check_channel_frame(struct model *model, const struct wire_frame *frame)
{
	struct model_channel *channel = look_into(model, frame->channel);

	MUST(model->welcomed);
	if (channel == NULL)
		return;
	MUST(channel->opened && !channel->ended);
	switch (frame->type) {
	case FRAME_STDOUT:
	case FRAME_STDERR:
		MUST(has_stream(channel->operation, frame->type));
		MUST(!is_socket(channel->operation) || (channel->joined && !channel->output_ended));
		channel->output += frame->length;
		channel->position += frame->length;
		channel->placed = false;
		MUST(channel->output <= WIRE_CHANNEL_WINDOW + channel->output_credit);
		break;
	case FRAME_CREDIT:
		channel->input_credit += wire_credit(frame);
		MUST(channel->input_credit <= channel->input);
		break;
	case FRAME_OPENED:
		MUST(is_socket(channel->operation) && !channel->joined);
		channel->joined = true;
		break;
	case FRAME_STDOUT_END:
		MUST(channel->joined && !channel->output_ended && has_stream(channel->operation, FRAME_STDOUT));
		channel->output_ended = true;
		break;
	case FRAME_INCOMING:
		MUST(channel->operation == OPERATION_LISTEN && channel->joined);
		MUST(ticket_of(frame) > model->ticket);
		model->ticket = ticket_of(frame);
		break;
	case FRAME_POSITION:
		/* Forwards, and never twice without a byte in between. */
		MUST(channel->operation == OPERATION_ATTACH || channel->operation == OPERATION_LOGS);
		MUST(!channel->placed && position_of(frame) >= channel->position);
		channel->position = position_of(frame);
		channel->placed = true;
		break;
	case FRAME_PROCESS:
		MUST(channel->operation == OPERATION_PROCESSES);
		break;
	case FRAME_EXIT:
		MUST(answers_exit(channel->operation));
		channel->ended = true;
		break;
	case FRAME_DONE:
		MUST(!answers_exit(channel->operation));
		channel->ended = true;
		break;
	default:
		MUST(frame->type == FRAME_FAIL);
		channel->ended = true;
	}
}

static bool has_fields(uint8_t type)
{
	return type == FRAME_WELCOME || type == FRAME_READY || type == FRAME_END || type == FRAME_EXIT ||
	       type == FRAME_DONE || type == FRAME_FAIL || type == FRAME_POSITION || type == FRAME_PROCESS ||
	       type == FRAME_OPENED || type == FRAME_INCOMING;
}

static void take_key(struct model *model, const struct wire_message *welcome)
{
	uint32_t length;
	const uint8_t *key = wire_bytes(welcome, FIELD_RESUME_KEY, &length);

	MUST((key != NULL) == wire_has(welcome, FIELD_CAPABILITY));
	MUST(!wire_has(welcome, FIELD_RECEIVED));
	model->resumable = key != NULL;
	if (key == NULL)
		return;
	MUST(length == WIRE_RESUME_KEY_BYTES);
	memcpy(model->key, key, length);
	model->number = (uint32_t)wire_uint(welcome, FIELD_CONNECTION, 0);
}

static void check_acknowledged(struct model *model, const struct wire_frame *ack)
{
	uint64_t total = wire_load64(ack->payload);

	MUST(model->resumable && total <= model->bytes_sent);
	/* One that was sent again says less than the WELCOME did. */
	if (total > model->acknowledged)
		model->acknowledged = total;
}

static uint32_t check_received(void *context, const struct wire_frame *frame)
{
	struct model *model = context;
	struct wire_message message;

	MUST(!model->over);
	if (frame->type == FRAME_ACK)
		check_acknowledged(model, frame);
	if (has_fields(frame->type))
		MUST(fields_parse(frame, &message) == 0);
	if (frame->type == FRAME_STDOUT || frame->type == FRAME_STDERR) {
		model->output += frame->length;
		MUST(model->output <= WIRE_CONNECTION_WINDOW + model->output_credit);
	}
	if (frame->type == FRAME_END)
		model->over = true;
	else if (frame->type == FRAME_WELCOME) {
		MUST(!model->welcomed);
		take_key(model, &message);
	} else
		MUST(model->welcomed);
	model->welcomed |= frame->type == FRAME_WELCOME;
	if (frame->channel != 0)
		check_channel_frame(model, frame);
	return 0;
}

uint64_t model_resumed(struct model *model, const uint8_t *data, size_t n)
{
	struct wire_frame frame = {
		.type = data[0], .length = (uint32_t)(n - WIRE_HEADER_BYTES), .payload = data + WIRE_HEADER_BYTES,
	};
	struct wire_message message;
	uint64_t received;

	MUST(frame.type == FRAME_WELCOME || frame.type == FRAME_END);
	MUST(fields_parse(&frame, &message) == 0);
	if (frame.type == FRAME_END)
		return UINT64_MAX;
	received = wire_uint(&message, FIELD_RECEIVED, UINT64_MAX);
	MUST(model->resumable && !wire_has(&message, FIELD_RESUME_KEY));
	MUST(wire_uint(&message, FIELD_CONNECTION, 0) == model->number);
	MUST(received >= model->acknowledged && received <= model->bytes_sent);
	model->acknowledged = received;
	return received;
}

void model_received(struct model *model, const uint8_t *data, size_t n)
{
	uint32_t violation;

	model->bytes_received += n;
	violation = wire_reader_feed(&model->received, data, n, check_received, model);

	MUST(violation == 0 && !model->received.exhausted);
}
