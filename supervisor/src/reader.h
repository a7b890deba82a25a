/* Channels that take something out of managed processes: their logs, their end, what there is of them. Each goes at its own
 * pace: what one does not take holds up no other, and no process. */
#ifndef FUMEHOOD_READER_H
#define FUMEHOOD_READER_H

#include "managed.h"

/* ATTACH, LOGS and STOP, whose answer is its end. */
void reader_open(struct channel *channel, struct managed *managed, const struct wire_message *message);
/* PROCESSES: all of them, or this one. */
void reader_list(struct channel *channel, struct managed *managed);

/* A log has grown or shrunk, a process has ended: go on with all that read there. */
void reader_moved(struct managed *managed);

#endif
