/* A connection's way to READY: HELLO and WELCOME, and CONFIGURE for the one that configures the session. */
#ifndef FUMEHOOD_HANDSHAKE_H
#define FUMEHOOD_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct connection;

/* Frames of the client, each in the one state in which it may come: a VIOLATION_* or 0. */
uint32_t handshake_hello(struct connection *connection, const struct wire_frame *frame);
uint32_t handshake_configure(struct connection *connection, const struct wire_frame *frame);

/* WELCOME for a connection, or for one that is `back` on another stream. */
void handshake_put_welcome(struct wire_writer *writer, const struct connection *connection, bool back);
/* END, and the connection is closed. error: ERROR_* or 0. */
void handshake_refuse(struct connection *connection, uint32_t reason, uint32_t error);
/* All bytes are looked at, whatever they are: the time it takes says nothing. */
bool handshake_same_secret(const uint8_t *one, const uint8_t *other, size_t length);

/* The configuration has been carried out: answer READY, let everybody go on. */
void handshake_ready(void);

#endif
