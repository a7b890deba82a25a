#define _GNU_SOURCE
#include "reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "caps.h"
#include "clock.h"
#include "process.h"
#include "pty.h"
#include "session.h"
#include "terminal.h"

/* Where the link lies while the command's process is set up, behind its three ends, and what tells of its beginning. */
#define LINK_FD 3
#define BEGUN_FD 4

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
	/* A small packet into a socket that holds at most two of them: whole, at once. */
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

/* 0, 1 and 2 are the command's, LINK_FD and BEGUN_FD close at exec, everything else is closed here and now. */
static bool arrange_descriptors(const struct launch *launch)
{
	int ends[5] = {launch->in, launch->out, launch->err, launch->link, launch->begun ? launch->begun : launch->link};

	/* PID 1 holds 0, 1 and 2 itself, so an end that lies below 5 can only be 3 or 4. */
	for (int i = 0; i < 5; i++)
		if (ends[i] <= BEGUN_FD && (ends[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, BEGUN_FD + 1)) < 0)
			return false;
	for (int i = 0; i < 3; i++)
		if (dup2(ends[i], i) < 0)
			return false;
	if (dup3(ends[3], LINK_FD, O_CLOEXEC) < 0 || dup3(ends[4], BEGUN_FD, O_CLOEXEC) < 0)
		return false;
	process_close_from(BEGUN_FD + 1);
	return true;
}

