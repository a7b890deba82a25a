#define _GNU_SOURCE
#include "reader.h"

#include <string.h>

#include "connection.h"
#include "store.h"
#include "task.h"

/* From now on, whatever there is. */
#define AT_THE_END UINT64_MAX
/* One PROCESS frame: its argv, its name and some twenty numbers. */
#define DESCRIPTION (MANAGED_ARGV_BYTES + 4 * MANAGED_ARGV_COUNT + WIRE_MAX_PROCESS_NAME + 512)

static void end(struct task *task, const struct wire_writer *last)
{
	struct managed *managed = task->attachment.managed;

	if (managed)
		managed_detach(&managed->readers, task);
	channel_end(task->channel, last);
	task_free(task);
}

static void fail(struct task *task, uint32_t error)
{
	struct managed *managed = task->attachment.managed;

	if (managed)
		managed_detach(&managed->readers, task);
	channel_fail(task->channel, error, 0, "", UINT64_MAX);
	task_free(task);
}

/* --- a log ----------------------------------------------------------------------------------------------- */

static void tell_position(struct task *task)
{
	struct wire_writer writer;
	uint8_t frame[WIRE_HEADER_BYTES + 16];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_POSITION, task->channel->id);
	wire_put_uint(&writer, FIELD_OFFSET, task->attachment.at);
	wire_end(&writer);
	connection_send(task->channel->connection, &writer);
	task->attachment.placed = true;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Send the next piece of the log. False when it cannot go on for now, or the task is gone. */
static bool send_piece(struct task *task)
{
	struct attachment *attachment = &task->attachment;
	struct managed *managed = attachment->managed;
	enum log_stream stream = LOG_STDOUT;
	uint64_t run = least(log_run(&managed->log, attachment->at, &stream), attachment->until - attachment->at);
	size_t want = (size_t)least(run, least(channel_credit(task->channel), WIRE_MAX_PAYLOAD));
	uint8_t *room;

	if (!want)
		return false;
	if (!attachment->placed)
		tell_position(task);
	room = connection_reserve(task->channel->connection, WIRE_HEADER_BYTES + want);
	if (!room)
		return false;
	if (!store_read(managed->store, managed->log.capacity, attachment->at, room + WIRE_HEADER_BYTES, want)) {
		fail(task, ERROR_IO);
		return false;
	}
	channel_spend(task->channel, stream == LOG_STDOUT ? FRAME_STDOUT : FRAME_STDERR, room, (uint32_t)want);
	attachment->at += want;
	return true;
}

static void send_exit(struct task *task)
{
	const struct managed *managed = task->attachment.managed;
	struct wire_writer writer;
	uint8_t frame[256];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_EXIT, task->channel->id);
	wire_put_uint(&writer, FIELD_OFFSET, managed->log.end);
	outcome_put(&writer, &managed->outcome);
	wire_end(&writer);
	end(task, &writer);
}

static void send_done(struct task *task, uint8_t field, uint64_t value)
{
	struct wire_writer writer;
	uint8_t frame[64];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, task->channel->id);
	wire_put_uint(&writer, field, value);
	wire_end(&writer);
	end(task, &writer);
}

/* Everything that is in the log for it, as far as it goes now; then its answer, if it is time for that. */
static void read_on(struct task *task)
{
	struct attachment *attachment = &task->attachment;
	struct managed *managed = attachment->managed;
	bool logs = task->channel->operation == OPERATION_LOGS;

	if (attachment->at_end && !managed->finished)
		return;
	do {
		/* What is not there any more is passed over, and told with the next byte or with the end. */
		if (attachment->at < managed->log.first) {
			attachment->at = least(managed->log.first, attachment->until);
			attachment->placed = false;
		}
	} while (send_piece(task));
	/* The last piece may have been the end of the task. */
	if (!task->kind || attachment->at < least(managed->log.end, attachment->until))
		return;
	if (logs)
		send_done(task, FIELD_OFFSET, attachment->until);
	else if (managed->finished)
		send_exit(task);
}

/* --- all of them ----------------------------------------------------------------------------------------- */

static void put_argv(struct wire_writer *writer, const struct managed *managed)
{
	const char *at = (const char *)managed->argv, *stop = at + managed->argv_bytes;

	for (; at < stop; at += strlen(at) + 1)
		wire_put_bytes(writer, FIELD_ARGUMENT, at, strlen(at));
}

