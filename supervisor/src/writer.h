/* Channels that write to the standard input of a managed process: one after the other, in the order in which they came,
 * so that what each of them sends stays in one piece. */
#ifndef FUMEHOOD_WRITER_H
#define FUMEHOOD_WRITER_H

#include "managed.h"

/* SEND. */
void writer_open(struct channel *channel, struct managed *managed, const struct wire_message *message);
/* Nothing can be written any more. */
void writers_fail(struct managed *managed, uint32_t error);

#endif
