/* Frames of a client that follows the rules of the table. */
#ifndef FUMEHOOD_CLIENT_FRAMES_H
#define FUMEHOOD_CLIENT_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* `right`: with the nonce that all clients have. */
void frame_hello(struct wire_writer *writer, bool right, bool resumable);
void frame_configure(struct wire_writer *writer);
/* Every operation takes the same few values; the table says which. */
void frame_open(struct wire_writer *writer, uint32_t channel, uint8_t operation, unsigned limit);
void frame_resize(struct wire_writer *writer, uint32_t channel, unsigned rows);

/* One of the operations, by any number. */
uint8_t frame_operation(uint8_t choice);

#endif
