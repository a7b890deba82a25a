/* Where the bytes of a log lie: a file in memory of its own, used as a ring.
 *
 * Not on PID 1's heap. Its pages would be shared with every reaper that is forked while they are there, and each page
 * that is written again would stay behind, once for each generation of reapers: no bound that is set here would hold.
 * And fork would copy the page tables of all of it for every command. A file that is never mapped costs a fork nothing,
 * is nobody's but PID 1's (it has no name), and makes PID 1 no larger in the eyes of the memory killer. Its pages are
 * charged to the container like everything else; only those that were written to are there.
 */
#ifndef FUMEHOOD_STORE_H
#define FUMEHOOD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor, or -1 with errno. */
int store_open(void);
/* Put or get bytes that lie at `offset` of all that a log has ever held; n is at most `capacity`. False with errno. */
bool store_write(int fd, uint32_t capacity, uint64_t offset, const uint8_t *data, size_t n);
bool store_read(int fd, uint32_t capacity, uint64_t offset, uint8_t *data, size_t n);

#endif
