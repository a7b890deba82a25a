/* A connection's way to READY: HELLO and WELCOME, and CONFIGURE for the one that configures the session. */
#ifndef FUMEHOOD_HANDSHAKE_H
#define FUMEHOOD_HANDSHAKE_H

#include <stdint.h>

#include "wire.h"

struct connection;

/* Frames of the client, each in the one state in which it may come: a VIOLATION_* or 0. */
uint32_t handshake_hello(struct connection *connection, const struct wire_frame *frame);
uint32_t handshake_configure(struct connection *connection, const struct wire_frame *frame);

/* The configuration has been carried out: answer READY, let everybody go on. */
void handshake_ready(void);

#endif
