/* The session's last words: the one place but the loop that waits, and only for so long. */
#ifndef FUMEHOOD_FAREWELL_H
#define FUMEHOOD_FAREWELL_H

#include <stdint.h>

#include "wire.h"

/* The last frame to everybody who was greeted, and at most this long for it to leave. */
void farewell(const struct wire_writer *end, uint64_t patience);

#endif
