#define _GNU_SOURCE
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "caps.h"
#include "clock.h"
#include "disk.h"
#include "files.h"
#include "process.h"
#include "session.h"
#include "task.h"

/* How long a helper may make no progress while it waits for nobody but the kernel. */
#define PATIENCE (30 * SECOND)
/* How long one that was told to give up may take to tidy up. */
#define ABORT_PATIENCE (2 * SECOND)

/* The descriptors of one operation; -1 where it has none. */
struct ends {
	int in[2], out[2], commit[2], report[2];
};

/* --- which has what -------------------------------------------------------------------------------------- */

static bool takes_stream(enum operation operation)
{
	return operation == OPERATION_PUT_TREE || operation == OPERATION_GET_TREE;
}

static bool takes_input(enum operation operation)
{
	return operation == OPERATION_WRITE || takes_stream(operation);
}

static bool gives_output(enum operation operation)
{
	return operation == OPERATION_READ || operation == OPERATION_LIST || operation == OPERATION_STAT ||
	       operation == OPERATION_SCAN_TREE || operation == OPERATION_SEARCH || operation == OPERATION_WATCH ||
	       takes_stream(operation);
}

/* Whether it writes files, of which an unfinished one is to be taken away. */
static bool writes(enum operation operation)
{
	return operation == OPERATION_WRITE || operation == OPERATION_PUT_TREE;
}

/* --- the end --------------------------------------------------------------------------------------------- */

/* The helper lives among hostile processes: a code outside the table would break the client's trust in us. */
static uint32_t known_error(uint32_t error)
{
	uint64_t known = 0;

#define X(field, codes) known |= FIELD_##field == FIELD_ERROR ? (codes) : 0;
	WIRE_FIELD_VALUES(X)
#undef X
	return error < 64 && (known >> error & 1) ? error : (uint32_t)ERROR_IO;
}

static void send_done(struct task *task)
{
	const struct helper_report *report = &task->transfer.report;
	enum operation operation = task->channel->operation;
	struct wire_writer writer;
	uint8_t frame[128];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, task->channel->id);
	if (operation == OPERATION_READ || operation == OPERATION_WRITE || takes_stream(operation))
		wire_put_uint(&writer, FIELD_SIZE, report->size);
	if (operation == OPERATION_LIST || operation == OPERATION_SCAN_TREE ||
	    operation == OPERATION_SEARCH || takes_stream(operation))
		wire_put_uint(&writer, FIELD_ENTRIES, report->entries);
	if (operation == OPERATION_LIST)
		wire_put_uint(&writer, FIELD_UNREADABLE, report->unreadable);
	wire_end(&writer);
	channel_end(task->channel, &writer);
}

static void send_failure(struct task *task)
{
	struct helper_report *report = &task->transfer.report;
	uint32_t error = known_error(report->error);

	report->step[sizeof(report->step) - 1] = '\0';
	channel_fail(task->channel, error, report->err_no, report->step,
		     error == ERROR_TOO_LARGE ? report->size : UINT64_MAX);
}

static void advance(struct task *task)
{
	struct transfer *transfer = &task->transfer;

	if (task->channel) {
		if (!transfer->reported)
			return;
		/* After a success everything that the helper wrote is sent first. */
		if (!transfer->report.error && flow_pending(&task->out))
			return;
		if (transfer->report.error)
			send_failure(task);
		else
			send_done(task);
	}
	if (task->pid == 0) {
		if (transfer->commit >= 0)
			close(transfer->commit);
		task_free(task);
	}
}

/* --- events ---------------------------------------------------------------------------------------------- */

static void conclude(struct task *task, uint32_t error, const char *step)
{
	struct transfer *transfer = &task->transfer;

	if (transfer->reported)
		return;
	transfer->reported = true;
	transfer->report = (struct helper_report){.error = error};
	strncpy(transfer->report.step, step, sizeof(transfer->report.step) - 1);
}

