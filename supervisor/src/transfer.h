/* File operations: PID 1's side of the helper that carries one out as the session's user. */
#ifndef FUMEHOOD_TRANSFER_H
#define FUMEHOOD_TRANSFER_H

#include "channel.h"
#include "fields.h"

/* Start a file operation on a channel, or fail it. */
void transfer_open(struct channel *channel, const struct wire_message *message);

#endif
