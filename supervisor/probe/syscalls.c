/* Makes the system calls that a workload has no business with, each in a form that would work if it were allowed, and
 * would do the machine no harm. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"
#include "say.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#define KEYRING (-3) /* the session's */
#define HIGH_BIT (1L << 32)

static char zeroes[256];

/* A child that was really made must not go on with the attempts. */
static long try_clone(unsigned long flags)
{
	long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid((pid_t)child, NULL, 0);
	return child;
}

static void try_namespaces(void)
{
	static const struct { const char *name; int flag; } kinds[] = {
		{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
		{"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
	};
	char name[32];
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(name, sizeof(name), "unshare-%s", kinds[i].name);
		say(name, unshare(kinds[i].flag));
		snprintf(name, sizeof(name), "unshare-user+%s", kinds[i].name);
		say(name, unshare(CLONE_NEWUSER | kinds[i].flag));
		if (kinds[i].flag == CLONE_NEWTIME)
			continue; /* the low byte of clone's flags is a signal */
		snprintf(name, sizeof(name), "clone-%s", kinds[i].name);
		say(name, try_clone((unsigned long)kinds[i].flag));
	}
	say("clone3", syscall(SYS_clone3, zeroes, 88));
	say("setns", setns(own, 0));
	say("setns-pidfd", setns((int)syscall(SYS_pidfd_open, getppid(), 0), CLONE_NEWNS));
	say("sethostname", sethostname("x", 1));
	say("setdomainname", setdomainname("x", 1));
}

static void try_mounts(void)
{
	int root = open("/", O_RDONLY | O_DIRECTORY);
	union { uint32_t head[2]; char bytes[64]; } handle = {.head = {8, 1}};

	say("mount", mount("none", "/tmp", "tmpfs", 0, ""));
	say("mount-remount", mount("none", "/proc/sys", "", MS_REMOUNT | MS_BIND, ""));
	say("mount-bind", mount("/", "/tmp", "", MS_BIND, ""));
	say("umount", umount2("/proc/sys", MNT_DETACH));
	say("pivot_root", syscall(SYS_pivot_root, "/", "/"));
	say("chroot", chroot("/"));
	say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	say("fspick", syscall(SYS_fspick, root, "", 0));
	say("open_tree", syscall(SYS_open_tree, root, "", 0x1001 /* AT_EMPTY_PATH | OPEN_TREE_CLONE */));
	say("move_mount", syscall(SYS_move_mount, root, "", root, "", 4));
	say("mount_setattr", syscall(442, root, "", 0, zeroes, 32));
	say("open_by_handle_at", syscall(SYS_open_by_handle_at, root, &handle, O_RDONLY));
	say("quotactl", syscall(SYS_quotactl, 0, "/dev/sda", 0, zeroes));
	say("swapon", syscall(SYS_swapon, "/dev/sda", 0));
	say("acct", syscall(SYS_acct, "/tmp/acct"));
}

static void try_kernel(void)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(event),
					.config = PERF_COUNT_SW_CPU_CLOCK};

	say("io_uring_setup", syscall(425, 8, zeroes));
	say("io_uring_setup-high-bit", syscall(425, HIGH_BIT | 8, zeroes));
	say("io_uring_enter", syscall(426, 0, 1, 0, 0, NULL, 0));
	say("io_uring_register", syscall(427, 0, 0, zeroes, 1));
	say("af_alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
	say("af_alg-high-bit", syscall(SYS_socket, HIGH_BIT | AF_ALG, SOCK_SEQPACKET, 0));
	say("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
	say("userfaultfd-user-mode", syscall(SYS_userfaultfd, O_CLOEXEC | 1));
	say("keyctl", syscall(SYS_keyctl, 0, KEYRING, 1));
	say("keyctl-join", syscall(SYS_keyctl, 1, NULL));
	say("add_key", syscall(SYS_add_key, "user", "x", "y", 1, KEYRING));
	say("request_key", syscall(SYS_request_key, "user", "x", NULL, KEYRING));
	say("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)));
	say("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
	say("perf_event_open-everybody", syscall(SYS_perf_event_open, &event, -1, 0, -1, 0));
	say("init_module", syscall(SYS_init_module, zeroes, sizeof(zeroes), ""));
	say("finit_module", syscall(SYS_finit_module, 0, "", 0));
	say("delete_module", syscall(SYS_delete_module, "x", 0));
	say("syslog", syscall(SYS_syslog, 3 /* read all */, zeroes, sizeof(zeroes)));
	say("fanotify_init", syscall(SYS_fanotify_init, 0, O_RDONLY));
	say("lookup_dcookie", syscall(SYS_lookup_dcookie, 1L, zeroes, sizeof(zeroes)));
	say("kcmp", syscall(SYS_kcmp, getpid(), 1, 0, 0, 0));
}

static void try_machine(void)
{
	struct timex same = {0};
	struct timespec now;
	struct timeval present;

	clock_gettime(CLOCK_REALTIME, &now);
	say("clock_settime", clock_settime(CLOCK_REALTIME, &now));
	gettimeofday(&present, NULL);
	say("settimeofday", syscall(SYS_settimeofday, &present, NULL));
	syscall(SYS_adjtimex, &same);
	same.modes = ADJ_TICK;
	say("adjtimex", syscall(SYS_adjtimex, &same));
	say("clock_adjtime", syscall(SYS_clock_adjtime, CLOCK_REALTIME, &same));
	say("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef /* Ctrl-Alt-Del off */, NULL));
	say("kexec_load", syscall(SYS_kexec_load, 0L, 0L, NULL, 0L));
	say("kexec_file_load", syscall(SYS_kexec_file_load, 0, 0, 1L, "", 4L));
	/* Without randomized addresses a hole in a program is easier to use, and 32-bit addresses reach code of the kernel. */
	say("personality-fixed-addresses", syscall(SYS_personality, 0x0040000));
	say("personality-read-implies-exec", syscall(SYS_personality, 0x0400000));
	say("personality-page-zero", syscall(SYS_personality, 0x0100000));
	say("vhangup", syscall(SYS_vhangup));
#ifdef SYS_iopl
	say("iopl", syscall(SYS_iopl, 3));
	say("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
#endif
#ifdef SYS_uselib
	say("uselib", syscall(SYS_uselib, "/tmp/x"));
	say("sysfs", syscall(SYS_sysfs, 3));
#endif
}

ATTACK(syscalls)(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	try_namespaces();
	try_mounts();
	try_kernel();
	try_machine();
	return 0;
}
