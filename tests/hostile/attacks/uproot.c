/* Tries to take a directory that is a mount away from where it is, or to put something over it; prints how much of
 * that was refused. Argument: the directory. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *at = argc > 1 ? argv[1] : "/workspace";
	int refused = 0;

	refused += rmdir(at) < 0;
	refused += unlink(at) < 0;
	refused += rename(at, "/tmp/moved") < 0;
	refused += rename("/tmp", at) < 0;
	refused += umount2(at, MNT_DETACH) < 0;
	refused += mount("none", at, "tmpfs", 0, NULL) < 0;
	refused += mount("/tmp", at, NULL, MS_BIND, NULL) < 0;
	refused += mount(at, "/tmp", NULL, MS_MOVE, NULL) < 0;
	refused += mount(NULL, at, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0;
	refused += syscall(SYS_pivot_root, at, at) < 0;
	refused += chroot(at) < 0;
	refused += unshare(CLONE_NEWNS) < 0;
	refused += unshare(CLONE_NEWUSER) < 0;
	printf("%d of 13 refused\n", refused);
	return 0;
}
