/* The floor watch: no session takes the last of a disk that it shares, where no quota holds it.
 *
 * Looks are made while work is under way and no others: a session in which nothing runs is not woken for them, and is never
 * ended by them.
 */
#ifndef FUMEHOOD_DISK_H
#define FUMEHOOD_DISK_H

#include <stdint.h>

#include "fields.h"
#include "wire_table.h"

/* A CONFIGURE's terms, and the watch, once the workspace is there. */
void disk_configure(const struct wire_message *message);
void disk_begin(void);

/* The floor in force for the workspace, in bytes; 0: it is not watched. */
uint64_t disk_floor(void);
/* The same for files below a root. */
uint64_t disk_floor_below(enum root root);
/* The quota that was asked for the workspace, in bytes; 0: none. */
uint64_t disk_quota(void);

/* Once in each turn: work may have begun or ended. */
void disk_turn(uint64_t now);
uint64_t disk_deadline(void);
void disk_due(uint64_t now);

#endif
