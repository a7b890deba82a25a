#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "environment.h"
#include "exec_start.h"
#include "incoming.h"
#include "lease.h"
#include "managed.h"
#include "pause.h"
#include "ports.h"
#include "process.h"
#include "task.h"
#include "terminal.h"
#include "transfer.h"

static struct channel channels[WIRE_MAX_CHANNELS];
static uint32_t live;

static bool has_input(enum operation operation)
{
	switch (operation) {
#define X(name, input, output) case OPERATION_##name: return input;
	WIRE_OPERATIONS(X)
#undef X
	}
	return false;
}

/* Whether it keeps the session from being idle. A port that is listened on waits for somebody who may never come, and a watch for
 * what may never happen. */
static bool counts(const struct channel *channel)
{
	return channel->operation != OPERATION_LISTEN && channel->operation != OPERATION_WATCH;
}

static struct channel *channel_new(struct connection *connection, uint32_t id, enum operation operation)
{
	for (uint32_t i = 0; i < WIRE_MAX_CHANNELS; i++) {
		struct channel *channel = &channels[i];

		if (channel->connection)
			continue;
		*channel = (struct channel){
			.connection = connection, .id = id, .operation = operation,
			.output_window = WIRE_CHANNEL_WINDOW, .input_window = WIRE_CHANNEL_WINDOW,
			.input_open = has_input(operation), .input.fd = -1,
		};
		/* Kept to the channel's end: a stream would fill and empty it again and again. */
		buffer_init(&channel->queue, WIRE_CHANNEL_WINDOW, WIRE_CHANNEL_WINDOW);
		if (counts(channel)) {
			live++;
			lease_busy();
		}
		return channel;
	}
	return NULL;
}

static void channel_free(struct channel *channel)
{
	source_close(&channel->input);
	buffer_free(&channel->queue);
	if (channel->task) {
		channel->task->channel = NULL;
		flow_discard(&channel->task->out);
		flow_discard(&channel->task->err);
	}
	channel->connection = NULL;
	if (!counts(channel))
		return;
	live--;
	if (live == 0)
		lease_quiet();
}

uint32_t channel_count(void)
{
	return live;
}

struct channel *channel_find(const struct connection *connection, uint32_t id)
{
	for (uint32_t i = 0; i < WIRE_MAX_CHANNELS; i++)
		if (channels[i].connection == connection && channels[i].id == id)
			return &channels[i];
	return NULL;
}

static bool starts_command(enum operation operation)
{
	return operation == OPERATION_EXEC || operation == OPERATION_TERMINAL || operation == OPERATION_START;
}

uint32_t channel_open(struct connection *connection, uint32_t id, const struct wire_frame *frame)
{
	struct wire_message message;
	struct channel *channel;
	enum operation operation;
	uint32_t violation = fields_parse(frame, &message);

	if (violation)
		return violation;
	operation = (enum operation)wire_uint(&message, FIELD_OPERATION, 0);
	if (operation == OPERATION_LEASE || operation == OPERATION_STATUS) {
		lease_answer(connection, id, &message);
		return 0;
	}
	if (operation == OPERATION_PAUSE || operation == OPERATION_UNPAUSE) {
		pause_answer(connection, id, &message);
		return 0;
	}
	if (operation == OPERATION_ENVIRONMENT) {
		environment_answer(connection, id, &message);
		return 0;
	}
	if (pause_active() && starts_command(operation)) {
		channel_refuse(connection, id, ERROR_PAUSED, "open");
		return 0;
	}
	channel = channel_new(connection, id, operation);
	if (!channel) {
		channel_refuse(connection, id, ERROR_TOO_MANY_CHANNELS, "open");
		return 0;
	}
	if (starts_command(operation))
		exec_open(channel, &message);
	else if (operation >= OPERATION_ATTACH && operation <= OPERATION_STOP)
		managed_request(channel, &message);
	else if (operation == OPERATION_CONNECT || operation == OPERATION_WAIT_PORT)
		ports_open(channel, &message);
	else if (operation == OPERATION_LISTEN)
		incoming_listen(channel, &message);
	else if (operation == OPERATION_ACCEPT)
		incoming_accept(channel, &message);
	else
		transfer_open(channel, &message);
	return 0;
}

/* --- input ----------------------------------------------------------------------------------------------- */

static void input_consumed(struct channel *channel, size_t bytes)
{
	struct wire_writer writer;
	uint8_t frame[WIRE_HEADER_BYTES + 4];

	channel->input_owed += (uint32_t)bytes;
	channel->input_moved += bytes;
	if (channel->input_owed < WIRE_CREDIT_STEP)
		return;
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_put_credit(&writer, channel->id, channel->input_owed);
	channel->input_window += channel->input_owed;
	channel->input_owed = 0;
	connection_send(channel->connection, &writer);
}

/* What nobody will read is consumed: the client must be able to go on to its EOF. */
void channel_disconnect_input(struct channel *channel)
{
	size_t queued = channel->queue.length;

	channel->input_broken = true;
	source_close(&channel->input);
	buffer_free(&channel->queue);
	input_consumed(channel, queued);
}

/* Last of all after every write, since the channel may be gone afterwards: the end of input is passed on once nothing is queued,
 * and so is that nobody takes it. */
static void input_check_end(struct channel *channel)
{
	if (channel->input_broken && channel->task) {
		channel->task->kind->flowed(channel->task);
		return;
	}
	if (!channel->input_ended || channel->queue.length || channel->input.fd < 0)
		return;
	source_close(&channel->input);
	if (channel->task)
		channel->task->kind->input_ended(channel->task);
}

