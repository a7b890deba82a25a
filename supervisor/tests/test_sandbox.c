#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"
#include "test.h"
#include "users.h"

#define MINUS_ONE 0xffffffffffffffffu

static void install(void)
{
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(sandbox_install(RESERVED_ID) == 0);
}

/* The errno of a raw call with whole registers, 0 when it works. */
static int attempt(long number, uint64_t one, uint64_t two, uint64_t three)
{
	return syscall(number, one, two, three) < 0 ? errno : 0;
}

TEST("sockets that reach past the container's network, and the kernel's crypto, do not exist")
{
	install();
	EQUAL(attempt(SYS_socket, AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT);
	EQUAL(attempt(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT);
	EQUAL(attempt(SYS_socketpair, AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT);
	EQUAL(attempt(SYS_socket, AF_VSOCK | 0x100000000u, SOCK_STREAM, 0), EAFNOSUPPORT);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) >= 0);
}

TEST("io_uring does not exist")
{
	install();
	EQUAL(attempt(SYS_io_uring_setup, 8, 0, 0), ENOSYS);
	EQUAL(attempt(SYS_io_uring_enter, 0, 0, 0), ENOSYS);
	EQUAL(attempt(SYS_io_uring_register, 0, 0, 0), ENOSYS);
}

TEST("nobody types into a terminal, with any bits set above the request")
{
	int fd;

	install();
	EQUAL(attempt(SYS_ioctl, 0, TIOCSTI, 0), EPERM);
	EQUAL(attempt(SYS_ioctl, 0, TIOCLINUX, 0), EPERM);
	EQUAL(attempt(SYS_ioctl, 0, TIOCSTI | 0xdead00000000u, 0), EPERM);
	fd = open("/dev/null", O_RDONLY);
	CHECK(fd >= 0);
	EQUAL(attempt(SYS_ioctl, (uint64_t)fd, FIOCLEX, 0), 0);
}

TEST("no descriptor sends a signal that cannot be ignored")
{
	int fd;

	install();
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	EQUAL(attempt(SYS_fcntl, (uint64_t)fd, F_SETSIG, SIGKILL), EPERM);
	EQUAL(attempt(SYS_fcntl, (uint64_t)fd, F_SETSIG | 0x700000000u, SIGSTOP), EPERM);
	EQUAL(attempt(SYS_fcntl, (uint64_t)fd, F_SETSIG, SIGIO), 0);
	EQUAL(attempt(SYS_fcntl, (uint64_t)fd, F_SETSIG, 0), 0);
	/* The same numbers mean something else to other requests. */
	EQUAL(attempt(SYS_fcntl, (uint64_t)fd, F_DUPFD, SIGKILL), 0);
	EQUAL(attempt(SYS_fcntl, (uint64_t)fd, F_SETFD, 0), 0);
}

TEST("no call takes the reserved id, in any of its places")
{
	uint64_t id = RESERVED_ID, high = RESERVED_ID | 0x500000000u;

	install();
	EQUAL(attempt(SYS_setuid, id, 0, 0), EPERM);
	EQUAL(attempt(SYS_setuid, high, 0, 0), EPERM);
	EQUAL(attempt(SYS_setgid, id, 0, 0), EPERM);
	EQUAL(attempt(SYS_setreuid, id, MINUS_ONE, 0), EPERM);
	EQUAL(attempt(SYS_setreuid, MINUS_ONE, id, 0), EPERM);
	EQUAL(attempt(SYS_setregid, id, MINUS_ONE, 0), EPERM);
	EQUAL(attempt(SYS_setregid, MINUS_ONE, high, 0), EPERM);
	EQUAL(attempt(SYS_setresuid, id, MINUS_ONE, MINUS_ONE), EPERM);
	EQUAL(attempt(SYS_setresuid, MINUS_ONE, high, MINUS_ONE), EPERM);
	EQUAL(attempt(SYS_setresuid, MINUS_ONE, MINUS_ONE, id), EPERM);
	EQUAL(attempt(SYS_setresgid, id, MINUS_ONE, MINUS_ONE), EPERM);
	EQUAL(attempt(SYS_setresgid, MINUS_ONE, id, MINUS_ONE), EPERM);
	EQUAL(attempt(SYS_setresgid, MINUS_ONE, MINUS_ONE, high), EPERM);
	/* These two tell the old id and no error. */
	(void)syscall(SYS_setfsuid, id);
	CHECK((uint32_t)syscall(SYS_setfsuid, -1L) != RESERVED_ID);
	(void)syscall(SYS_setfsgid, id);
	CHECK((uint32_t)syscall(SYS_setfsgid, -1L) != RESERVED_ID);
	/* Other ids, and -1 for "as it is", go through to the kernel. */
	EQUAL(attempt(SYS_setresuid, MINUS_ONE, MINUS_ONE, MINUS_ONE), 0);
	EQUAL(attempt(SYS_setresgid, MINUS_ONE, MINUS_ONE, MINUS_ONE), 0);
	EQUAL(attempt(SYS_setreuid, geteuid(), geteuid(), 0), 0);
}

TEST("the filter holds in children, and a second one does no harm")
{
	int pid, status;

	install();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(attempt(SYS_setuid, RESERVED_ID, 0, 0) == EPERM ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid);
	EQUAL(status, 0);
	/* Twice is allowed, and harmless. */
	CHECK(sandbox_install(RESERVED_ID) == 0);
}

#ifdef __x86_64__
/* getpid of the 32-bit call table, by the 32-bit door. */
static long call_by_int80(long number)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
	return result;
}

TEST("a 32-bit call ends the process that makes it")
{
	int pid = fork(), status;

	CHECK(pid >= 0);
	if (pid == 0) {
		install();
		(void)call_by_int80(20);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSIGNALED(status));
	/* SIGSEGV: this kernel has no such door at all. */
	CHECK(WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV);
}

TEST("calls of the x32 table do not exist")
{
	install();
	EQUAL(attempt(0x40000000 | SYS_getpid, 0, 0, 0), ENOSYS);
	EQUAL(attempt(0x40000000 | SYS_setuid, RESERVED_ID, 0, 0), ENOSYS);
	EQUAL(attempt(0x7fffffff, 0, 0, 0), ENOSYS);
}
#endif
