/* Tries to leave its control groups, or to change them: every file and directory of theirs, whatever it is called, and
 * the calls that make new ones. Prints what worked, and "up". It stays. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
#define CLONE3 435
#define INTO_CGROUP 0x200000000ull

static int files, directories;

static void try_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_NONBLOCK);

	files++;
	if (fd >= 0 && write(fd, "1", 1) >= 0)
		printf("write %s\n", path);
	close(fd);
	if (chmod(path, 0777) == 0)
		printf("chmod %s\n", path);
}

static void try_directory(const char *path)
{
	char made[4096];

	directories++;
	snprintf(made, sizeof(made), "%.4000s/made", path);
	if (mkdir(made, 0777) == 0)
		printf("mkdir %s\n", made);
	/* Version 1 lets the root of a hierarchy run a program of the machine's when a group is empty. */
	snprintf(made, sizeof(made), "%.4000s/release_agent", path);
	if (open(made, O_WRONLY | O_CREAT, 0777) >= 0)
		printf("open %s\n", made);
}

static int visit(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status;
	(void)place;
	if (kind == FTW_F)
		try_file(path);
	else if (kind == FTW_D)
		try_directory(path);
	return 0;
}

static void tell(const char *what, int worked)
{
	if (worked)
		printf("%s\n", what);
}

static void try_calls(void)
{
	uint64_t arguments[11] = {INTO_CGROUP, 0, 0, 0, SIGCHLD};

	arguments[10] = (uint64_t)open(ROOT, O_RDONLY | O_DIRECTORY);
	tell("a control group namespace", unshare(CLONE_NEWCGROUP) == 0);
	tell("a mount namespace", unshare(CLONE_NEWNS) == 0);
	tell("a user namespace", unshare(CLONE_NEWUSER) == 0);
	tell("a process namespace", unshare(CLONE_NEWPID) == 0);
	tell("a mount of version 1", mount("none", "/tmp", "cgroup", 0, "memory") == 0);
	tell("a mount of version 2", mount("none", "/tmp", "cgroup2", 0, NULL) == 0);
	tell("a writable mount", mount(NULL, ROOT, NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
	tell("a child elsewhere", syscall(CLONE3, arguments, sizeof(arguments)) >= 0);
	tell("its own groups by name", open("/proc/self/cgroup", O_WRONLY) >= 0);
}

int main(void)
{
	nftw(ROOT, visit, 16, FTW_PHYS);
	try_calls();
	printf("%s\n", files > 3 && directories > 0 ? "up" : "nothing was tried");
	fflush(stdout);
	for (;;)
		pause();
}
