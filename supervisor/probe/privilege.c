/* Tries to become more than it is.
 *
 *   status        what it is: ids, capabilities, no_new_privs, seccomp
 *   plant PATH    leave a set-uid and set-gid copy of itself
 *   memfd         run itself from memory, where no mount option and no mode applies
 *   raise         limits, priorities, capabilities, ids
 *   become ID     by every call that changes a uid or gid
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "attack.h"
#include "say.h"

static int tell_status(void)
{
	static const char *const wanted[] = {"Uid:", "Gid:", "Cap", "NoNewPrivs:", "Seccomp:"};
	char line[256];
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
				fputs(line, stdout);
	return status ? 0 : 1;
}

static int copy_self(int to)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t sent;

	while ((sent = sendfile(to, from, NULL, 1 << 20)) > 0)
		;
	return sent < 0 ? -1 : 0;
}

static int plant(const char *path)
{
	/* cap_dac_override, cap_sys_admin and everything else, effective: VFS_CAP_REVISION_2. */
	static const uint32_t all[5] = {0x02000001, 0xffffffff, 0, 0xffffffff, 0};
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0755);

	if (fd < 0 || copy_self(fd) < 0 || fchmod(fd, 06755) < 0)
		return 1;
	say("file-capabilities", fsetxattr(fd, "security.capability", all, sizeof(all), 0));
	close(fd);
	return 0;
}

static int run_from_memory(char *name)
{
	char *const arguments[] = {name, "status", NULL}, *const nothing[] = {NULL};
	int fd = (int)syscall(SYS_memfd_create, "sshd", 1u /* MFD_CLOEXEC */);

	if (fd < 0 || copy_self(fd) < 0)
		return 1;
	(void)fchmod(fd, 06755);
	syscall(SYS_execveat, fd, "", arguments, nothing, AT_EMPTY_PATH);
	return 1;
}

static void try_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}}, none[2] = {{0}};

	say("capset", syscall(SYS_capset, &header, all));
	none[0].inheritable = ~0u;
	say("capset-inheritable", syscall(SYS_capset, &header, none));
	say("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0));
	say("securebits", prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NOROOT, 0, 0, 0));
	say("bounding-set", prctl(PR_CAPBSET_DROP, CAP_KILL, 0, 0, 0));
}

static void try_limits(void)
{
	char name[32];

	for (int which = 0; which < RLIM_NLIMITS; which++) {
		struct rlimit limit;

		if (getrlimit(which, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
			continue;
		limit.rlim_max++;
		snprintf(name, sizeof(name), "rlimit-%d", which);
		say(name, setrlimit(which, &limit));
	}
}

static void try_weight(void)
{
	struct sched_param first = {.sched_priority = 1};
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	for (int which = PRIO_PROCESS; which <= PRIO_USER; which++) {
		char name[32];

		snprintf(name, sizeof(name), "nice-%d", which);
		say(name, setpriority(which, 0, -1));
	}
	say("fifo", sched_setscheduler(0, SCHED_FIFO, &first));
	say("round-robin", sched_setscheduler(0, SCHED_RR, &first));
	say("ioprio-realtime", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
	say("oom-score", write(fd, "0", 1));
	say("oom-score-never", write(fd, "-1000", 5));
	say("mm-exe", prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, fd, 0, 0));
	say("pipe-size", fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 1 << 30));
}

static int become(unsigned int id)
{
	gid_t groups[1] = {id};
	const long high = 1L << 32;

	say("setuid", syscall(SYS_setuid, id));
	say("setuid-high-bit", syscall(SYS_setuid, high | id));
	say("setgid", syscall(SYS_setgid, id));
	say("setreuid", syscall(SYS_setreuid, -1, id));
	say("setreuid-real", syscall(SYS_setreuid, id, -1));
	say("setregid", syscall(SYS_setregid, -1, id));
	say("setresuid", syscall(SYS_setresuid, -1, -1, id));
	say("setresuid-high-bit", syscall(SYS_setresuid, high | id, high | id, high | id));
	say("setresgid", syscall(SYS_setresgid, id, -1, -1));
	syscall(SYS_setfsuid, id);
	printf("fsuid %s\n", (unsigned int)syscall(SYS_setfsuid, -1) == id ? "ok" : "refused");
	syscall(SYS_setfsgid, id);
	printf("fsgid %s\n", (unsigned int)syscall(SYS_setfsgid, -1) == id ? "ok" : "refused");
	/* No filter can see into a list: nothing may rest on it. It is taken, and then it must be of no use. */
	(void)!syscall(SYS_setgroups, (size_t)1, groups);
	return 0;
}

ATTACK(privilege)(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "status";

	if (strcmp(what, "plant") == 0)
		return plant(argv[2]);
	if (strcmp(what, "memfd") == 0)
		return run_from_memory(argv[0]);
	if (strcmp(what, "become") == 0)
		return become((unsigned int)atoi(argv[2]));
	if (strcmp(what, "raise") == 0) {
		try_capabilities();
		try_limits();
		try_weight();
		return 0;
	}
	return tell_status();
}
