/* Holds a write lease on a file and never gives it up by itself. Arguments: the file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT, 0644) : -1;

	/* Who breaks the lease is told by a signal that would end us. */
	signal(SIGIO, SIG_IGN);
	if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		perror("lease");
		return 1;
	}
	puts("up");
	fflush(stdout);
	for (;;)
		pause();
}
