#define _GNU_SOURCE
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caps.h"
#include "cgroup.h"
#include "clock.h"
#include "configure.h"
#include "connection.h"
#include "lease.h"
#include "listener.h"
#include "loop.h"
#include "process.h"
#include "report.h"
#include "sandbox.h"
#include "session.h"

/* The most that a workload gets, whatever the engine's default is. */
#define OPEN_FILES 65536

__attribute__((format(printf, 1, 2))) _Noreturn static void refuse(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "fumehood supervisor: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(1);
}

/* The safety of everything below rests on these. */
static void check_place(void)
{
	if (getpid() != 1)
		refuse("it runs as process 1 of a container and as nothing else; see 'version' and 'relay'");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		refuse("no-new-privileges is not set: a command could regain capabilities");
	if (getuid() != 0)
		refuse("it must start as root, to become uid %u by itself, not as uid %u", RESERVED_ID, getuid());
	if (caps_own & ~caps_permitted())
		refuse("it needs the capabilities SETUID, SETGID and KILL");
}

/* Only what signalfd takes is blocked: a blocked signal is kept by the kernel, and a workload could queue any number of
 * real-time ones. The others find PID 1 without a handler and are dropped. */
static void arrange_signals(void)
{
	sigset_t set;

	/* Whoever started the engine may have left one of them ignored, and every command would inherit that. */
	process_set_signals(SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		refuse("signals cannot be blocked: %s", strerror(errno));
}

static int open_base(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		refuse("%s cannot be opened: %s", path, strerror(errno));
	return fd;
}

static void arrange_descriptors(void)
{
	process_close_from(3);
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			refuse("descriptor %d is closed: attach stdin, stdout and stderr", fd);
	for (int fd = 0; fd < 2; fd++)
		if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
			refuse("descriptor %d cannot be made non-blocking: %s", fd, strerror(errno));
	session.null_fd = open_base("/dev/null", O_RDWR);
	session.proc_fd = open_base("/proc", O_PATH | O_DIRECTORY);
	session.root_fd = open_base("/", O_PATH | O_DIRECTORY);
	session.pts_fd = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static void arrange_limits(void)
{
	struct rlimit core = {0, 0}, files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		refuse("the limit of open files cannot be read: %s", strerror(errno));
	if (files.rlim_max > OPEN_FILES)
		files.rlim_max = OPEN_FILES;
	if (files.rlim_cur > files.rlim_max)
		files.rlim_cur = files.rlim_max;
	session.open_files = files;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		refuse("limits cannot be set: %s", strerror(errno));
}

/* To the reserved uid, keeping what is needed to act as others, and what may have to be granted to a workload. The
 * kernel makes a process that changes its uid undumpable, and gives its /proc files to root, which may be the
 * workload; dumpable again they belong to the reserved uid, and only its own kind may trace it. */
static void become_reserved(void)
{
	uint32_t keep = caps_permitted() & (caps_own | caps_grantable);
	gid_t none[1];

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || syscall(SYS_setgroups, (size_t)0, none) < 0 ||
	    syscall(SYS_setresgid, RESERVED_ID, RESERVED_ID, RESERVED_ID) < 0 ||
	    syscall(SYS_setresuid, RESERVED_ID, RESERVED_ID, RESERVED_ID) < 0)
		refuse("it cannot become uid %u: %s", RESERVED_ID, strerror(errno));
	if (!caps_set(keep, caps_own, 0))
		refuse("capabilities cannot be set: %s", strerror(errno));
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		refuse("it cannot be made dumpable: %s", strerror(errno));
}

/* Here once instead of in every child: they all inherit it, and no command waits for its compilation. Only a build for an
 * emulator of user programs (qemu-user knows no filters) goes without; nothing that is installed is such a build. */
static void confine(void)
{
#ifndef FUMEHOOD_FOR_EMULATOR
	if (sandbox_install(RESERVED_ID) < 0)
		refuse("the seccomp filter cannot be installed: %s", strerror(errno));
#endif
}

void startup(void)
{
	check_place();
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	arrange_signals();
	umask(022);
	if (chdir("/") < 0)
		refuse("/ cannot be entered: %s", strerror(errno));
	arrange_descriptors();
	arrange_limits();
	process_stand_back();
	session.started = clock_boottime();
	report_init();
	cgroup_init();
	if (!loop_init() || !lease_init())
		refuse("no event loop: %s", strerror(errno));
	if (!configure_prepare())
		refuse("no process for the workspace: %s", strerror(errno));
	become_reserved();
	confine();
	if (!listener_open())
		refuse("no socket for relays: %s", strerror(errno));
	connection_first();
}
