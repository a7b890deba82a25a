/* Looking a user up in the container's database: in a helper with little rights and a deadline. */
#ifndef FUMEHOOD_LOOKUP_H
#define FUMEHOOD_LOOKUP_H

#include "channel.h"
#include "fields.h"

/* For a command: exec_start follows, or FAIL. */
void lookup_for_exec(struct channel *channel, const struct wire_message *message, const uint8_t *user,
		     uint32_t length);

/* For the session itself: configure_user follows. */
void lookup_for_session(const char *user);

#endif
