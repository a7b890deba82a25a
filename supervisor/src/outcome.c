#define _GNU_SOURCE
#include "outcome.h"

#include <signal.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "task.h"

/* Whether the leader's death looks like the kernel's memory killer and a kill of that kind happened meanwhile. */
static bool out_of_memory(const struct command *command)
{
	bool killed = WIFSIGNALED(command->status) && WTERMSIG(command->status) == SIGKILL;
	bool told = WIFEXITED(command->status) && WEXITSTATUS(command->status) == 128 + SIGKILL;

	return (killed || told) && cgroup_oom_kills() > command->oom_kills;
}

/* From our own state and the kernel's, never from a number that the command chose. */
static uint32_t end_reason(const struct command *command)
{
	bool by_us = command->cause && WIFSIGNALED(command->status) && WTERMSIG(command->status) == SIGKILL;

	if (by_us)
		return command->cause;
	if (out_of_memory(command))
		return EXEC_OUT_OF_MEMORY;
	return WIFSIGNALED(command->status) ? EXEC_SIGNALED : EXEC_EXITED;
}

void outcome_of(const struct task *task, uint64_t stdout_total, uint64_t stderr_total, struct outcome *outcome)
{
	const struct command *command = &task->command;
	uint32_t number = WIFSIGNALED(command->status) ? (uint32_t)WTERMSIG(command->status) : 0;

	*outcome = (struct outcome){
		.reason = end_reason(command), .signal = number,
		.exit_code = number ? 128 + number : (uint32_t)WEXITSTATUS(command->status),
		.duration_us = command->ended_at > task->started ? command->ended_at - task->started : 0,
		.stdout_total = stdout_total, .stderr_total = stderr_total,
		.killed = command->killed, .left_running = command->left_running,
	};
}

void outcome_put(struct wire_writer *writer, const struct outcome *outcome)
{
	wire_put_uint(writer, FIELD_REASON, outcome->reason);
	wire_put_uint(writer, FIELD_EXIT_CODE, outcome->exit_code);
	wire_put_uint(writer, FIELD_SIGNAL, outcome->signal);
	wire_put_uint(writer, FIELD_DURATION_US, outcome->duration_us);
	wire_put_uint(writer, FIELD_STDOUT_TOTAL, outcome->stdout_total);
	wire_put_uint(writer, FIELD_STDERR_TOTAL, outcome->stderr_total);
	wire_put_uint(writer, FIELD_KILLED, outcome->killed);
	wire_put_uint(writer, FIELD_LEFT_RUNNING, outcome->left_running);
}
