#define _GNU_SOURCE
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: the supervisor broke: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

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
	} else if (frame->type == FRAME_CREDIT) {
		channel->output_credit += wire_credit(frame);
	} else if (frame->type == FRAME_STDIN) {
		channel->input += frame->length;
	}
	return 0;
}

void model_sent(struct model *model, const uint8_t *data, size_t n)
{
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

static bool is_command(enum operation operation)
{
	return operation == OPERATION_EXEC || operation == OPERATION_TERMINAL;
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
		channel->output += frame->length;
		MUST(channel->output <= WIRE_CHANNEL_WINDOW + channel->output_credit);
		break;
	case FRAME_CREDIT:
		channel->input_credit += wire_credit(frame);
		MUST(channel->input_credit <= channel->input);
		break;
	case FRAME_EXIT:
		MUST(is_command(channel->operation));
		channel->ended = true;
		break;
	case FRAME_DONE:
		MUST(!is_command(channel->operation));
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
	       type == FRAME_DONE || type == FRAME_FAIL;
}

static uint32_t check_received(void *context, const struct wire_frame *frame)
{
	struct model *model = context;
	struct wire_message message;

	MUST(!model->over);
	if (has_fields(frame->type))
		MUST(fields_parse(frame, &message) == 0);
	if (frame->type == FRAME_STDOUT || frame->type == FRAME_STDERR) {
		model->output += frame->length;
		MUST(model->output <= WIRE_CONNECTION_WINDOW + model->output_credit);
	}
	if (frame->type == FRAME_END)
		model->over = true;
	else if (frame->type == FRAME_WELCOME)
		MUST(!model->welcomed);
	else
		MUST(model->welcomed);
	model->welcomed |= frame->type == FRAME_WELCOME;
	if (frame->channel != 0)
		check_channel_frame(model, frame);
	return 0;
}

void model_received(struct model *model, const uint8_t *data, size_t n)
{
	uint32_t violation = wire_reader_feed(&model->received, data, n, check_received, model);

	MUST(violation == 0 && !model->received.exhausted);
}