/* In one write, which a pipe takes whole. */
static bool tell_begun(void)
{
	pid_t pid = getpid();

	return write(BEGUN_FD, &pid, sizeof(pid)) == (ssize_t)sizeof(pid);
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
static void prepare(int link)
{
	struct rlimit core = {0, 0};

	if (setsid() < 0)
		refuse(link, ERROR_IO, STEP_SETUP);
	process_yield();
	process_set_signals(SIG_DFL);
	if (setrlimit(RLIMIT_NOFILE, &session.open_files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		refuse(link, ERROR_IO, STEP_SETUP);
}

/* What a reaper may use for its next child; it uses none of it itself. */
static uint32_t caps_for_child(void)
{
	return CAP_MASK(CAP_SETUID) | CAP_MASK(CAP_SETGID) | session.caps;
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
		refuse(launch->link, pty_error(errno), STEP_TERMINAL);
	launch->in = launch->out = launch->err = terminal;
}

/* From here on with the command's own rights. The workspace stays open until the change of directory. */
_Noreturn static void become_command(struct launch *launch)
{
	struct arguments arguments;
	sigset_t none;
	int link = launch->link;

	if (!caps_set(caps_for_child(), caps_for_child(), 0) || !caps_become(launch->identity, session.caps))
		refuse(link, ERROR_PERMISSION, STEP_USER);
	if (!enter_directory(launch->message))
		refuse(link, ERROR_CWD, STEP_CWD);
	if (!arguments_make(&arguments, launch->message, launch->identity))
		refuse(link, ERROR_OUT_OF_MEMORY, STEP_SETUP);
	if (wire_uint(launch->message, FIELD_OPERATION, 0) == OPERATION_TERMINAL)
		enter_terminal(launch);
	if (!arrange_descriptors(launch) || (launch->begun && !tell_begun()))
		refuse(link, ERROR_IO, STEP_SETUP);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	arguments_exec(&arguments);
	refuse(LINK_FD, arguments.error, STEP_PROGRAM);
}

/* --- calls and orders -------------------------------------------------------------------------------------- */

bool reaper_link(int ends[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	if (fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
		return true;
	close(ends[0]);
	close(ends[1]);
	return false;
}

bool reaper_call(int link)
{
	return send(link, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

bool reaper_order(int link, const struct launch *launch)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control = {.bytes = {0}};
	struct reaper_order order = {
		.has_identity = launch->identity != &session.user, .body_length = launch->message->length,
	};
	/* sendmsg takes no pointers to const, and changes nothing. */
	struct iovec parts[] = {
		{&order, sizeof(order)},
		{(void *)(uintptr_t)launch->message->payload, launch->message->length},
		{(void *)(uintptr_t)launch->identity, sizeof(*launch->identity)},
	};
	struct msghdr message = {
		.msg_iov = parts, .msg_iovlen = order.has_identity ? 3 : 2,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int ends[3] = {launch->in, launch->out, launch->err};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(ends));
	memcpy(CMSG_DATA(header), ends, sizeof(ends));
	return launch->message->length <= REAPER_ORDER_BODY && sendmsg(link, &message, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

/* Wait for the call. False when none will ever come. */
static bool receive_call(int link)
{
	char call;
	ssize_t got;

	do
		got = read(link, &call, 1);
	while (got < 0 && errno == EINTR);
	return got == 1;
}

/* Wait for an order, its three ends and what comes behind it. False when none will ever come. */
static bool receive_order(int link, struct reaper_order *order, uint8_t *rest, size_t room, int ends[3])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec parts[] = {{order, sizeof(*order)}, {rest, room}};
	struct msghdr message = {
		.msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t got;

	do
		got = recvmsg(link, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < (ssize_t)sizeof(*order) || !CMSG_FIRSTHDR(&message) ||
	    CMSG_FIRSTHDR(&message)->cmsg_len != CMSG_LEN(3 * sizeof(int)))
		return false;
	memcpy(ends, CMSG_DATA(CMSG_FIRSTHDR(&message)), 3 * sizeof(int));
	return true;
}

_Noreturn static void wait_for_order(int link)
{
	static struct identity identity;
	static uint8_t rest[REAPER_ORDER_BODY + sizeof(identity)];
	static struct wire_message message;
	struct reaper_order order;
	struct wire_frame frame = {.type = FRAME_OPEN, .channel = 1, .payload = rest};
	int ends[3];
	struct launch launch;

	if (!receive_order(link, &order, rest, sizeof(rest), ends))
		_exit(0);
	if (order.has_identity)
		memcpy(&identity, rest + order.body_length, sizeof(identity));
	frame.length = order.body_length;
	if (fields_parse(&frame, &message))
		refuse(link, ERROR_IO, STEP_SETUP);
	launch = (struct launch){
		.message = &message, .identity = order.has_identity ? &identity : &session.user,
		.in = ends[0], .out = ends[1], .err = ends[2], .link = link,
	};
	become_command(&launch);
}

/* --- the reaper -------------------------------------------------------------------------------------------- */

/* Wait for the next child to end. 0 when none has and `now` was asked for, -1 when there is none. */
static pid_t wait_child(int *status, bool now)
{
	pid_t pid;

	do
		pid = waitpid(-1, status, __WALL | (now ? WNOHANG : 0));
	while (pid < 0 && errno == EINTR);
	return pid;
}

/* Reap until the command itself has ended and nobody else has, and tell. Returns only if nobody is left. */
static void reap(pid_t leader, int link)
{
	struct reaper_report report = {.kind = REAPER_ENDED};
	bool ended = false;
	int status;
	pid_t pid;

	/* Once the command has ended, first see whether anything else is there. */
	while ((pid = wait_child(&status, ended)) > 0) {
		if (pid != leader || ended)
			continue;
		ended = true;
		report.status = (uint32_t)status;
		report.at = clock_monotonic();
	}
	report.survivors = pid == 0;
	tell(link, &report);
	if (pid < 0)
		return;
	close(link);
	while (wait_child(&status, false) > 0)
		;
	_exit(0);
}

static pid_t fork_command(int link)
{
	pid_t pid = fork();

	if (pid < 0) {
		tell_failure(link, errno == ENOMEM ? ERROR_OUT_OF_MEMORY : ERROR_PROCESS_LIMIT, errno, STEP_FORK);
		_exit(1);
	}
	return pid;
}

static void adopt_orphans(int link)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 && !FOR_EMULATOR) {
		tell_failure(link, ERROR_UNSUPPORTED, errno, STEP_SETUP);
		_exit(1);
	}
}

/* Nothing of the tether, and none of a command's ends, stays in a reaper. */
static void settle(int link)
{
	int keep[] = {link, session.workspace_fd, session.null_fd, session.proc_fd, session.pts_fd};

	/* By the owner of a descriptor, F_SETOWN, a workload that is root reaches whom it may not signal. The two signals
	 * that nobody can ignore are the filter's to refuse. */
	process_set_signals(SIG_IGN);
	process_keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	if (!caps_set(caps_for_child(), 0, 0))
		_exit(1);
}

/* One command after the other, as long as nothing is left of the one before. */
_Noreturn static void serve(int link)
{
	while (receive_call(link)) {
		pid_t leader = fork_command(link);

		if (leader == 0) {
			prepare(link);
			wait_for_order(link);
		}
		reap(leader, link);
	}
	_exit(0);
}

_Noreturn void reaper_main(struct launch *launch)
{
	pid_t leader;

	adopt_orphans(launch->link);
	leader = fork_command(launch->link);
	if (leader == 0) {
		prepare(launch->link);
		become_command(launch);
	}
	settle(launch->link);
	reap(leader, launch->link);
	serve(launch->link);
}

_Noreturn void reaper_spare(int link)
{
	adopt_orphans(link);
	settle(link);
	serve(link);
}
