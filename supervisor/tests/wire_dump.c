/* wire-dump client|supervisor|record: print the frames on stdin, one line each. The text is described in
 * protocol/vectors/README.md; the tests hold the Python reader against it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"

int main(int argc, char **argv)
{
	enum dump_source source;
	uint8_t *bytes = NULL;
	size_t n = 0, capacity = 0;
	ssize_t got = 1;

	if (argc != 2 || !dump_source(argv[1], &source)) {
		fprintf(stderr, "usage: wire-dump client|supervisor|record <bytes\n");
		return 2;
	}
	while (got > 0) {
		if (n == capacity) {
			capacity = capacity == 0 ? 65536 : 2 * capacity;
			bytes = realloc(bytes, capacity);
			if (bytes == NULL)
				return 1;
		}
		got = read(STDIN_FILENO, bytes + n, capacity - n);
		if (got > 0)
			n += (size_t)got;
	}
	dump_stream(stdout, source, bytes, n, NULL);
	free(bytes);
	return got < 0 || fflush(stdout) != 0;
}
