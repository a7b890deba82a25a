/* Proves that the session still runs programs. */
#include <stdio.h>

#include "attack.h"

ATTACK(hello)(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("hello");
	return 0;
}
