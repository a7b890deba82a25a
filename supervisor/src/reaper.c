#define _GNU_SOURCE
#include "reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "caps.h"
#include "clock.h"
#include "process.h"
#include "pty.h"
#include "session.h"
#include "terminal.h"

/* Where the command's ends and the report lie while its process is set up. */
#define REPORT_FD 3

/* An emulator of user programs may know no subreapers: orphans are PID 1's strays there, and die as such. */
#ifdef FUMEHOOD_FOR_EMULATOR
#define FOR_EMULATOR true
#else
#define FOR_EMULATOR false
#endif

const char *const reaper_steps[] = {
	[STEP_PROGRAM] = "program", [STEP_CWD] = "cwd", [STEP_USER] = "user",
	[STEP_FORK] = "fork", [STEP_TERMINAL] = "terminal", [STEP_SETUP] = "setup",
};

static void tell(int fd, const struct reaper_report *report)
{
	/* Less than PIPE_BUF into a pipe that holds at most two of them: whole, at once. */
	while (write(fd, report, sizeof(*report)) < 0 && errno == EINTR)
		;
}

static void tell_failure(int fd, uint32_t error, int err_no, uint32_t step)
{
	struct reaper_report report = {
		.kind = REAPER_FAILED, .error = error, .err_no = (uint32_t)err_no, .step = step,
		.at = clock_monotonic(),
	};

	tell(fd, &report);
}

_Noreturn static void refuse(int fd, uint32_t error, uint32_t step)
{
	tell_failure(fd, error, errno, step);
	_exit(127);
}

/* 0, 1 and 2 are the command's, REPORT_FD closes at exec, everything else is closed here and now. */
static bool arrange_descriptors(const struct launch *launch)
{
	int ends[4] = {launch->in, launch->out, launch->err, launch->report};

	/* PID 1 holds 0, 1 and 2 itself, so an end that lies below 4 can only be 3. */
	for (int i = 0; i < 4; i++)
		if (ends[i] <= REPORT_FD && (ends[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, REPORT_FD + 1)) < 0)
			return false;
	for (int i = 0; i < 3; i++)
		if (dup2(ends[i], i) < 0)
			return false;
	if (dup3(ends[3], REPORT_FD, O_CLOEXEC) < 0)
		return false;
	process_close_from(REPORT_FD + 1);
	return true;
}

static bool enter_directory(const struct wire_message *message)
{
	char path[WIRE_MAX_PATH + 1];
	uint32_t length;
	const uint8_t *cwd = wire_bytes(message, FIELD_CWD, &length);

	arguments_path(path, cwd, length);
	/* A workload may have closed the workspace, to everybody; what runs elsewhere can open it again. */
	if (path[0] != '/' && fchdir(session.workspace_fd) < 0)
		return false;
	return (path[0] == '.' && path[1] == '\0') || chdir(path) == 0;
}

