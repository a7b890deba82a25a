/* Reads and changes the supervisor's program in every way there is. Prints what worked. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "attack.h"

#define DIRECTORY "/.fumehood"
#define PROGRAM DIRECTORY "/supervisor"

static int tried;

static void tell(const char *what, int worked)
{
	tried++;
	if (worked)
		printf("%s\n", what);
}

static void try_opening(const char *path)
{
	static const int flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_WRONLY | O_APPEND, O_RDWR | O_CREAT,
	};
	char byte, reopened[64];
	int fd;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		fd = open(path, flags[i] | O_NONBLOCK, 0777);
		tell("open", fd >= 0);
		close(fd);
	}
	/* A descriptor that stands for the path alone may be opened again, or mapped. */
	fd = open(path, O_PATH);
	snprintf(reopened, sizeof(reopened), "/proc/self/fd/%d", fd);
	tell("open again", open(reopened, O_RDONLY) >= 0);
	tell("open again for writing", open(reopened, O_WRONLY) >= 0);
	tell("read a path", read(fd, &byte, 1) > 0);
	tell("map a path", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	tell("map a path for execution", mmap(NULL, 4096, PROT_EXEC, MAP_SHARED, fd, 0) != MAP_FAILED);
	tell("link a path", linkat(AT_FDCWD, reopened, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW) == 0 &&
				   open("linked", O_RDONLY) >= 0);
	close(fd);
}

static void try_changing(void)
{
	struct timespec times[2] = {{0, 0}, {0, 0}};

	tell("chmod", chmod(PROGRAM, 0777) == 0);
	tell("chmod of the directory", chmod(DIRECTORY, 0777) == 0);
	tell("chown", chown(PROGRAM, getuid(), getgid()) == 0);
	tell("truncate", truncate(PROGRAM, 0) == 0);
	tell("utimensat", utimensat(AT_FDCWD, PROGRAM, times, 0) == 0);
	tell("setxattr", setxattr(PROGRAM, "user.x", "x", 1, 0) == 0);
	tell("link", link(PROGRAM, DIRECTORY "/other") == 0);
	tell("link to the workspace", link(PROGRAM, "supervisor") == 0);
	tell("rename", rename(PROGRAM, DIRECTORY "/other") == 0);
	tell("rename over it", rename("/proc/self/exe", PROGRAM) == 0);
	tell("rename of the directory", rename(DIRECTORY, "/other") == 0);
	tell("unlink", unlink(PROGRAM) == 0);
	tell("rmdir", rmdir(DIRECTORY) == 0);
	tell("symlink", symlink("/proc/self/exe", DIRECTORY "/link") == 0);
	tell("mkdir", mkdir(DIRECTORY "/new", 0777) == 0);
	tell("a new file", open(DIRECTORY "/new", O_CREAT | O_WRONLY, 0777) >= 0);
}

static void try_mounting(void)
{
	tell("remount", mount(NULL, DIRECTORY, NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
	tell("bind over it", mount("/proc/self/exe", PROGRAM, NULL, MS_BIND, NULL) == 0);
	tell("umount", umount2(DIRECTORY, MNT_DETACH) == 0);
	tell("pivot_root", syscall(SYS_pivot_root, DIRECTORY, DIRECTORY) == 0);
}

/* Where a traced process is, 0 if its tracer may not know. */
static long place(pid_t child)
{
	struct user_regs_struct registers;
	struct iovec whole = {&registers, sizeof(registers)};

	if (ptrace(PTRACE_GETREGSET, child, NT_PRSTATUS, &whole) < 0)
		return 0;
#if defined(__x86_64__)
	return (long)registers.rip;
#else
	return (long)registers.pc;
#endif
}

/* What the kernel shows of a process that runs the program. */
static int shown(pid_t child, long at)
{
	static const char *const names[] = {"exe", "mem", "maps", "auxv"};
	char bytes[8];
	struct iovec local = {bytes, 8}, remote = {(void *)at, 8};
	int count = process_vm_readv(child, &local, 1, &remote, 1, 0) > 0;
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", child, names[i]);
		count += open(path, O_RDONLY) >= 0;
	}
	return count;
}

/* Run a program under a tracer: the memory of what runs is the program. How many ways there were to read it. */
static int read_by_tracing(const char *program)
{
	pid_t child = fork();
	int status, count;
	long at;

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(program, program, "version", NULL);
		_exit(9);
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return -1;
	at = place(child);
	count = shown(child, at);
	errno = 0;
	count += ptrace(PTRACE_PEEKDATA, child, at, 0) != -1 || errno == 0;
	count += ptrace(PTRACE_POKEDATA, child, at, 0L) == 0;
	ptrace(PTRACE_KILL, child, 0, 0);
	waitpid(child, NULL, 0);
	return count;
}

/* Everybody may execute it, and then it runs as everybody: process 1 has nothing to say to that. */
static void try_relaying(void)
{
	int ends[2];
	char byte;

	if (pipe(ends) < 0)
		return;
	if (fork() == 0) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(2);
		execl(PROGRAM, PROGRAM, "relay", NULL);
		_exit(9);
	}
	close(ends[1]);
	tell("relay", read(ends[0], &byte, 1) > 0);
	wait(NULL);
}

ATTACK(binary)(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	try_opening(PROGRAM);
	try_opening("/proc/1/exe");
	try_opening("/proc/1/root" PROGRAM);
	try_changing();
	try_mounting();
	try_relaying();
	tell("tracing", read_by_tracing(PROGRAM) != 0);
	tell("tracing of a program that may be read", read_by_tracing("/proc/self/exe") > 3);
	printf("tried %s\n", tried >= 55 ? "everything" : "little");
	return 0;
}
