/* How a command ended, as EXIT tells it. */
#ifndef FUMEHOOD_OUTCOME_H
#define FUMEHOOD_OUTCOME_H

#include <stdint.h>

#include "wire.h"

struct task;

struct outcome {
	uint32_t reason;           /* EXEC_* */
	uint32_t exit_code, signal;
	uint32_t killed, left_running;
	uint64_t duration_us, stdout_total, stderr_total;
};

/* Of a command that has ended. The totals are the caller's to know. */
void outcome_of(const struct task *task, uint64_t stdout_total, uint64_t stderr_total, struct outcome *outcome);
/* Its fields, from `reason` to `left_running`. */
void outcome_put(struct wire_writer *writer, const struct outcome *outcome);

#endif
