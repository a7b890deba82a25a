/* What holds whatever the input: the fuzzer keeps an input for which it does not. */
#ifndef FUMEHOOD_MUST_H
#define FUMEHOOD_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif
