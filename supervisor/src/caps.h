/* Capabilities and identities of processes. All masks are of the first 32 capabilities. */
#ifndef FUMEHOOD_CAPS_H
#define FUMEHOOD_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "users.h"

#define CAP_MASK(capability) (1u << (capability))

/* What PID 1 keeps for itself: to become a command's user, and to kill it. */
extern const uint32_t caps_own;
/* What a workload may be granted. */
extern const uint32_t caps_grantable;

/* The permitted set of this process. */
uint32_t caps_permitted(void);

/* Set all three sets; permitted may only shrink. False with errno. */
bool caps_set(uint32_t permitted, uint32_t effective, uint32_t inheritable);

/* For a child: become `identity` with exactly the capabilities `caps`, also across exec and whatever the
 * uid (ambient for others, inheritable for root), and not dumpable until exec. False with errno. */
bool caps_become(const struct identity *identity, uint32_t caps);

#endif
