/* Sends every signal to process 1, `times` times each; prints which of them it was not allowed to. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attack.h"

ATTACK(signals)(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1;
	int refused = 0;

	for (int i = 0; i < times; i++)
		for (int number = 1; number <= 64; number++)
			refused += kill(1, number) < 0 && errno == EPERM;
	printf("%d refused\n", refused);
	return 0;
}
