/* The two clocks: neither is the wall clock, which anybody may set. Microseconds. */
#ifndef FUMEHOOD_CLOCK_H
#define FUMEHOOD_CLOCK_H

#include <stdint.h>

/* A deadline that never comes. */
#define NEVER UINT64_MAX

#define MILLISECOND UINT64_C(1000)
#define SECOND UINT64_C(1000000)

/* Time that the machine was awake: command timeouts, heartbeats, everything that waits for somebody to act. */
uint64_t clock_monotonic(void);

/* Time that has passed, sleep included: the TTL. */
uint64_t clock_boottime(void);

/* now + milliseconds from the wire, without wrapping; what does not fit never comes. */
uint64_t clock_after_ms(uint64_t now, uint64_t milliseconds);

#endif
