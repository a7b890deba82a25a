#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>

#include "exec.h"
#include "managed.h"
#include "pause.h"
#include "procs.h"
#include "reader.h"
#include "task.h"
#include "writer.h"

static void done(struct channel *channel)
{
	struct wire_writer writer;
	uint8_t frame[WIRE_HEADER_BYTES];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, channel->id);
	wire_end(&writer);
	channel_end(channel, &writer);
}

/* The number may have been given to another process since, if the process has ended and the news waits in a pipe: so
 * those are read first, and its parent must be its own reaper, which keeps its number from others until it has told.
 * The number was told from within the container, too. */
static bool is_there(const struct managed *managed)
{
	return managed->task && managed->pid > 1 && procs_parent(managed->pid) == managed->task->pid;
}

static void send_signal(struct channel *channel, struct managed *managed, const struct wire_message *message)
{
	uint64_t number = wire_uint(message, FIELD_SIGNAL, 0);
	pid_t to = wire_flag(message, FIELD_GROUP) ? -managed->pid : managed->pid;

	if (number < 1 || number >= NSIG)
		channel_fail(channel, ERROR_INVALID, 0, "signal", UINT64_MAX);
	else if (number == SIGCONT && pause_active())
		channel_fail(channel, ERROR_PAUSED, 0, "signal", UINT64_MAX);
	else if (managed->finished || managed->task->command.ended || !is_there(managed))
		channel_fail(channel, ERROR_PROCESS_ENDED, 0, "", UINT64_MAX);
	else if (kill(to, (int)number) < 0)
		channel_fail(channel, errno == ESRCH ? ERROR_PROCESS_ENDED : ERROR_IO, (uint32_t)errno, "signal", UINT64_MAX);
	else
		done(channel);
}

static void stop(struct channel *channel, struct managed *managed, const struct wire_message *message)
{
	if (managed->task)
		exec_stop(managed->task, wire_uint(message, FIELD_GRACE_MS, 0));
	reader_open(channel, managed, message);
}

/* Its end may be known to the kernel and not to us. */
static struct managed *refreshed(uint64_t id)
{
	struct managed *managed = managed_find(id);

	if (managed && managed->task)
		exec_refresh(managed->task);
	return managed_find(id);
}

void managed_request(struct channel *channel, const struct wire_message *message)
{
	struct managed *managed = refreshed(wire_uint(message, FIELD_PROCESS, 0));

	/* Only a list can be of all of them. */
	bool all = channel->operation == OPERATION_PROCESSES && !wire_has(message, FIELD_PROCESS);

	if (!managed && !all) {
		channel_fail(channel, ERROR_NO_PROCESS, 0, "", UINT64_MAX);
		return;
	}
	if (channel->operation == OPERATION_PROCESSES) {
		reader_list(channel, managed);
		return;
	}
	switch (channel->operation) {
	case OPERATION_SEND:
		writer_open(channel, managed, message);
		break;
	case OPERATION_SIGNAL:
		send_signal(channel, managed, message);
		break;
	case OPERATION_STOP:
		stop(channel, managed, message);
		break;
	default:
		reader_open(channel, managed, message);
	}
}
