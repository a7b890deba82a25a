/* Tries to get past the filter of system calls by every way round it: other ABIs, a tracer, filters of its own. Only
 * the attempts that end in a call which must stay refused are told. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"
#include "say.h"

#define X32_BIT 0x40000000L

static long vsock(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0);
}

#if defined(__x86_64__)
/* How a child ends that makes one attempt: what it told itself, or the signal that ended it. */
static void in_child(const char *what, void (*attempt)(long), long argument)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		attempt(argument);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s signal %d\n", what, WTERMSIG(status));
	else
		printf("%s survived\n", what);
	fflush(stdout);
}

/* The 32-bit table has other numbers, and its socketcall(2) hides its arguments in memory. Pointers do not fit into
 * it, unless the memory is low. */
static void by_int80(long number)
{
	uint32_t *low = mmap((void *)0x10000, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	long result;

	if (low == MAP_FAILED)
		return;
	low[0] = AF_VSOCK;
	low[1] = SOCK_STREAM;
	low[2] = 0;
	__asm__ volatile("int $0x80" : "=a"(result)
			 : "a"(number), "b"(number == 102 ? 1L : 64999L), "c"((long)low), "d"(0L)
			 : "memory", "r8", "r9", "r10", "r11");
	printf("int80-%ld returned %ld\n", number, result);
}

static void try_other_abis(void)
{
	/* getpid, socketcall, socket, setuid32, setresuid32, io_uring_setup, keyctl, mount */
	static const long numbers[] = {20, 102, 359, 213, 208, 425, 288, 21};
	char name[32];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		snprintf(name, sizeof(name), "int80-%ld", numbers[i]);
		in_child(name, by_int80, numbers[i]);
	}
	say("x32-getpid", syscall(X32_BIT | SYS_getpid));
	say("x32-vsock", syscall(X32_BIT | SYS_socket, AF_VSOCK, SOCK_STREAM, 0));
	say("x32-setuid", syscall(X32_BIT | SYS_setuid, 64999));
}

/* A tracer may change the number of a call between its entry and its execution. */
static void try_tracer(void)
{
	struct user_regs_struct registers;
	pid_t child = fork();
	int status;

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		syscall(SYS_getppid);
		_exit(0);
	}
	waitpid(child, &status, 0);
	say("suspend-seccomp", ptrace(PTRACE_SETOPTIONS, child, 0, 1 << 21));
	if (!WIFSTOPPED(status)) {
		printf("traced-vsock not-traced\n");
		return;
	}
	while (ptrace(PTRACE_SYSCALL, child, 0, 0) == 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		if (registers.orig_rax != SYS_getppid)
			continue;
		registers.orig_rax = SYS_socket;
		registers.rdi = AF_VSOCK;
		registers.rsi = SOCK_STREAM;
		registers.rdx = 0;
		ptrace(PTRACE_SETREGS, child, 0, &registers);
		ptrace(PTRACE_SYSCALL, child, 0, 0);
		waitpid(child, &status, 0);
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		errno = (int)-(long)registers.rax;
		say("traced-vsock", (long)registers.rax < 0 ? -1 : 0);
		break;
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}
#else
static void try_other_abis(void)
{
}

static void try_tracer(void)
{
}
#endif

static int add_filter(unsigned int flags)
{
	struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {.len = 1, .filter = all};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* One that hands each socket(2) to a listener, who answers "go on". */
static int add_listener(void)
{
	struct sock_filter ask[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0x7fc00000u /* SECCOMP_RET_USER_NOTIF */),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = ask};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1u << 3 /* NEW_LISTENER */, &program);
}

static void *in_thread(void *nothing)
{
	say("thread-vsock", vsock());
	return nothing;
}

ATTACK(evade)(int argc, char **argv)
{
	pthread_t thread;

	/* The same again after execve(2), which sheds a lot and not this. */
	if (argc > 1) {
		say("exec-vsock", vsock());
		return 0;
	}
	say("vsock", vsock());
	say("vsock-high-bit", syscall(SYS_socket, 1L << 32 | AF_VSOCK, SOCK_STREAM, 0));
	say("vsock-pair", socketpair(AF_VSOCK, SOCK_STREAM, 0, (int[2]){0}));
	say("disable-by-prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_DISABLED, 0, 0, 0));
	say("disable-by-seccomp", syscall(SYS_seccomp, 99, 0, NULL));
	say("no-new-privs-off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	printf("no-new-privs %s\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? "on" : "off");
	fflush(stdout);
	try_other_abis();
	try_tracer();
	if (pthread_create(&thread, NULL, in_thread, NULL) == 0)
		pthread_join(thread, NULL);
	/* More filters can only take away. */
	printf("own-filter %s\n", add_filter(0) == 0 ? "added" : "refused");
	say("own-filter-vsock", vsock());
	printf("own-listener %s\n", add_listener() >= 0 ? "added" : "refused");
	say("own-listener-vsock", vsock());
	say("own-listener-io_uring", syscall(425, 8, (char[256]){0}));
	execl(argv[0], argv[0], "again", (char *)NULL);
	return 1;
}
