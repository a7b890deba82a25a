/* Carrying a CONFIGURE out: the user, then the workspace, then READY. */
#ifndef FUMEHOOD_CONFIGURE_H
#define FUMEHOOD_CONFIGURE_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"
#include "users.h"

/* Begin; what cannot be carried out ends the session. */
void configure_begin(const struct wire_message *message);
/* The session's user has been looked up. */
void configure_user(uint32_t error, const struct identity *identity);

/* Fork the stage hand, which stays root for the few things that only root may do: see stage.h. False with errno. */
bool configure_prepare(void);

#endif
