/* Connections from inside: a port on the container's loopback interface, whose connections a client takes over, one by one.
 *
 * One port at a time in a session, and few connections that wait: the kernel's queue holds back the others.
 */
#ifndef FUMEHOOD_INCOMING_H
#define FUMEHOOD_INCOMING_H

#include "channel.h"

/* An OPEN of `listen`. */
void incoming_listen(struct channel *channel, const struct wire_message *message);
/* An OPEN of `accept`: the connection goes on as stream.c's. */
void incoming_accept(struct channel *channel, const struct wire_message *message);

#endif
