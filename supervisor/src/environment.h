/* Operation `environment`: what the session's commands were given, for a client that makes the session anew. */
#ifndef FUMEHOOD_ENVIRONMENT_H
#define FUMEHOOD_ENVIRONMENT_H

#include <stdint.h>

struct connection;
struct wire_message;

void environment_answer(struct connection *connection, uint32_t channel, const struct wire_message *message);

#endif
