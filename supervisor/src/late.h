/* Those who are born stopped. A SIGSTOP for everybody reaches the child of a fork that is under way as well, which keeps it
 * until it is born; the SIGCONT that its parent gets meanwhile does not reach it.
 */
#ifndef FUMEHOOD_LATE_H
#define FUMEHOOD_LATE_H

#include <stdint.h>

#include "procs.h"

/* Everybody was stopped and goes on again: look, for a short time, for whoever is not in this picture and stands still. */
void late_watch(const struct procs *known);
/* Before everybody is stopped once more: let whoever in the picture stands still for that reason count as running there. */
void late_excuse(struct procs *picture);
/* Everybody is to stand still: look for nobody. */
void late_forget(void);

uint64_t late_deadline(void);
void late_due(uint64_t now);

#endif
