/* CRC-32 as zlib, gzip and Ethernet have it: against faults, not against forgers. No system calls. */
#ifndef FUMEHOOD_CRC32_H
#define FUMEHOOD_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what gave `crc` (0: nothing yet) and these bytes behind it. */
uint32_t crc32_more(uint32_t crc, const uint8_t *bytes, size_t n);

#endif