/* In the order of the tags. */
static void describe(struct connection *connection, uint32_t channel, const struct managed *managed)
{
	struct wire_writer writer;
	uint8_t frame[DESCRIPTION];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_PROCESS, channel);
	put_argv(&writer, managed);
	wire_put_uint(&writer, FIELD_STDIN, managed->input >= 0);
	wire_put_uint(&writer, FIELD_PROCESS, managed->id);
	wire_put_uint(&writer, FIELD_LOG_BYTES, managed->log.capacity);
	if (*managed->name)
		wire_put_text(&writer, FIELD_PROCESS_NAME, managed->name, strlen(managed->name));
	wire_put_uint(&writer, FIELD_PID, (uint64_t)managed->pid);
	wire_put_uint(&writer, FIELD_STARTED_NS, managed->started_ns);
	if (managed->finished) {
		outcome_put(&writer, &managed->outcome);
		wire_put_uint(&writer, FIELD_ENDED_NS, managed->ended_ns);
	}
	wire_put_uint(&writer, FIELD_LOG_FIRST, managed->log.first);
	wire_put_uint(&writer, FIELD_LOG_END, managed->log.end);
	if (managed->argv_cut)
		wire_put_uint(&writer, FIELD_ARGV_CUT, 1);
	wire_end(&writer);
	connection_send(connection, &writer);
}

/* While the connection's queue has room: there may be hundreds. */
static void list_on(struct task *task)
{
	struct attachment *attachment = &task->attachment;
	const struct managed *managed;

	while ((managed = managed_after(attachment->at))) {
		if (!connection_credit(task->channel->connection))
			return;
		describe(task->channel->connection, task->channel->id, managed);
		attachment->at = managed->id;
		attachment->count++;
	}
	send_done(task, FIELD_ENTRIES, attachment->count);
}

/* --- as a task ------------------------------------------------------------------------------------------- */

static void go_on(struct task *task)
{
	const struct managed *managed = task->attachment.managed;

	if (!managed || task->channel->operation == OPERATION_PROCESSES)
		list_on(task);
	else if (task->channel->operation != OPERATION_STOP)
		read_on(task);
	else if (managed->finished && !managed->task)
		send_exit(task);
}

static void cancel(struct task *task)
{
	fail(task, ERROR_CANCELLED);
}

static void nothing(struct task *task)
{
	(void)task;
}

static void reaped(struct task *task, int status)
{
	(void)status;
	nothing(task);
}

static void due(struct task *task, uint64_t now)
{
	(void)now;
	nothing(task);
}

static const struct task_kind reader_kind = {
	.reported = nothing, .reaped = reaped, .due = due, .cancel = cancel, .flowed = nothing, .input_ended = nothing,
	.resumed = go_on,
};

static struct task *attach(struct channel *channel, struct managed *managed)
{
	struct task *task = task_new(&reader_kind, channel);

	if (!task) {
		channel_fail(channel, ERROR_PROCESS_LIMIT, 0, "", UINT64_MAX);
		return NULL;
	}
	channel->task = task;
	task->attachment = (struct attachment){.managed = managed};
	if (managed) {
		task->attachment.next = managed->readers;
		managed->readers = task;
	}
	return task;
}

void reader_open(struct channel *channel, struct managed *managed, const struct wire_message *message)
{
	uint64_t offset = wire_uint(message, FIELD_OFFSET, AT_THE_END), last = managed->log.end;
	struct task *task;

	if (offset != AT_THE_END && offset > last) {
		channel_fail(channel, ERROR_INVALID, 0, "offset", UINT64_MAX);
		return;
	}
	task = attach(channel, managed);
	if (!task)
		return;
	task->attachment.at = offset == AT_THE_END ? last : offset;
	task->attachment.placed = offset != AT_THE_END;
	task->attachment.at_end = wire_flag(message, FIELD_AT_END);
	task->attachment.until = channel->operation == OPERATION_LOGS ? last : UINT64_MAX;
	go_on(task);
}

void reader_list(struct channel *channel, struct managed *managed)
{
	struct task *task;

	if (managed) {
		struct wire_writer writer;
		uint8_t frame[64];

		describe(channel->connection, channel->id, managed);
		wire_writer_init(&writer, frame, sizeof(frame));
		wire_begin(&writer, FRAME_DONE, channel->id);
		wire_put_uint(&writer, FIELD_ENTRIES, 1);
		wire_end(&writer);
		channel_end(channel, &writer);
		return;
	}
	task = attach(channel, NULL);
	if (task)
		go_on(task);
}

void reader_moved(struct managed *managed)
{
	struct task *next;

	for (struct task *task = managed->readers; task; task = next) {
		next = task->attachment.next;
		go_on(task);
	}
}
