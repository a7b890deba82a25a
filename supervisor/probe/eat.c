/* Uses up memory. The first argument says how, the second how many MiB:
 *   touch       one process takes them all
 *   family      thirty children take their share at once, and their parent waits for them
 *   background  a child in a session of its own takes them while the command itself has exited
 *   cache FILE  writes a file of that size and reads it, again and again
 *   shared      SysV segments, left behind
 *   messages    queues full of the smallest SysV messages, left behind
 *   semaphores  sets of SysV semaphores, left behind
 * Prints what it has got when it was not killed: MiB, queues, sets. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

#define MIB ((size_t)1 << 20)
#define CHILDREN 30
#define SET 250

/* Somebody could look at it: memory that nobody ever reads need not be filled, as a compiler knows. */
static char *volatile taken;

static size_t touch(size_t mib)
{
	size_t got = 0;

	for (; got < mib; got++) {
		char *block = malloc(MIB);

		if (!block)
			break;
		memset(block, (int)got + 1, MIB);
		taken = block;
	}
	return got;
}

static size_t family(size_t mib)
{
	for (int i = 0; i < CHILDREN; i++)
		if (fork() == 0) {
			touch(mib / CHILDREN);
			pause();
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	return 0;
}

static size_t background(size_t mib)
{
	if (fork() == 0) {
		setsid();
		for (int fd = 0; fd < 3; fd++)
			close(fd);
		touch(mib);
		pause();
		_exit(0);
	}
	return 0;
}

static size_t cache(const char *name, size_t mib)
{
	static char block[1 << 20];
	int fd = open(name, O_RDWR | O_CREAT, 0644);

	for (size_t i = 0; i < mib; i++)
		if (pwrite(fd, block, MIB, (off_t)(i * MIB)) != (ssize_t)MIB)
			return i;
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < mib; i++)
			if (pread(fd, block, MIB, (off_t)(i * MIB)) != (ssize_t)MIB)
				return i;
	return mib;
}

static size_t shared(size_t mib)
{
	size_t got = 0;

	for (; got < mib; got++) {
		int id = shmget(IPC_PRIVATE, MIB, IPC_CREAT | 0600);
		char *at = id < 0 ? (char *)-1 : shmat(id, NULL, 0);

		if (at == (char *)-1)
			break;
		memset(at, 1, MIB);
	}
	return got;
}

/* A queue of 16 KiB takes as many messages of one byte, each with a header. */
static size_t messages(size_t most)
{
	static const struct {
		long type;
		char text[1];
	} letter = {.type = 1};
	size_t got = 0;

	for (; got < most; got++) {
		int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

		if (queue < 0)
			break;
		while (msgsnd(queue, &letter, 1, IPC_NOWAIT) == 0)
			;
	}
	return got;
}

static size_t semaphores(size_t most)
{
	size_t got = 0;

	while (got < most && semget(IPC_PRIVATE, SET, IPC_CREAT | 0600) >= 0)
		got++;
	return got;
}

ATTACK(eat)(int argc, char **argv)
{
	size_t mib = argc > 2 ? (size_t)atoi(argv[2]) : 0, got = 0;

	if (mib && strcmp(argv[1], "touch") == 0)
		got = touch(mib);
	else if (mib && strcmp(argv[1], "family") == 0)
		got = family(mib);
	else if (mib && strcmp(argv[1], "background") == 0)
		got = background(mib);
	else if (mib && strcmp(argv[1], "cache") == 0)
		got = cache(argv[3], mib);
	else if (mib && strcmp(argv[1], "shared") == 0)
		got = shared(mib);
	else if (mib && strcmp(argv[1], "messages") == 0)
		got = messages(mib);
	else if (mib)
		got = semaphores(mib);
	printf("%zu\n", got);
	return 0;
}