/* Write what the pipe takes. Returns how much, after an error everything. */
static size_t input_write(struct channel *channel, const uint8_t *data, size_t length)
{
	ssize_t done;

	if (channel->input_moved >= PIPE_STREAM && !channel->input_grown) {
		channel->input_grown = true;
		(void)process_widen_pipe(channel->input.fd);
		connection_widen(channel->connection);
	}
	done = write(channel->input.fd, data, length);
	if (done >= 0)
		return (size_t)done;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	channel_disconnect_input(channel);
	return length;
}

static void input_ready(struct source *source)
{
	struct channel *channel = container_of(source, struct channel, input);
	size_t length;
	const uint8_t *data = buffer_peek(&channel->queue, &length);

	if (data) {
		size_t done = input_write(channel, data, length);

		if (!channel->input_broken) {
			buffer_consume(&channel->queue, done);
			input_consumed(channel, done);
		}
	}
	if (channel->queue.length)
		source_arm(source, EPOLLOUT);
	input_check_end(channel);
}

bool channel_connect_input(struct channel *channel, int fd)
{
	if (!source_open(&channel->input, fd, 0, input_ready))
		return false;
	input_ready(&channel->input);
	return true;
}

uint32_t channel_stdin(struct channel *channel, const uint8_t *data, uint32_t length)
{
	size_t done = 0;

	if (!channel->input_open)
		return VIOLATION_BAD_STATE;
	if (length > channel->input_window)
		return VIOLATION_BAD_CREDIT;
	channel->input_window -= length;
	if (channel->input_broken) {
		input_consumed(channel, length);
		return 0;
	}
	if (channel->input.fd >= 0 && channel->queue.length == 0) {
		done = input_write(channel, data, length);
		input_consumed(channel, done);
	}
	if (done < length) {
		if (!buffer_append(&channel->queue, data + done, length - done)) {
			connection_drop(channel->connection);
			return 0;
		}
		if (channel->input.fd >= 0)
			source_arm(&channel->input, EPOLLOUT);
	}
	if (channel->input_broken)
		input_check_end(channel);
	return 0;
}

uint32_t channel_eof(struct channel *channel)
{
	if (!channel->input_open)
		return VIOLATION_BAD_STATE;
	channel->input_open = false;
	channel->input_ended = true;
	input_check_end(channel);
	return 0;
}

uint32_t channel_cancel(struct channel *channel)
{
	if (channel->cancelled)
		return VIOLATION_BAD_STATE;
	channel->cancelled = true;
	if (channel->task)
		channel->task->kind->cancel(channel->task);
	return 0;
}

uint32_t channel_resize(struct channel *channel, const struct wire_frame *frame)
{
	struct wire_message message;
	uint32_t violation = fields_parse(frame, &message);

	return violation ? violation : terminal_resize(channel, &message);
}

/* --- output ---------------------------------------------------------------------------------------------- */

uint32_t channel_credit(const struct channel *channel)
{
	uint32_t room = connection_credit(channel->connection);

	return room < channel->output_window ? room : channel->output_window;
}

void channel_spend(struct channel *channel, uint8_t frame, uint8_t *room, uint32_t length)
{
	wire_header(room, frame, length, channel->id);
	channel->output_window -= length;
	connection_spend(channel->connection, WIRE_HEADER_BYTES + length, length,
			 (uint32_t)(channel - channels) + 1);
}

static void resume(struct channel *channel)
{
	if (channel->task) {
		flow_resume(&channel->task->out);
		flow_resume(&channel->task->err);
		if (channel->task->kind->resumed)
			channel->task->kind->resumed(channel->task);
	}
}

uint32_t channel_return_credit(struct channel *channel, uint32_t bytes)
{
	if (bytes > WIRE_CHANNEL_WINDOW - channel->output_window)
		return VIOLATION_BAD_CREDIT;
	channel->output_window += bytes;
	resume(channel);
	return 0;
}

/* Begin behind the channel that was served last: otherwise the first ones would take every byte of a scarce window. */
void channels_resume(struct connection *connection)
{
	uint32_t first = connection->served;

	for (uint32_t i = 0; i < WIRE_MAX_CHANNELS; i++) {
		struct channel *channel = &channels[(first + i) % WIRE_MAX_CHANNELS];

		if (channel->connection == connection)
			resume(channel);
	}
}

/* --- the end --------------------------------------------------------------------------------------------- */

void channel_end(struct channel *channel, const struct wire_writer *last)
{
	connection_send(channel->connection, last);
	channel_free(channel);
}

static void send_fail(struct connection *connection, uint32_t id, uint32_t error, uint32_t err_no, const char *step,
		      uint64_t size)
{
	struct wire_writer writer;
	uint8_t frame[256];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_FAIL, id);
	if (size != UINT64_MAX)
		wire_put_uint(&writer, FIELD_SIZE, size);
	wire_put_uint(&writer, FIELD_ERROR, error);
	wire_put_uint(&writer, FIELD_ERRNO, err_no);
	wire_put_text(&writer, FIELD_STEP, step, strnlen(step, 64));
	wire_end(&writer);
	connection_send(connection, &writer);
}

void channel_fail(struct channel *channel, uint32_t error, uint32_t err_no, const char *step, uint64_t size)
{
	send_fail(channel->connection, channel->id, error, err_no, step, size);
	channel_free(channel);
}

void channel_refuse(struct connection *connection, uint32_t id, uint32_t error, const char *step)
{
	send_fail(connection, id, error, 0, step, UINT64_MAX);
}

void channels_abandon(const struct connection *connection)
{
	for (uint32_t i = 0; i < WIRE_MAX_CHANNELS; i++) {
		struct channel *channel = &channels[i];

		if (channel->connection != connection)
			continue;
		if (channel->task)
			channel->task->kind->cancel(channel->task);
		/* The cancel may have ended it. */
		if (channel->connection == connection)
			channel_free(channel);
	}
}