/* What does not depend on the command. */
static void prepare(int report)
{
	struct rlimit core = {0, 0};

	if (setsid() < 0)
		refuse(report, ERROR_IO, STEP_SETUP);
	process_yield();
	if (setrlimit(RLIMIT_NOFILE, &session.open_files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		refuse(report, ERROR_IO, STEP_SETUP);
}

/* The command's ends are then its terminal, all three. */
static void enter_terminal(struct launch *launch)
{
	uint16_t rows, columns;
	int terminal;

	/* PID 1 has seen that the size is one. */
	(void)terminal_size(launch->message, &rows, &columns);
	terminal = pty_make(launch->in, rows, columns);
	if (terminal < 0)
		refuse(launch->report, pty_error(errno), STEP_TERMINAL);
	launch->in = launch->out = launch->err = terminal;
}

/* From here on with the command's own rights. The workspace stays open until the change of directory. */
_Noreturn static void become_command(struct launch *launch)
{
	struct arguments arguments;
	sigset_t none;
	int report = launch->report;

	if (!caps_become(launch->identity, session.caps))
		refuse(report, ERROR_PERMISSION, STEP_USER);
	if (!enter_directory(launch->message))
		refuse(report, ERROR_CWD, STEP_CWD);
	if (!arguments_make(&arguments, launch->message, launch->identity))
		refuse(report, ERROR_OUT_OF_MEMORY, STEP_SETUP);
	if (wire_uint(launch->message, FIELD_OPERATION, 0) == OPERATION_TERMINAL)
		enter_terminal(launch);
	if (!arrange_descriptors(launch))
		refuse(report, ERROR_IO, STEP_SETUP);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	arguments_exec(&arguments);
	refuse(REPORT_FD, arguments.error, STEP_PROGRAM);
}

/* Wait for an order and its three ends. False when none will ever come. */
static bool receive_order(int orders, struct reaper_order *order, struct identity *identity, uint8_t *body,
			  int ends[3])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec parts[] = {{order, sizeof(*order)}, {identity, sizeof(*identity)}, {body, REAPER_ORDER_BODY}};
	struct msghdr message = {
		.msg_iov = parts, .msg_iovlen = 3, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t got;

	do
		got = recvmsg(orders, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < (ssize_t)(sizeof(*order) + sizeof(*identity)) || !CMSG_FIRSTHDR(&message) ||
	    CMSG_FIRSTHDR(&message)->cmsg_len != CMSG_LEN(3 * sizeof(int)))
		return false;
	memcpy(ends, CMSG_DATA(CMSG_FIRSTHDR(&message)), 3 * sizeof(int));
	return true;
}

_Noreturn static void wait_for_order(int report, int orders)
{
	static struct identity identity;
	static uint8_t body[REAPER_ORDER_BODY];
	static struct wire_message message;
	struct reaper_order order;
	struct wire_frame frame = {.type = FRAME_OPEN, .channel = 1, .payload = body};
	int ends[3];
	struct launch launch;

	if (!receive_order(orders, &order, &identity, body, ends))
		_exit(0);
	frame.length = order.body_length;
	if (fields_parse(&frame, &message))
		refuse(report, ERROR_IO, STEP_SETUP);
	launch = (struct launch){
		.message = &message, .identity = order.has_identity ? &identity : &session.user,
		.in = ends[0], .out = ends[1], .err = ends[2], .report = report,
	};
	become_command(&launch);
}

/* Reap until nobody is left, and tell once, when the command itself has ended. */
_Noreturn static void reap(pid_t leader, int fd)
{
	struct reaper_report report = {.kind = REAPER_ENDED};
	bool ended = false;

	for (;;) {
		int status;
		/* Once the command has ended, first see whether anything else is there; then wait. */
		pid_t pid = waitpid(-1, &status, __WALL | (ended && report.kind ? WNOHANG : 0));

		if (pid < 0 && errno == EINTR)
			continue;
		if (ended && report.kind && pid <= 0) {
			report.survivors = pid == 0;
			tell(fd, &report);
			report.kind = 0;
			close(fd);
		}
		if (pid < 0)
			_exit(0);
		if (pid == leader && !ended) {
			ended = true;
			report.status = (uint32_t)status;
			report.at = clock_monotonic();
		}
	}
}

static pid_t fork_command(int report)
{
	pid_t pid;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 && !FOR_EMULATOR) {
		tell_failure(report, ERROR_UNSUPPORTED, errno, STEP_SETUP);
		_exit(1);
	}
	pid = fork();
	if (pid < 0) {
		tell_failure(report, errno == ENOMEM ? ERROR_OUT_OF_MEMORY : ERROR_PROCESS_LIMIT, errno, STEP_FORK);
		_exit(1);
	}
	return pid;
}

/* By the owner of a descriptor, F_SETOWN, a workload that is root reaches whom it may not signal. The two signals that
 * nobody can ignore are the filter's to refuse. By the kernel's own call, as in startup.c: libc refuses some. */
static void ignore_signals(void)
{
	static const unsigned long ignored[8] = {(unsigned long)SIG_IGN};

	for (int number = 1; number < NSIG; number++)
		if (number != SIGCHLD)
			(void)syscall(SYS_rt_sigaction, number, ignored, NULL, (size_t)(NSIG - 1) / 8);
}

/* Nothing of the tether, and none of a command's ends, stays in a reaper. */
_Noreturn static void watch(pid_t leader, int report)
{
	ignore_signals();
	dup2(report, 0);
	process_close_from(1);
	if (!caps_set(0, 0, 0))
		_exit(1);
	reap(leader, 0);
}

_Noreturn void reaper_main(struct launch *launch)
{
	pid_t leader = fork_command(launch->report);

	if (leader)
		watch(leader, launch->report);
	prepare(launch->report);
	become_command(launch);
}

_Noreturn void reaper_spare(int report, int orders)
{
	int keep[] = {report, orders, session.workspace_fd, session.null_fd, session.proc_fd, session.pts_fd};
	pid_t leader;

	/* It waits for long, and may keep nobody's pipe open meanwhile. */
	process_keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	leader = fork_command(report);
	if (leader)
		watch(leader, report);
	prepare(report);
	wait_for_order(report, orders);
}
