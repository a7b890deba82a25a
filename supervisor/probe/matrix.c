/* Tries everything that one process can do to another. Arguments: "supervisor" for process 1 and all of its user, or
 * "child" for a process of its own, which shows that a probe works where nothing forbids it. Prints what was
 * allowed, then how many probes there were for each process, and how many processes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

#define PATH 400
#ifndef PTRACE_SEIZE
#define PTRACE_SEIZE 0x4206
#endif

static int probes, first_pid;

static void tell(pid_t pid, const char *what, const char *detail, int allowed)
{
	probes++;
	if (allowed)
		printf("%s: %s%s\n", pid == first_pid ? "first" : "another", what, detail);
}

/* --- its files ------------------------------------------------------------------------------------------- */

static void try_read(pid_t pid, const char *name)
{
	char path[PATH], byte;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	tell(pid, "read ", name, fd >= 0 && pread(fd, &byte, 1, 0) == 1);
	close(fd);
}

static void try_list(pid_t pid, const char *name)
{
	char path[PATH];
	struct dirent *entry;
	int found = 0;
	DIR *list;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	list = opendir(path);
	while (list && (entry = readdir(list)))
		found += entry->d_name[0] != '.';
	tell(pid, "list ", name, found > 0);
	if (list)
		closedir(list);
}

static void try_link(pid_t pid, const char *name)
{
	char path[PATH], target[PATH];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	tell(pid, "readlink ", name, readlink(path, target, sizeof(target)) > 0);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	tell(pid, "open ", name, fd >= 0);
	close(fd);
	fd = open(path, O_WRONLY | O_NONBLOCK);
	tell(pid, "open for writing ", name, fd >= 0);
	close(fd);
	fd = open(path, O_PATH);
	tell(pid, "open as a path ", name, fd >= 0);
	close(fd);
}

/* Every file of a directory, whatever it is called: a new kernel may have new ones. */
static void try_write_all(pid_t pid, const char *directory)
{
	char path[PATH], file[2 * PATH];
	struct dirent *entry;
	struct stat status;
	DIR *list;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, directory);
	list = opendir(path);
	while (list && (entry = readdir(list))) {
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (lstat(file, &status) < 0 || !S_ISREG(status.st_mode))
			continue;
		fd = open(file, O_WRONLY | O_NONBLOCK);
		/* Some open and only then say no. */
		tell(pid, "write ", entry->d_name, fd >= 0 && write(fd, "0", 1) >= 0);
		close(fd);
		fd = open(file, O_RDWR | O_NONBLOCK);
		tell(pid, "write at the stack ", entry->d_name, fd >= 0 && pwrite(fd, "0", 1, (off_t)(long)&fd) >= 0);
		close(fd);
		tell(pid, "chmod ", entry->d_name, chmod(file, 0666) == 0);
	}
	if (list)
		closedir(list);
}

static void try_files(pid_t pid)
{
	static const char *const secret[] = {
		"environ", "mem", "maps", "smaps", "smaps_rollup", "numa_maps", "auxv", "syscall", "stack", "pagemap",
		"personality", "io", "timers", "fdinfo/1",
	};
	static const char *const links[] = {"cwd", "root", "exe", "fd/0", "fd/1", "fd/3", "ns/mnt", "ns/pid"};
	char task[32];

	for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
		try_read(pid, secret[i]);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		try_link(pid, links[i]);
	try_list(pid, "fd");
	try_list(pid, "map_files");
	snprintf(task, sizeof(task), "task/%d", pid);
	try_write_all(pid, ".");
	try_write_all(pid, "attr");
	try_write_all(pid, task);
}

/* --- calls ----------------------------------------------------------------------------------------------- */

/* By number: headers may be older than these calls, which have one number on all architectures. */
enum { PIDFD_SEND_SIGNAL = 424, PIDFD_GETFD = 438, PROCESS_MADVISE = 440, PROCESS_MRELEASE = 448 };

static void try_memory(pid_t pid)
{
	static char byte;
	struct iovec local = {&byte, 1}, remote = {&byte, 1};
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), node = 0, status = 0;
	void *page = &byte;

	tell(pid, "process_vm_readv", "", process_vm_readv(pid, &local, 1, &remote, 1, 0) == 1);
	tell(pid, "process_vm_writev", "", process_vm_writev(pid, &local, 1, &remote, 1, 0) == 1);
	for (int fd = 0; fd < 32; fd++)
		tell(pid, "pidfd_getfd", "", syscall(PIDFD_GETFD, pidfd, fd, 0) >= 0);
	tell(pid, "process_madvise", "", syscall(PROCESS_MADVISE, pidfd, &remote, 1, 20, 0) > 0);
	tell(pid, "process_mrelease", "", syscall(PROCESS_MRELEASE, pidfd, 0) == 0);
	tell(pid, "move_pages", "", syscall(SYS_move_pages, pid, 1L, &page, &node, &status, 0) == 0);
	tell(pid, "kcmp", "", syscall(SYS_kcmp, getpid(), pid, 1, 0, 0) >= 0);
	close(pidfd);
}

