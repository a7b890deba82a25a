/* Changes what a name means, for ever, each time in one step, so that there is something at every moment.
 *   exchange A B          the two names change places
 *   link NAME TARGET      NAME is a new file, then a link to TARGET, then a new file, …
 *   fifo NAME             the same with a FIFO
 * A new file reads "inside". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT "swap.next"

static int new_file(void)
{
	int fd = open(NEXT, O_WRONLY | O_CREAT | O_EXCL, 0644);
	int failed = fd < 0 || write(fd, "inside", 6) != 6;

	if (fd >= 0)
		close(fd);
	return failed ? -1 : 0;
}

static int once(char **argv, unsigned round)
{
	int failed;

	if (strcmp(argv[1], "exchange") == 0)
		return renameat2(AT_FDCWD, argv[2], AT_FDCWD, argv[3], RENAME_EXCHANGE);
	if (round % 2)
		failed = new_file();
	else if (strcmp(argv[1], "link") == 0)
		failed = symlink(argv[3], NEXT);
	else
		failed = mkfifo(NEXT, 0644);
	return failed || rename(NEXT, argv[2]) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	if (argc < 3 || once(argv, 0) < 0) {
		perror("swap");
		return 1;
	}
	puts("up");
	fflush(stdout);
	for (unsigned round = 1;; round++)
		(void)once(argv, round);
}
