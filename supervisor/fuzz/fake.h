/* What the files of made-up things share. */
#ifndef FUMEHOOD_FAKE_H
#define FUMEHOOD_FAKE_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* A process that serves: our end of a connection with it, or -1 when there is no room for one. */
int fake_server(void);
/* Let the table of managed processes and its numbers begin again. */
void fake_forget_managed(void);

#endif
