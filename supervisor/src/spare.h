/* Reapers that wait for a command, one of them with the command's process made in advance: the next exec waits for no fork.
 * While commands follow each other there are more than one, so that this is done while a command runs.
 *
 * It also lets one more command start when the container's process limit is reached. Where none can be had, or an order
 * does not fit, a command is launched by a fork of PID 1.
 */
#ifndef FUMEHOOD_SPARE_H
#define FUMEHOOD_SPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "reaper.h"

struct task;

/* Whether something is to be done for the next command, or more is kept than it needs, and now is a good time. */
bool spare_wanted(void);
void spare_make(void);
uint64_t spare_deadline(void);

/* Keep a reaper whose command has ended and left nobody, or let it go: the task is no longer the caller's. */
void spare_keep(struct task *task);

/* Hand the launch over (its `link` is not used): the spare's task, now the caller's, or NULL. */
struct task *spare_launch(const struct launch *launch);

#endif
