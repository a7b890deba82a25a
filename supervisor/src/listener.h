/* The socket at which relays knock: only those that run as the reserved uid become connections. */
#ifndef FUMEHOOD_LISTENER_H
#define FUMEHOOD_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

/* False with errno. */
bool listener_open(void);

/* After an accept that found no descriptor or no memory, when it is tried again. */
uint64_t listener_deadline(void);
void listener_due(uint64_t now);

#endif
