/* What keeps the session alive: a client, its time to live, its work. */
#ifndef FUMEHOOD_LEASE_H
#define FUMEHOOD_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"

struct connection;

/* Before anything is known: only the time to be configured. False with errno. */
bool lease_init(void);
/* A CONFIGURE's terms, which hold from lease_begin on. 0 or an ERROR_*. */
uint32_t lease_configure(const struct wire_message *message);
void lease_begin(void);
/* The configuration may come late: its client keeps the container in stock, and is heard meanwhile. */
void lease_wait(void);
bool lease_waits(void);

/* Operations `lease` and `status`. */
void lease_answer(struct connection *connection, uint32_t channel, const struct wire_message *message);

/* Clients come and go; channels are live or none is. */
void lease_joined(void);
void lease_left(void);
void lease_busy(void);
void lease_quiet(void);

/* 0: no heartbeat is expected. */
uint64_t lease_heartbeat_ms(void);
/* How long a client that lost its stream may take to come back. */
uint64_t lease_grace_ms(void);
/* Whether the session outlives its clients. */
bool lease_detached(void);

/* Monotonic deadlines. The TTL has a timer of its own, which counts sleep. */
uint64_t lease_deadline(void);
void lease_due(uint64_t now);

#endif