static void transfer_reported(struct task *task)
{
	struct transfer *transfer = &task->transfer;
	ssize_t got = read(task->report.fd, &transfer->report, sizeof(transfer->report));

	if (got < 0) {
		source_arm(&task->report, EPOLLIN);
		return;
	}
	source_close(&task->report);
	if (got == sizeof(transfer->report))
		transfer->reported = true;
	else
		conclude(task, transfer->aborted ? ERROR_CANCELLED : ERROR_HELPER_DIED, "helper");
	if (!transfer->aborted)
		task->deadline = transfer->report.error ? task->deadline : clock_monotonic() + PATIENCE;
	advance(task);
}

static void transfer_reaped(struct task *task, int status)
{
	(void)status;
	task->deadline = NEVER;
	/* It may have told before it ended; otherwise the pipe says that it has not. */
	if (task->report.fd >= 0)
		transfer_reported(task);
	else
		advance(task);
}

/* Whether it is the client for whom everything waits: for its credit, or for its bytes. */
static bool waits_for_client(const struct task *task)
{
	const struct channel *channel = task->channel;

	if (!channel)
		return false;
	if (takes_input(channel->operation) && !channel->input_ended && !channel->queue.length &&
	    !channel->input_broken)
		return true;
	return task->out.blocked;
}

static void transfer_due(struct task *task, uint64_t now)
{
	struct transfer *transfer = &task->transfer;
	uint64_t moved = task->out.total + (task->channel ? task->channel->input_moved : 0);

	/* A watch that is ready waits for what happens, however long that takes. */
	if (!transfer->aborted && task->channel && task->channel->operation == OPERATION_WATCH && task->out.total) {
		task->deadline = NEVER;
		return;
	}
	if (!transfer->aborted && task->channel && (moved != transfer->moved || waits_for_client(task))) {
		transfer->moved = moved;
		task->deadline = now + PATIENCE;
		return;
	}
	task->deadline = NEVER;
	if (task->pid)
		kill(task->pid, SIGKILL);
	conclude(task, transfer->aborted ? ERROR_CANCELLED : ERROR_HELPER_TIMEOUT, "helper");
	advance(task);
}

/* A write is asked to leave nothing behind, the others have nothing to leave. */
static void transfer_cancel(struct task *task)
{
	struct transfer *transfer = &task->transfer;

	if (transfer->reported) {
		/* It is over, and what is left of its output is wanted by nobody. */
		task->out.limit = 0;
		flow_resume(&task->out);
		return;
	}
	transfer->aborted = true;
	if (!writes(task->channel->operation)) {
		if (task->pid)
			kill(task->pid, SIGKILL);
		return;
	}
	if (transfer->commit >= 0)
		close(transfer->commit);
	transfer->commit = -1;
	source_close(&task->channel->input);
	task->channel->input_broken = true;
	task->deadline = clock_monotonic() + ABORT_PATIENCE;
}

/* The client said that this was all: only now may the file take its place. */
static void transfer_input_ended(struct task *task)
{
	struct transfer *transfer = &task->transfer;

	if (transfer->commit < 0)
		return;
	(void)!write(transfer->commit, "C", 1);
	close(transfer->commit);
	transfer->commit = -1;
}

static const struct task_kind transfer_kind = {
	.reported = transfer_reported, .reaped = transfer_reaped, .due = transfer_due,
	.cancel = transfer_cancel, .flowed = advance, .input_ended = transfer_input_ended,
};

/* --- the start ------------------------------------------------------------------------------------------- */

static void read_request(struct file_request *request, enum operation operation,
			 const struct wire_message *message)
{
	uint32_t length;

	*request = (struct file_request){
		.op = operation,
		.root = (enum root)wire_uint(message, FIELD_ROOT, ROOT_WORKSPACE),
		.offset = wire_uint(message, FIELD_OFFSET, 0),
		.limit = wire_uint(message, FIELD_LIMIT, 0),
		.mode = (uint32_t)wire_uint(message, FIELD_MODE, 0),
		.parents = wire_flag(message, FIELD_PARENTS),
		.recursive = wire_flag(message, FIELD_RECURSIVE),
		.follow = wire_flag(message, FIELD_FOLLOW),
		.message = message,
		.guarded = wire_has(message, FIELD_MODIFIED_NS),
		.size = wire_uint(message, FIELD_SIZE, 0),
		.modified_ns = wire_uint(message, FIELD_MODIFIED_NS, 0),
	};
	request->path = wire_bytes(message, FIELD_PATH, &length);
	request->path_len = length;
	request->target = wire_bytes(message, FIELD_TARGET, &length);
	request->target_len = length;
	request->floor = disk_floor_below(request->root);
	if (writes(operation) && request->limit > session.max_file_bytes)
		request->limit = session.max_file_bytes;
}

