/* Trees of processes that do not want to be found or ended. Arguments: the shape, and "leave" to exit with 0 once all
 * of the tree is there; otherwise the first process stays. "up" is printed when all are there. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

static char *first_argument;
static size_t arguments_length;
static int gate[2];

/* --- being there ----------------------------------------------------------------------------------------- */

static void stay(void)
{
	for (;;)
		pause();
}

static void in_place(void)
{
	(void)!write(gate[1], "1", 1);
}

static void await(int count)
{
	char byte;

	while (count-- > 0)
		if (read(gate[0], &byte, 1) != 1)
			_exit(9);
}

static void up(void)
{
	(void)!write(1, "up\n", 3);
}

static void close_all(void)
{
	for (int fd = 0; fd < 64; fd++)
		close(fd);
}

static pid_t clone_process(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
}

static void rest(long milliseconds)
{
	struct timespec time = {0, milliseconds * 1000000};

	nanosleep(&time, NULL);
}

/* --- shapes ---------------------------------------------------------------------------------------------- */

static void sleeping(void)
{
}

/* What a service does to be rid of everybody: a new session, twice forked, nothing open. */
static void daemons(void)
{
	for (int i = 0; i < 3; i++) {
		if (fork() == 0) {
			setsid();
			if (fork())
				_exit(0);
			in_place();
			(void)!chdir("/");
			close_all();
			stay();
		}
	}
	await(3);
	while (wait(NULL) > 0)
		;
}

/* Fifty sessions, each of which changes its pid every few milliseconds. */
static void restless(void)
{
	for (int i = 0; i < 50; i++) {
		if (fork())
			continue;
		setsid();
		in_place();
		for (;;) {
			if (fork() > 0)
				_exit(0);
			setsid();
			rest(5);
		}
	}
	await(50);
}

static void deaf_one(void)
{
	sigset_t all;

	for (int number = 1; number <= 64; number++)
		signal(number, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

static void deaf(void)
{
	deaf_one();
	for (int i = 0; i < 3; i++) {
		if (fork() == 0) {
			in_place();
			stay();
		}
	}
	await(3);
}

/* Its children become its own parent's. */
static void siblings(void)
{
	for (int i = 0; i < 3; i++) {
		if (clone_process(CLONE_PARENT | SIGCHLD) == 0) {
			setsid();
			in_place();
			stay();
		}
	}
	await(3);
}

static void orphan(void)
{
	if (fork())
		return;
	if (fork())
		_exit(0);
	setsid();
	in_place();
	stay();
}

/* Reapers of its own, one below the other, each with an orphan to keep. */
static void subreapers(void)
{
	pid_t next = fork();

	for (int depth = 0; next == 0; depth++) {
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
		orphan();
		in_place();
		next = depth < 2 ? fork() : -1;
		if (next)
			stay();
	}
	await(6);
}

/* The parent waits in the kernel until its child is gone, which it never is. */
static void vforks(void)
{
	for (int i = 0; i < 2; i++) {
		if (fork() == 0) {
			in_place();
			if (clone_process(CLONE_VFORK | SIGCHLD) == 0) {
				in_place();
				stay();
			}
			stay();
		}
	}
	await(4);
}

static void grow(int number);

/* Two more for each that dies: the death of a parent is a signal to its children. */
static void hydra_head(void)
{
	signal(SIGUSR1, grow);
	prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0);
	setsid();
}

static void grow(int number)
{
	(void)number;
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			hydra_head();
}

static void hydra(void)
{
	for (int i = 0; i < 4; i++) {
		if (fork() == 0) {
			hydra_head();
			in_place();
			if (fork() == 0) {
				hydra_head();
				in_place();
			}
			stay();
		}
	}
	await(8);
}

/* Some are stopped, and the first stops itself. */
static void stopped(void)
{
	pid_t child = fork();

	if (child == 0) {
		if (fork() == 0) {
			in_place();
			raise(SIGSTOP);
			stay();
		}
		in_place();
		stay();
	}
	await(2);
	kill(child, SIGSTOP);
	waitpid(child, NULL, WUNTRACED);
	up();
	raise(SIGSTOP);
}

/* The command line is the process's own memory. */
static void rename_arguments(void)
{
	memset(first_argument, 0, arguments_length);
	strncpy(first_argument, "/.fumehood/supervisor", arguments_length - 1);
}

/* Names that look like other fields of the process table, or like the supervisor's. */
static void names(void)
{
	static const char *const list[] = {
		"x) R 1 1 1 (", ") Z 0 0 0", "a\nPPid:\t0\n", "\n\n)(", "supervisor", "(", "\x1b[2J", "\xff\xfe",
	};

	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		if (fork() == 0) {
			prctl(PR_SET_NAME, list[i], 0, 0, 0);
			rename_arguments();
			in_place();
			stay();
		}
	}
	prctl(PR_SET_NAME, "y) Z 1 (", 0, 0, 0);
	await(sizeof(list) / sizeof(list[0]));
}

static void *stay_in_thread(void *nothing)
{
	in_place();
	stay();
	return nothing;
}

static void *exec_in_thread(void *nothing)
{
	execl("/proc/self/exe", "tree", "sleeping", NULL);
	return nothing;
}

/* One whose first thread has ended while another goes on, and one in which another thread has called exec. */
static void threads(void)
{
	pthread_t thread;

	if (fork() == 0) {
		pthread_create(&thread, NULL, stay_in_thread, NULL);
		syscall(SYS_exit, 0);
	}
	await(1);
	if (fork() == 0) {
		dup2(gate[1], 1); /* where "up" counts as three in place */
		pthread_create(&thread, NULL, exec_in_thread, NULL);
		stay();
	}
	await(3);
}

/* Processes whose end sends a deadly signal to their parent, orphaned: their new parent is the reaper. */
static void deadly_ends(void)
{
	static const int numbers[] = {SIGKILL, SIGSTOP, SIGTERM, SIGHUP, 34, 0};

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (fork() == 0) {
			pid_t parent = getpid();

			if (clone_process((unsigned long)numbers[i]) > 0)
				_exit(0);
			while (getppid() == parent)
				rest(1);
			in_place();
			_exit(0);
		}
	}
	await(sizeof(numbers) / sizeof(numbers[0]));
}

/* Goes on writing after everybody who could want it has gone. */
static void writer(void)
{
	if (fork() == 0) {
		static char block[65536];

		signal(SIGPIPE, SIG_IGN);
		in_place();
		for (;;)
			(void)!write(1, block, sizeof(block));
	}
	await(1);
}

/* --------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*make)(void);
} shapes[] = {
	{"sleeping", sleeping}, {"daemons", daemons}, {"restless", restless}, {"deaf", deaf},
	{"siblings", siblings}, {"subreapers", subreapers}, {"vforks", vforks}, {"hydra", hydra},
	{"stopped", stopped}, {"names", names}, {"threads", threads}, {"deadly ends", deadly_ends},
	{"writer", writer},
};

ATTACK(tree)(int argc, char **argv)
{
	if (argc < 2 || pipe(gate) < 0)
		return 9;
	first_argument = argv[0];
	arguments_length = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if (strcmp(shapes[i].name, argv[1]) != 0)
			continue;
		shapes[i].make();
		up();
		if (argc > 2)
			return 0;
		stay();
	}
	return 9;
}
