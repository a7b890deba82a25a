/* Hunts every process that it may touch, for ever: what works on files for the session has the same uid as we do.
 * Argument: "kill", "stop", or "limit": take away the right to write, to open and to have memory. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Pids are given out in turn: what starts next is a little above the last one. */
static int last_pid(void)
{
	char text[128] = "", *last;
	FILE *file = fopen("/proc/loadavg", "r");

	if (!file)
		return 0;
	last = fgets(text, sizeof(text), file) ? strrchr(text, ' ') : NULL;
	fclose(file);
	return last ? atoi(last) : 0;
}

static void limit(int pid)
{
	static const struct rlimit none = {0, 0};
	static const int kinds[] = {RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_CPU};

	for (unsigned i = 0; pid != getpid() && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		(void)prlimit(pid, kinds[i], &none, NULL);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";

	puts("up");
	fflush(stdout);
	for (;;) {
		int last = last_pid();

		if (strcmp(how, "limit") == 0)
			for (int pid = last - 4; pid < last + 32; pid++)
				limit(pid);
		else
			/* Everybody but process 1 and ourselves. */
			(void)kill(-1, strcmp(how, "stop") == 0 ? SIGSTOP : SIGKILL);
	}
}