_Noreturn static void helper_main(const struct file_request *request, const struct ends *ends)
{
	static struct helper_report report;
	int keep[] = {ends->in[0], ends->out[1], ends->commit[0], ends->report[1], session.workspace_fd,
		      session.root_fd};

	process_yield();
	process_keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	if (!caps_become(&session.user, 0))
		_exit(1);
	files_run(request, session.workspace_fd, session.root_fd, ends->in[0], ends->out[1], ends->commit[0],
		  &report);
	(void)!write(ends->report[1], &report, sizeof(report));
	_exit(0);
}

static void close_ends(struct ends *ends)
{
	int *all[] = {ends->in, ends->out, ends->commit, ends->report};

	for (int i = 0; i < 8; i++)
		if (all[i / 2][i % 2] >= 0)
			close(all[i / 2][i % 2]);
}

/* A pipe whose end `ours` is non-blocking; both are -1 when it could not be made. */
static bool make_pipe(int ends[2], int ours)
{
	if (pipe2(ends, O_CLOEXEC) == 0) {
		(void)fcntl(ends[ours], F_SETFL, O_NONBLOCK);
		return true;
	}
	ends[0] = ends[1] = -1;
	return false;
}

static bool make_ends(struct ends *ends, enum operation operation)
{
	*ends = (struct ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	if (takes_input(operation) && !make_pipe(ends->in, 1))
		return false;
	if (operation == OPERATION_WRITE && !make_pipe(ends->commit, 1))
		return false;
	return (!gives_output(operation) || make_pipe(ends->out, 0)) && make_pipe(ends->report, 0);
}

static bool take_ends(struct task *task, struct ends *ends)
{
	struct channel *channel = task->channel;

	task->transfer.commit = ends->commit[1];
	ends->commit[1] = -1;
	if (!task_open_report(task, ends->report[0]))
		return false;
	ends->report[0] = -1;
	if (ends->out[0] >= 0) {
		if (!flow_open(&task->out, ends->out[0], task, channel, FRAME_STDOUT, UNBOUNDED))
			return false;
		ends->out[0] = -1;
	}
	if (ends->in[1] >= 0) {
		if (!channel_connect_input(channel, ends->in[1]))
			return false;
		ends->in[1] = -1;
	}
	return true;
}

void transfer_open(struct channel *channel, const struct wire_message *message)
{
	struct file_request request;
	struct ends ends;
	struct task *task = task_new(&transfer_kind, channel);
	int err_no;
	pid_t pid = -1;

	if (!task) {
		channel_fail(channel, ERROR_PROCESS_LIMIT, 0, "fork", UINT64_MAX);
		return;
	}
	task->transfer.commit = -1;
	task->deadline = task->started + PATIENCE;
	read_request(&request, channel->operation, message);
	if (make_ends(&ends, channel->operation)) {
		pid = fork();
		if (pid == 0)
			helper_main(&request, &ends);
	}
	err_no = errno;
	if (pid > 0) {
		task->pid = pid;
		channel->task = task;
		if (take_ends(task, &ends)) {
			close_ends(&ends);
			return;
		}
		err_no = errno;
		kill(pid, SIGKILL);
	} else {
		task_free(task);
	}
	close_ends(&ends);
	channel_fail(channel, err_no == EAGAIN ? ERROR_PROCESS_LIMIT : ERROR_OUT_OF_MEMORY, (uint32_t)err_no,
		     "fork", UINT64_MAX);
}
