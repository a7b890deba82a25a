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
struct wire_message;

/* Operations `pause` and `unpause`: each may come again, and changes nothing then. One that is tied holds for as long as its
 * connection does, and beside those of others: the last of them ends the pause. */
void pause_answer(struct connection *connection, uint32_t channel, const struct wire_message *message);
/* The connection is gone, and with it the pause that was tied to it. */
void pause_left(struct connection *connection);
bool pause_active(void);
/* How long commands have stood still until now, in all pauses. */
uint64_t pause_total_ms(void);

#endif
