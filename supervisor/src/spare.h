/* One command's processes, made in advance: the next exec waits for no fork.
 *
 * It also lets one more command start when the container's process limit is reached. Where it cannot be had, or an order
 * does not fit, a command is launched by a fork as ever.
 */
#ifndef FUMEHOOD_SPARE_H
#define FUMEHOOD_SPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "reaper.h"

struct task;

/* Whether one is missing and now is a good time: nothing runs, or nothing has been launched for a while. */
bool spare_wanted(void);
void spare_make(void);
uint64_t spare_deadline(void);

/* Hand the launch over (its `report` is not used): the spare's task, now the caller's, or NULL. */
struct task *spare_launch(const struct launch *launch);

#endif
