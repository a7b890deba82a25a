/* Traces processes and never looks after them: what has ended stays, as long as its tracer does not care. Arguments:
 * the pids, or none for a tree that traces itself. "seized" or "refused" is printed once that is clear. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void stay(void)
{
	for (;;)
		pause();
}

static pid_t child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		stay();
	return pid;
}

static int seize(pid_t pid)
{
	return ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT | PTRACE_O_TRACEFORK) == 0;
}

static void tell(int seized)
{
	const char *word = seized ? "seized\n" : "refused\n";

	(void)!write(1, word, strlen(word));
}

/* One sibling traces another that is stopped, and is itself stopped then. */
static void trace_each_other(void)
{
	pid_t first = child(), second = child(), tracer = fork();
	int seized;

	if (tracer == 0) {
		seized = seize(first) && seize(second);
		(void)ptrace(PTRACE_INTERRUPT, first, 0, 0);
		tell(seized);
		raise(SIGSTOP);
		stay();
	}
	waitpid(tracer, NULL, WUNTRACED);
	stay();
}

int main(int argc, char **argv)
{
	int seized = 0;

	if (argc == 1)
		trace_each_other();
	for (int i = 1; i < argc; i++)
		seized |= seize(atoi(argv[i]));
	tell(seized);
	stay();
	return 9;
}