static void try_tracing(pid_t pid)
{
	tell(pid, "ptrace attach", "", ptrace(PTRACE_ATTACH, pid, 0, 0) == 0 && waitpid(pid, NULL, __WALL) == pid &&
					       ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
	tell(pid, "ptrace seize", "", ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
}

static void try_limits(pid_t pid)
{
	struct rlimit limit;
	char name[32];

	for (int resource = 0; resource < 16; resource++) {
		snprintf(name, sizeof(name), "%d", resource);
		tell(pid, "read limit ", name, syscall(SYS_prlimit64, pid, resource, NULL, &limit) == 0);
		limit.rlim_cur = 0;
		tell(pid, "set limit ", name, syscall(SYS_prlimit64, pid, resource, &limit, NULL) == 0);
	}
}

static void try_weights(pid_t pid)
{
	struct sched_param none = {0};
	cpu_set_t processors;

	CPU_ZERO(&processors);
	CPU_SET(0, &processors);
	tell(pid, "setpriority", "", setpriority(PRIO_PROCESS, (id_t)pid, 19) == 0);
	tell(pid, "setpriority of its group", "", setpriority(PRIO_PGRP, (id_t)pid, 19) == 0);
	tell(pid, "ioprio_set", "", syscall(SYS_ioprio_set, 1, pid, 3 << 13) == 0);
	tell(pid, "sched_setscheduler", "", syscall(SYS_sched_setscheduler, pid, SCHED_BATCH, &none) == 0);
	tell(pid, "sched_setparam", "", syscall(SYS_sched_setparam, pid, &none) == 0);
	tell(pid, "sched_setaffinity", "", sched_setaffinity(pid, sizeof(processors), &processors) == 0);
	tell(pid, "setpgid", "", setpgid(pid, 0) == 0);
}

static void try_signals(pid_t pid)
{
	static const int numbers[] = {0, SIGUSR1, SIGTERM, SIGSTOP, SIGCONT, SIGKILL};
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	siginfo_t info = {.si_code = SI_QUEUE};
	char name[32];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int number = numbers[i];

		snprintf(name, sizeof(name), "%d", number);
		info.si_signo = number;
		tell(pid, "kill ", name, kill(pid, number) == 0);
		/* -1 is not its group, but everybody. */
		tell(pid, "kill of its group ", name, pid != 1 && kill(-pid, number) == 0);
		tell(pid, "tgkill ", name, syscall(SYS_tgkill, pid, pid, number) == 0);
		tell(pid, "tkill ", name, syscall(SYS_tkill, pid, number) == 0);
		tell(pid, "sigqueue ", name, syscall(SYS_rt_sigqueueinfo, pid, number, &info) == 0);
		tell(pid, "tgsigqueue ", name, syscall(SYS_rt_tgsigqueueinfo, pid, pid, number, &info) == 0);
		tell(pid, "pidfd_send_signal ", name, syscall(PIDFD_SEND_SIGNAL, pidfd, number, NULL, 0) == 0);
	}
	close(pidfd);
}

static void probe(pid_t pid)
{
	try_files(pid);
	try_memory(pid);
	try_limits(pid);
	try_weights(pid);
	try_tracing(pid);
	try_signals(pid);
}

/* --- whom ------------------------------------------------------------------------------------------------ */

static int probe_supervisor(void)
{
	struct stat first, other;
	struct dirent *entry;
	char path[PATH];
	int count = 0;
	DIR *list = opendir("/proc");

	while (list && (entry = readdir(list))) {
		snprintf(path, sizeof(path), "/proc/%s", entry->d_name);
		if (!atoi(entry->d_name) || stat("/proc/1", &first) < 0 || stat(path, &other) < 0 ||
		    other.st_uid != first.st_uid)
			continue;
		probe(atoi(entry->d_name));
		count++;
	}
	if (list)
		closedir(list);
	return count;
}

static int probe_child(void)
{
	first_pid = fork();
	if (first_pid == 0) {
		signal(SIGUSR1, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		for (;;)
			pause();
	}
	probe(first_pid);
	return 1;
}

ATTACK(matrix)(int argc, char **argv)
{
	int count;

	first_pid = 1;
	count = argc > 1 && strcmp(argv[1], "child") == 0 ? probe_child() : probe_supervisor();
	printf("%d probes of %d processes\n", probes, count);
	return 0;
}
