/* Writes what it was started with, byte by byte: its arguments ("argv"), or its environment ("env"); or keeps a file
 * open for writing, so that nobody can execute it ("busy"). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv, char **environment)
{
	if (argc == 3 && strcmp(argv[1], "busy") == 0) {
		if (open(argv[2], O_RDWR) < 0)
			return 1;
		puts("open");
		fflush(stdout);
		for (;;)
			pause();
	}
	if (argc > 1 && strcmp(argv[1], "env") == 0) {
		for (char **one = environment; *one; one++)
			fwrite(*one, 1, strlen(*one) + 1, stdout);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		fwrite(argv[i], 1, strlen(argv[i]) + 1, stdout);
	return 0;
}
