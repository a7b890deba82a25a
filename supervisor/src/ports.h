/* Operations `connect` and `wait_port`: a server inside, reached on the loopback interface. */
#ifndef FUMEHOOD_PORTS_H
#define FUMEHOOD_PORTS_H

#include "channel.h"
#include "fields.h"

/* Start one of the two on a channel, or fail it. */
void ports_open(struct channel *channel, const struct wire_message *message);

#endif
