#define _GNU_SOURCE
/* Its table and its numbers start again with each input, which nothing else may do. */
#include "../src/managed.c"

#include "fake_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "configure.h"
#include "connection.h"
#include "exec.h"
#include "handshake.h"
#include "lease.h"
#include "pause.h"
#include "loop.h"
#include "report.h"
#include "session.h"
#include "sockets.h"
#include "task.h"
#include "terminal.h"
#include "transfer.h"
#include "tree.h"

#define MAX_SOURCES 4096
#define MAX_PROCESSES 512
/* Turns without a word from the client or a process: more is a loop that never rests. */
#define MAX_TURNS 20000

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* --- the loop ------------------------------------------------------------------------------------ */

static struct {
	struct source *source;
	uint32_t events;
} sources[MAX_SOURCES];
static unsigned source_count;

static unsigned index_of(const struct source *source)
{
	for (unsigned i = 0; i < source_count; i++) {
		if (sources[i].source == source)
			return i;
	}
	abort();
}

bool source_open(struct source *source, int fd, uint32_t events, void (*ready)(struct source *source))
{
	MUST(fd >= 0 && source_count < MAX_SOURCES);
	*source = (struct source){ .fd = fd, .armed = events != 0, .ready = ready };
	sources[source_count].source = source;
	sources[source_count++].events = events;
	return true;
}

void source_arm(struct source *source, uint32_t events)
{
	MUST(source->fd >= 0);
	sources[index_of(source)].events = events;
	source->armed = true;
}

void source_take_over(struct source *source, struct source *other, void (*ready)(struct source *source))
{
	unsigned index = index_of(other);

	*source = (struct source){ .fd = other->fd, .ready = ready };
	sources[index].source = source;
	other->fd = -1;
	other->armed = false;
}

void source_close(struct source *source)
{
	if (source->fd < 0)
		return;
	sources[index_of(source)] = sources[--source_count];
	close(source->fd);
	source->fd = -1;
	source->armed = false;
}

unsigned fake_open_sources(void)
{
	return source_count;
}

/* One turn: false when nothing was ready. */
static bool turn(void)
{
	static struct pollfd waits[MAX_SOURCES];
	static struct source *waiting[MAX_SOURCES];
	unsigned count = 0;
	bool any = false;
	int ready;

	for (unsigned i = 0; i < source_count; i++) {
		if (!sources[i].source->armed)
			continue;
		waits[count] = (struct pollfd){
			.fd = sources[i].source->fd,
			.events = (short)(sources[i].events == EPOLLOUT ? POLLOUT : POLLIN),
		};
		waiting[count++] = sources[i].source;
	}
	/* The fuzzer's own alarm interrupts even a poll that does not wait. */
	do
		ready = poll(waits, count, 0);
	while (ready < 0 && errno == EINTR);
	MUST(ready >= 0);
	for (unsigned i = 0; i < count; i++) {
		/* A handler before this one may have closed it. */
		if (waits[i].revents == 0 || waiting[i]->fd != waits[i].fd || !waiting[i]->armed)
			continue;
		waiting[i]->armed = false;
		waiting[i]->ready(waiting[i]);
		any = true;
	}
	return any;
}

void fake_settle(void)
{
	bool more = true;

	for (unsigned turns = 0; more && !session_ending(); turns++) {
		MUST(turns < MAX_TURNS);
		/* In this order: what a connection's turn arms may be ready already. */
		more = connections_turn();
		more |= turn();
	}
}

/* --- processes ----------------------------------------------------------------------------------- */

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

/* --- servers -------------------------------------------------------------------------------------- */

/* By descriptor: how a connection under way will be answered. */
static int outcomes[65536];

