#include "clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now = {0};

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_boottime(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

uint64_t clock_after_ms(uint64_t now, uint64_t milliseconds)
{
	if (milliseconds > (NEVER - now) / MILLISECOND - 1)
		return NEVER;
	return now + milliseconds * MILLISECOND;
}
