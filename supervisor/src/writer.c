#define _GNU_SOURCE
#include "writer.h"

#include <fcntl.h>
#include <unistd.h>

#include "task.h"

static void begin(struct managed *managed);

static void shut(struct managed *managed)
{
	if (managed->input >= 0)
		close(managed->input);
	managed->input = -1;
}

static void fail(struct task *task, uint32_t error)
{
	managed_detach(&task->attachment.managed->writers, task);
	channel_fail(task->channel, error, 0, "", UINT64_MAX);
	task_free(task);
}

void writers_fail(struct managed *managed, uint32_t error)
{
	while (managed->writers)
		fail(managed->writers, error);
}

/* All of it was written, or nobody will ever read it: whoever waits behind this one goes on. */
static void finish(struct task *task)
{
	struct managed *managed = task->attachment.managed;
	struct channel *channel = task->channel;
	bool broken = channel->input_broken;
	struct wire_writer writer;
	uint8_t frame[64];

	if (broken) {
		shut(managed);
		writers_fail(managed, ERROR_INPUT_CLOSED);
		return;
	}
	managed_detach(&managed->writers, task);
	if (task->attachment.close)
		shut(managed);
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, channel->id);
	wire_put_uint(&writer, FIELD_SIZE, channel->input_moved);
	wire_end(&writer);
	channel_end(channel, &writer);
	task_free(task);
	if (managed->input < 0)
		writers_fail(managed, ERROR_INPUT_CLOSED);
	else
		begin(managed);
}

static void flowed(struct task *task)
{
	if (task->channel->input_broken)
		finish(task);
}

static void cancel(struct task *task)
{
	struct managed *managed = task->attachment.managed;
	bool first = managed->writers == task;

	fail(task, ERROR_CANCELLED);
	if (first)
		begin(managed);
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

static const struct task_kind writer_kind = {
	.reported = nothing, .reaped = reaped, .due = due, .cancel = cancel, .flowed = flowed, .input_ended = finish,
};

/* The first in line gets the pipe: by a descriptor of its own, which its channel closes. */
static void begin(struct managed *managed)
{
	struct task *task = managed->writers;
	int end;

	if (!task || task->attachment.connected)
		return;
	end = fcntl(managed->input, F_DUPFD_CLOEXEC, 3);
	task->attachment.connected = true;
	/* This may be its whole life. */
	if (end < 0 || !channel_connect_input(task->channel, end)) {
		if (end >= 0)
			close(end);
		fail(task, ERROR_IO);
		begin(managed);
	}
}

void writer_open(struct channel *channel, struct managed *managed, const struct wire_message *message)
{
	struct task **last = &managed->writers;
	struct task *task;

	if (managed->finished || managed->input < 0) {
		channel_fail(channel, managed->finished ? ERROR_PROCESS_ENDED : ERROR_INPUT_CLOSED, 0, "", UINT64_MAX);
		return;
	}
	task = task_new(&writer_kind, channel);
	if (!task) {
		channel_fail(channel, ERROR_PROCESS_LIMIT, 0, "", UINT64_MAX);
		return;
	}
	channel->task = task;
	task->attachment = (struct attachment){.managed = managed, .close = wire_flag(message, FIELD_CLOSE)};
	while (*last)
		last = &(*last)->attachment.next;
	*last = task;
	begin(managed);
}
