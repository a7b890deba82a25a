/* Commands that stand still and live on: `pause` and `unpause`.
 *
 * By signals and not by the engine's freezer, which would stop PID 1 too: with it, nothing would end a session whose client
 * dies meanwhile.
 */
#ifndef FUMEHOOD_PAUSE_H
#define FUMEHOOD_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

struct connection;

/* Operations `pause` and `unpause`: each may come again, and changes nothing then. */
void pause_answer(struct connection *connection, uint32_t channel, bool pause);
bool pause_active(void);
/* Looks for those who were born late, for a short time after a pause. */
uint64_t pause_deadline(void);
void pause_due(uint64_t now);
/* How long commands have stood still until now, in all pauses. */
uint64_t pause_total_ms(void);

#endif
