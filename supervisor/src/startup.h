/* Becoming PID 1 of a session: everything that happens before the loop, where a failure still ends the process. */
#ifndef FUMEHOOD_STARTUP_H
#define FUMEHOOD_STARTUP_H

/* Returns when the loop can run. What fails is told on stderr, and the process exits with 1. */
void startup(void);

#endif