/* A socket whose other end is a process of ours: -1 when there is no room for one. */
static int join_process(int ends[2])
{
	struct process *process = NULL;

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

int socket_dial(bool six, uint16_t port)
{
	int ends[2];

	if (six || port == FAKE_ABSENT || join_process(ends) < 0) {
		errno = EADDRNOTAVAIL;
		return -1;
	}
	outcomes[ends[0]] = port == FAKE_REFUSES ? ECONNREFUSED : port == FAKE_HANGS ? EINPROGRESS : 0;
	if (port == FAKE_HANGS) {
		/* Not writable until its other end takes something. */
		static uint8_t full[65536];

		while (write(ends[0], full, sizeof full) > 0)
			;
	}
	return ends[0];
}

/* More have connected than may wait, and they did so before anybody listened. */
int socket_listen(uint16_t port)
{
	if (port == FAKE_REFUSES) {
		errno = EADDRINUSE;
		return -1;
	}
	return eventfd(WIRE_MAX_INCOMING + 8, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
}

int socket_accept(int fd)
{
	uint64_t one;
	int ends[2];

	if (read(fd, &one, sizeof one) < 0)
		return -1;
	if (join_process(ends) >= 0)
		return ends[0];
	errno = EMFILE;
	return -1;
}

int socket_dialled(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLOUT };

	if (outcomes[fd] != EINPROGRESS || poll(&look, 1, 0) <= 0)
		return outcomes[fd];
	return look.revents & POLLHUP ? ECONNREFUSED : 0;
}

void socket_finish(int fd)
{
	(void)shutdown(fd, SHUT_WR);
}

void socket_break(int fd)
{
	(void)fd;
}

/* --- the session --------------------------------------------------------------------------------- */

struct session session = { .null_fd = -1, .proc_fd = -1, .root_fd = -1, .workspace_fd = -1 };
bool fake_configures_at_once;
/* A client keeps the container in stock: the first configuration may be late. */
static bool waits;
static bool ending;

void session_end(uint32_t reason)
{
	(void)reason;
	ending = true;
}

bool session_ending(void)
{
	return ending;
}

void configure_begin(const struct wire_message *message)
{
	(void)message;
	session.configured = true;
	if (fake_configures_at_once)
		fake_configured();
}

void fake_configured(void)
{
	if (!session.configured || session.ready)
		return;
	waits = false;
	session.ready = true;
	handshake_ready();
}

void fake_let_go(void)
{
	ending = false;
	session.configured = session.ready = true;
	handshake_ready();
}

void fake_forget(void)
{
	waits = false;
	int null_fd = session.null_fd >= 0 ? session.null_fd : open("/dev/null", O_RDWR | O_CLOEXEC);

	session = (struct session){ .null_fd = null_fd, .max_processes = 8 };
	ending = false;
	for (unsigned i = 0; i < MAX_MANAGED; i++) {
		MUST(table[i].readers == NULL && table[i].writers == NULL && table[i].task == NULL);
		if (table[i].id)
			forget(&table[i]);
	}
	last_id = last_ended = 0;
}

static void put_fields(struct connection *connection, uint8_t frame, uint32_t channel, const uint8_t *tags,
		       size_t count)
{
	struct wire_writer writer;
	uint8_t memory[1024];

	wire_writer_init(&writer, memory, sizeof memory);
	wire_begin(&writer, frame, channel);
	for (size_t i = 0; i < count; i++) {
		if (tags[i] == FIELD_KERNEL)
			wire_put_text(&writer, tags[i], "6.1", 3);
		else
			wire_put_uint(&writer, tags[i], 1);
	}
	wire_end(&writer);
	connection_send(connection, &writer);
}

void report_send(struct connection *connection)
{
	static const uint8_t tags[] = {
		FIELD_UID, FIELD_GID, FIELD_MEMORY_MAX, FIELD_SWAP_MAX, FIELD_PIDS_MAX, FIELD_CPU_QUOTA_US,
		FIELD_CPU_PERIOD_US, FIELD_OPEN_FILES, FIELD_NO_NEW_PRIVS, FIELD_SECCOMP, FIELD_CAP_BOUNDING,
		FIELD_WORKSPACE_FS, FIELD_WORKSPACE_BYTES, FIELD_ROOTFS_READONLY, FIELD_KERNEL,
		FIELD_CGROUP_VERSION, FIELD_TMP_BYTES,
	};

	put_fields(connection, FRAME_READY, 0, tags, sizeof tags);
}

void lease_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	static const uint8_t tags[] = { FIELD_UPTIME_MS, FIELD_CHANNELS };

	(void)message;
	put_fields(connection, FRAME_DONE, channel, tags, sizeof tags);
}

/* Nothing here runs, so nothing is stopped. */
bool pause_active(void)
{
	return false;
}

void pause_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	static const uint8_t tags[] = { FIELD_ENTRIES };

	(void)message;
	put_fields(connection, FRAME_DONE, channel, tags, sizeof tags);
}

void pause_left(struct connection *connection)
{
	(void)connection;
}

void lease_wait(void)
{
	waits = true;
}

bool lease_waits(void)
{
	return waits;
}

void lease_joined(void)
{
}

void lease_left(void)
{
}

void lease_busy(void)
{
}

void lease_quiet(void)
{
}

uint64_t lease_heartbeat_ms(void)
{
	return 0;
}

uint64_t lease_grace_ms(void)
{
	return 1;
}

void tree_stray_seen(void)
{
	abort();
}

/* Time stands still until the input says otherwise: then every grace is over. */
static uint64_t now_monotonic = SECOND;

void fake_pass_time(void)
{
	now_monotonic += SECOND;
	connections_due(now_monotonic);
}

uint64_t clock_monotonic(void)
{
	return now_monotonic;
}

uint64_t clock_boottime(void)
{
	return SECOND;
}

uint64_t clock_after_ms(uint64_t now, uint64_t milliseconds)
{
	return now + milliseconds * MILLISECOND;
}
