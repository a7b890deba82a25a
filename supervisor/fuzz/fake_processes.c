#define _GNU_SOURCE
/* Its table and its numbers start again with each input, which nothing else may do. */
#include "../src/managed.c"

#include "fake_processes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "exec.h"
#include "exec_start.h"
#include "fake.h"
#include "procs.h"
#include "task.h"
#include "terminal.h"
#include "transfer.h"

#define MAX_PROCESSES 512

static struct process {
	struct task *task;         /* NULL: a free slot, or a server's */
	bool server;               /* its end of a connection is `in` and `out` */
	int in, out, err;          /* the process's ends; -1 */
	bool exited;
} processes[MAX_PROCESSES];

static struct process *process_of(const struct task *task)
{
	for (unsigned i = 0; i < MAX_PROCESSES; i++) {
		if (processes[i].task == task)
			return &processes[i];
	}
	abort();
}

static bool in_use(const struct process *process)
{
	return process->task != NULL || process->server;
}

static struct process *pick(unsigned which)
{
	unsigned live = fake_processes();

	for (unsigned i = 0; live > 0 && i < MAX_PROCESSES; i++) {
		if (in_use(&processes[i]) && which-- % live == 0)
			return &processes[i];
	}
	return NULL;
}

unsigned fake_processes(void)
{
	unsigned live = 0;

	for (unsigned i = 0; i < MAX_PROCESSES; i++)
		live += in_use(&processes[i]);
	return live;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void send_end_of(struct channel *channel)
{
	struct wire_writer writer;
	uint8_t frame[256];
	bool command = channel->operation == OPERATION_EXEC || channel->operation == OPERATION_TERMINAL;
	static const uint8_t tags[] = { FIELD_REASON, FIELD_EXIT_CODE, FIELD_SIGNAL, FIELD_DURATION_US,
					FIELD_STDOUT_TOTAL, FIELD_STDERR_TOTAL, FIELD_KILLED,
					FIELD_LEFT_RUNNING };

	wire_writer_init(&writer, frame, sizeof frame);
	wire_begin(&writer, command ? FRAME_EXIT : FRAME_DONE, channel->id);
	for (size_t i = 0; command && i < sizeof tags; i++)
		wire_put_uint(&writer, tags[i], 1);
	wire_end(&writer);
	channel_end(channel, &writer);
}

/* As exec.c and transfer.c do: first what the pipes hold, then the last frame, then nothing is left. */
static void advance(struct task *task)
{
	struct process *process = process_of(task);
	struct managed *managed = task->command.managed;

	if (!process->exited)
		return;
	if (managed != NULL) {
		if (!managed_finish(managed))
			return;
		managed_gone(managed);
	} else if (task->channel != NULL && task->channel->operation == OPERATION_START) {
		channel_fail(task->channel, ERROR_CANCELLED, 0, "", UINT64_MAX);
	} else if (task->channel != NULL) {
		if (flow_pending(&task->out) || flow_pending(&task->err))
			return;
		send_end_of(task->channel);
	}
	process->task = NULL;
	task_free(task);
}

static void end_process(struct process *process)
{
	if (process->server) {
		close_end(&process->in);
		close_end(&process->out);
		process->server = false;
		return;
	}
	close_end(&process->in);
	process->exited = true;
	if (process->task->command.managed == NULL) {
		flow_settle(&process->task->out);
		flow_settle(&process->task->err);
	}
	close_end(&process->out);
	close_end(&process->err);
	advance(process->task);
}

static void ignore(struct task *task)
{
	(void)task;
}

static void ignore_status(struct task *task, int status)
{
	(void)task;
	(void)status;
}

static void ignore_time(struct task *task, uint64_t now)
{
	(void)task;
	(void)now;
}

/* The process dies a while later, as the input says: what it says until then is for nobody. */
static void cancel(struct task *task)
{
	if (task->command.managed != NULL) {
		managed_discard(task->command.managed);
		/* It waited for nothing but its log. */
		if (process_of(task)->exited) {
			advance(task);
			return;
		}
	}
	task->out.limit = 0;
	task->err.limit = 0;
	flow_resume(&task->out);
	flow_resume(&task->err);
}

static const struct task_kind fake_kind = {
	.reported = ignore, .reaped = ignore_status, .due = ignore_time,
	.cancel = cancel, .flowed = advance, .input_ended = ignore,
};

static void make_pipe(int ends[2])
{
	MUST(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
}

static struct process *new_process(struct channel *channel)
{
	struct task *task = task_new(&fake_kind, channel);
	struct process *process = NULL;

	for (unsigned i = 0; i < MAX_PROCESSES && process == NULL; i++) {
		if (!in_use(&processes[i]))
			process = &processes[i];
	}
	if (task == NULL || process == NULL) {
		if (task != NULL)
			task_free(task);
		return NULL;
	}
	*process = (struct process){ .task = task, .in = -1, .out = -1, .err = -1 };
	channel->task = task;
	return process;
}

static void start(struct channel *channel, bool in, bool out, bool err, uint64_t out_limit, uint64_t err_limit)
{
	struct process *process = new_process(channel);
	struct task *task = channel->task;
	int ends[2];

	if (process == NULL) {
		channel_fail(channel, ERROR_PROCESS_LIMIT, 0, "fork", UINT64_MAX);
		return;
	}
	if (out) {
		make_pipe(ends);
		process->out = ends[1];
		MUST(flow_open(&task->out, ends[0], task, channel, FRAME_STDOUT, out_limit));
	}
	if (err) {
		make_pipe(ends);
		process->err = ends[1];
		MUST(flow_open(&task->err, ends[0], task, channel, FRAME_STDERR, err_limit));
	}
	if (in) {
		make_pipe(ends);
		process->in = ends[0];
		MUST(channel_connect_input(channel, ends[1]));
	}
}

/* With pipes, as everything here: what a kernel makes of a terminal is not for made-up processes. */
static void open_terminal(struct channel *channel, const struct wire_message *message)
{
	if (terminal_size(message, &channel->rows, &channel->columns))
		start(channel, true, true, false, UINT64_MAX, 0);
	else
		channel_fail(channel, ERROR_INVALID, 0, "setup", UINT64_MAX);
}

/* Its program has begun as soon as anybody looks. */
static void start_managed(struct channel *channel, const struct wire_message *message)
{
	uint32_t error;
	struct managed *managed = managed_new(message, &error);
	struct process *process = managed == NULL ? NULL : new_process(channel);
	int in[2], out[2], err[2], begun[2], ours[4];
	pid_t pid = 1234;

	if (process == NULL) {
		if (managed != NULL)
			managed_discard(managed);
		channel_fail(channel, managed == NULL ? error : ERROR_PROCESS_LIMIT, 0, "fork", UINT64_MAX);
		return;
	}
	make_pipe(in);
	make_pipe(out);
	make_pipe(err);
	make_pipe(begun);
	MUST(write(begun[1], &pid, sizeof pid) == (ssize_t)sizeof pid);
	close(begun[1]);
	process->in = in[0];
	process->out = out[1];
	process->err = err[1];
	ours[MANAGED_OUT] = out[0];
	ours[MANAGED_ERR] = err[0];
	ours[MANAGED_BEGUN] = begun[0];
	ours[MANAGED_IN] = in[1];
	process->task->command.managed = managed;
	MUST(managed_connect(managed, process->task, ours));
}

void exec_begun(struct task *task)
{
	struct managed *managed = task->command.managed;
	struct wire_writer writer;
	uint8_t frame[64];

	MUST(managed != NULL && managed->pid == 1234);
	managed->known = true;
	wire_writer_init(&writer, frame, sizeof frame);
	wire_begin(&writer, FRAME_DONE, task->channel->id);
	wire_put_uint(&writer, FIELD_PROCESS, managed->id);
	wire_end(&writer);
	channel_end(task->channel, &writer);
	advance(task);
}

void exec_refresh(struct task *task)
{
	(void)process_of(task);
}

/* It ends when the input says so. */
void exec_stop(struct task *task, uint64_t grace_ms)
{
	(void)process_of(task);
	(void)grace_ms;
}

/* Nothing here may be signalled: no number is anybody's. */
pid_t procs_parent(pid_t pid)
{
	(void)pid;
	return 0;
}

uint64_t cgroup_oom_kills(void)
{
	return 0;
}

/* So little that the logs of those that have ended are dropped. */
void cgroup_read(struct cgroup_limits *limits)
{
	*limits = (struct cgroup_limits){ .memory = 1 << 20 };
}

void exec_open(struct channel *channel, const struct wire_message *message)
{
	if (channel->operation == OPERATION_START) {
		start_managed(channel, message);
		return;
	}
	if (channel->operation == OPERATION_TERMINAL) {
		open_terminal(channel, message);
		return;
	}
	channel->input_open = wire_flag(message, FIELD_STDIN);
	start(channel, channel->input_open, true, true, wire_uint(message, FIELD_STDOUT_LIMIT, 0),
	      wire_uint(message, FIELD_STDERR_LIMIT, 0));
}

void transfer_open(struct channel *channel, const struct wire_message *message)
{
	enum operation operation = channel->operation;
	bool stream = operation == OPERATION_PUT_TREE || operation == OPERATION_GET_TREE;

	(void)message;
	start(channel, stream || operation == OPERATION_WRITE,
	      stream || operation == OPERATION_READ || operation == OPERATION_LIST || operation == OPERATION_STAT ||
		      operation == OPERATION_SCAN_TREE || operation == OPERATION_SEARCH || operation == OPERATION_WATCH,
	      false,
	      UINT64_MAX, 0);
}

void fake_write(unsigned which, bool error_stream, unsigned amount)
{
	static const uint8_t bytes[65536];
	struct process *process = pick(which);
	int fd = process == NULL ? -1 : error_stream ? process->err : process->out;

	if (fd >= 0)
		(void)!write(fd, bytes, amount % (sizeof bytes + 1));
}

void fake_read(unsigned which, unsigned amount)
{
	static uint8_t bytes[65536];
	struct process *process = pick(which);

	if (process != NULL && process->in >= 0)
		(void)!read(process->in, bytes, amount % (sizeof bytes + 1));
}

void fake_close_input(unsigned which)
{
	struct process *process = pick(which);

	if (process != NULL && process->server)
		(void)shutdown(process->out, SHUT_WR);
	else if (process != NULL)
		close_end(&process->in);
}

void fake_exit(unsigned which)
{
	struct process *process = pick(which);

	if (process != NULL && !process->exited)
		end_process(process);
}

void fake_exit_all(void)
{
	for (unsigned i = 0; i < MAX_PROCESSES; i++) {
		if (in_use(&processes[i]) && !processes[i].exited)
			end_process(&processes[i]);
	}
}

/* A socket whose other end is a process of ours. */
int fake_server(void)
{
	struct process *process = NULL;
	int ends[2];

	for (unsigned i = 0; i < MAX_PROCESSES && process == NULL; i++) {
		if (!in_use(&processes[i]))
			process = &processes[i];
	}
	if (process == NULL)
		return -1;
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	*process = (struct process){ .server = true, .in = ends[1], .err = -1 };
	process->out = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
	MUST(process->out >= 0);
	return ends[0];
}

void fake_forget_managed(void)
{
	for (unsigned i = 0; i < MAX_MANAGED; i++) {
		MUST(table[i].readers == NULL && table[i].writers == NULL && table[i].task == NULL);
		if (table[i].id)
			forget(&table[i]);
	}
	last_id = last_ended = 0;
}
