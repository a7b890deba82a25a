/* What the files of made-up things share. */
#ifndef FUMEHOOD_FAKE_H
#define FUMEHOOD_FAKE_H

#include "must.h"

/* A process that serves: our end of a connection with it, or -1 when there is no room for one. */
int fake_server(void);
/* Let the table of managed processes and its numbers begin again. */
void fake_forget_managed(void);

#endif
