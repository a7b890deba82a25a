/* Tries everything that one process can do to another, and prints what was allowed. Argument: the pid. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, int allowed)
{
	if (allowed)
		printf("%s\n", what);
}

static void try_open(int pid, const char *name, int flags)
{
	char path[64], text[16];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, flags | O_NONBLOCK);
	if (fd < 0)
		return;
	/* Some open and only then say no. */
	tell(name, (flags & O_ACCMODE) != O_RDONLY ? write(fd, "0", 1) >= 0 : read(fd, text, 16) > 0);
	close(fd);
}

int main(int argc, char **argv)
{
	int pid = argc > 1 ? atoi(argv[1]) : 1;
	char byte, path[64];
	struct iovec local = {&byte, 1}, remote = {(void *)main, 1};
	struct rlimit limit = {1, 1};
	struct sched_param weight = {0};
	cpu_set_t processors;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	try_open(pid, "environ", O_RDONLY);
	try_open(pid, "mem", O_RDWR);
	try_open(pid, "maps", O_RDONLY);
	try_open(pid, "auxv", O_RDONLY);
	try_open(pid, "syscall", O_RDONLY);
	try_open(pid, "stack", O_RDONLY);
	try_open(pid, "fd/0", O_RDONLY);
	try_open(pid, "fd/1", O_WRONLY);
	try_open(pid, "oom_score_adj", O_WRONLY);
	try_open(pid, "coredump_filter", O_WRONLY);
	try_open(pid, "timerslack_ns", O_WRONLY);
	try_open(pid, "clear_refs", O_WRONLY);
	snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
	tell("cwd", chdir(path) == 0);
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	tell("root", chdir(path) == 0);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	tell("exe", open(path, O_RDONLY) >= 0);
	tell("ptrace attach", ptrace(PTRACE_ATTACH, pid, 0, 0) == 0);
	tell("ptrace seize", ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
	tell("process_vm_readv", process_vm_readv(pid, &local, 1, &remote, 1, 0) == 1);
	tell("process_vm_writev", process_vm_writev(pid, &local, 1, &remote, 1, 0) == 1);
	tell("pidfd_getfd", pidfd >= 0 && syscall(SYS_pidfd_getfd, pidfd, 1, 0) >= 0);
	tell("prlimit", prlimit(pid, RLIMIT_NOFILE, &limit, NULL) == 0);
	tell("setpriority", setpriority(PRIO_PROCESS, (id_t)pid, 19) == 0);
	tell("sched_setscheduler", sched_setscheduler(pid, SCHED_IDLE, &weight) == 0);
	CPU_ZERO(&processors);
	CPU_SET(0, &processors);
	tell("sched_setaffinity", sched_setaffinity(pid, sizeof(processors), &processors) == 0);
	tell("setpgid", setpgid(pid, 0) == 0);
	if (pid != 1)
		tell("kill", kill(pid, SIGKILL) == 0);
	tell("setresuid", syscall(SYS_setresuid, 64999, 64999, 64999) == 0);
	tell("setreuid", syscall(SYS_setreuid, -1, 64999) == 0);
	tell("setfsuid", syscall(SYS_setfsuid, 64999) >= 0 && syscall(SYS_setfsuid, -1) == 64999);
	tell("setresgid", syscall(SYS_setresgid, 64999, 64999, 64999) == 0);
	printf("probed\n");
	return 0;
}
