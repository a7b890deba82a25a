/* Reads and writes its standard streams in unpleasant ways. The first argument says how:
 *   flood N      writes N bytes to each of both streams, a block to one and a block to the other
 *   single N     writes N bytes to each of both streams, one byte at a time
 *   line N       writes N bytes to standard output without a newline
 *   drip N       copies its input to its output in pieces of N bytes, each a write of its own
 *   deaf SECONDS writes "up", and reads nothing
 *   slow N       reads N bytes of its input, one by one with a pause, then all of it, while a child floods the output
 *                with N mebibytes; ends with the number of bytes read and their sum on the standard error */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

static char block[1 << 16];

static void say(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0)
			exit(1);
		data += n;
		size -= (size_t)n;
	}
}

static void flood(long long count, size_t piece)
{
	for (long long left = count; left > 0; left -= (long long)piece) {
		size_t now = left < (long long)piece ? (size_t)left : piece;

		/* A byte that tells where it stands: what is kept must be the very first ones. */
		if (piece == 1)
			block[0] = (char)('a' + (count - left) % 26);
		say(1, block, now);
		say(2, block, now);
	}
}

static void drip(size_t piece)
{
	size_t held = 0;
	ssize_t n;

	while ((n = read(0, block + held, piece - held)) > 0) {
		held += (size_t)n;
		if (held == piece) {
			say(1, block, held);
			held = 0;
		}
	}
	say(1, block, held);
}

static void slow(int count)
{
	unsigned long long read_so_far = 0, sum = 0;
	unsigned char byte;
	ssize_t n;

	if (fork() == 0) {
		for (int i = 0; i < 16 * count; i++)
			say(1, block, sizeof(block));
		_exit(0);
	}
	for (int i = 0; i < count && read(0, &byte, 1) == 1; i++) {
		read_so_far++;
		sum += byte;
		usleep(10000);
	}
	while ((n = read(0, block, sizeof(block))) > 0) {
		read_so_far += (unsigned long long)n;
		for (ssize_t i = 0; i < n; i++)
			sum += (unsigned char)block[i];
	}
	wait(NULL);
	fprintf(stderr, "%llu %llu\n", read_so_far, sum);
}

ATTACK(talk)(int argc, char **argv)
{
	long long count = argc > 2 ? atoll(argv[2]) : 1;

	memset(block, 'x', sizeof(block));
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "flood") == 0)
		flood(count, sizeof(block));
	else if (strcmp(argv[1], "single") == 0)
		flood(count, 1);
	else if (strcmp(argv[1], "line") == 0)
		while (count > 0) {
			size_t now = count < (long long)sizeof(block) ? (size_t)count : sizeof(block);

			say(1, block, now);
			count -= (long long)now;
		}
	else if (strcmp(argv[1], "drip") == 0)
		drip((size_t)count);
	else if (strcmp(argv[1], "slow") == 0)
		slow((int)count);
	else {
		say(1, "up\n", 3);
		sleep((unsigned)count);
	}
	return 0;
}
