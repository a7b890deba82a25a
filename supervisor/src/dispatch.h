/* A connection's frames: which may come in which state, and who handles them. */
#ifndef FUMEHOOD_DISPATCH_H
#define FUMEHOOD_DISPATCH_H

#include <stdint.h>

#include "wire.h"

struct connection;

/* One whole frame, which is valid by itself: a VIOLATION_* or 0. */
uint32_t dispatch_frame(struct connection *connection, const struct wire_frame *frame);

#endif
