#define _GNU_SOURCE
#include "lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caps.h"
#include "clock.h"
#include "configure.h"
#include "exec_start.h"
#include "process.h"
#include "session.h"
#include "task.h"

/* A database of a few KB takes well under a millisecond. */
#define PATIENCE (10 * SECOND)
/* Who looks up the session's own user, before there is one: nobody. */
#define NOBODY 65534

/* Whatever a helper that reads a hostile file may have been made to say: no reserved id, nothing unterminated. */
static uint32_t check_answer(struct lookup *lookup)
{
	struct identity *identity = &lookup->answer.identity;

	if (lookup->have != sizeof(lookup->answer))
		return ERROR_HELPER_DIED;
	if (lookup->answer.error)
		return lookup->answer.error == ERROR_USER_NOT_FOUND || lookup->answer.error == ERROR_USER_REFUSED
			       ? lookup->answer.error
			       : ERROR_INVALID;
	if (identity->uid == RESERVED_ID || identity->gid == RESERVED_ID || identity->uid == UINT32_MAX ||
	    identity->gid == UINT32_MAX)
		return ERROR_USER_REFUSED;
	if (identity->group_count > IDENTITY_GROUPS)
		return ERROR_HELPER_DIED;
	for (uint32_t i = 0; i < identity->group_count; i++)
		if (identity->groups[i] == RESERVED_ID)
			return ERROR_USER_REFUSED;
	identity->home[sizeof(identity->home) - 1] = '\0';
	identity->name[sizeof(identity->name) - 1] = '\0';
	identity->shell[sizeof(identity->shell) - 1] = '\0';
	return 0;
}

/* The look-up is over: free it and go on with what waited for it. */
static void finish(struct task *task, uint32_t error)
{
	struct lookup *lookup = task->lookup;
	struct channel *channel = task->channel;

	source_close(&task->report);
	task->lookup = NULL;
	task->channel = NULL;
	task->deadline = NEVER;
	if (task->pid)
		kill(task->pid, SIGKILL);
	if (!lookup->body_length) {
		configure_user(error, &lookup->answer.identity);
	} else if (channel) {
		channel->task = NULL;
		if (error) {
			channel_fail(channel, error, 0, "user", UINT64_MAX);
		} else {
			struct wire_message message;
			struct wire_frame frame = {.type = FRAME_OPEN, .channel = channel->id,
						   .payload = lookup->body, .length = lookup->body_length};

			/* It passed once: the same bytes pass again. */
			if (fields_parse(&frame, &message) == 0)
				exec_start(channel, &message, &lookup->answer.identity);
		}
	}
	free(lookup);
	if (task->pid == 0)
		task_free(task);
}

static void lookup_reported(struct task *task)
{
	struct lookup *lookup = task->lookup;
	uint8_t *to = (uint8_t *)&lookup->answer + lookup->have;
	size_t room = sizeof(lookup->answer) - lookup->have;
	ssize_t got = read(task->report.fd, to, room);

	if (got > 0)
		lookup->have += (uint32_t)got;
	if (got == 0 || lookup->have == sizeof(lookup->answer))
		finish(task, check_answer(lookup));
	else
		source_arm(&task->report, EPOLLIN);
}

static void lookup_reaped(struct task *task, int status)
{
	(void)status;
	/* Its report, or the end of it, is in the pipe. */
	if (!task->lookup)
		task_free(task);
}

static void lookup_due(struct task *task, uint64_t now)
{
	(void)now;
	finish(task, ERROR_HELPER_TIMEOUT);
}

static void lookup_cancel(struct task *task)
{
	finish(task, ERROR_CANCELLED);
}

static void lookup_nothing(struct task *task)
{
	(void)task;
}

static const struct task_kind lookup_kind = {
	.reported = lookup_reported, .reaped = lookup_reaped, .due = lookup_due, .cancel = lookup_cancel,
	.flowed = lookup_nothing, .input_ended = lookup_nothing,
};

_Noreturn static void helper_main(const char *user, int report)
{
	static struct { uint32_t error; struct identity identity; } answer;
	struct identity nobody = {.uid = NOBODY, .gid = NOBODY};

	process_yield();
	process_keep_only(&report, 1);
	if (!caps_become(session.ready ? &session.user : &nobody, 0))
		_exit(1);
	answer.error = users_resolve(user, &answer.identity);
	(void)!write(report, &answer, sizeof(answer));
	_exit(0);
}

/* `lookup` is taken over. Returns 0 or an ERROR_*. */
static uint32_t begin(struct channel *channel, const char *user, struct lookup *lookup)
{
	struct task *task = task_new(&lookup_kind, channel);
	int report[2];
	pid_t pid;

	if (!task || pipe2(report, O_CLOEXEC) < 0) {
		if (task)
			task_free(task);
		free(lookup);
		return ERROR_PROCESS_LIMIT;
	}
	(void)fcntl(report[0], F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid == 0)
		helper_main(user, report[1]);
	close(report[1]);
	if (pid < 0 || !task_open_report(task, report[0])) {
		close(report[0]);
		free(lookup);
		task->pid = pid > 0 ? pid : 0;
		task->channel = NULL;
		if (pid < 0)
			task_free(task);
		return ERROR_PROCESS_LIMIT;
	}
	task->pid = pid;
	task->lookup = lookup;
	task->deadline = task->started + PATIENCE;
	if (channel)
		channel->task = task;
	return 0;
}

void lookup_for_exec(struct channel *channel, const struct wire_message *message, const uint8_t *user,
		     uint32_t length)
{
	char spec[WIRE_MAX_TEXT + 1];
	struct lookup *lookup = malloc(sizeof(*lookup) + message->length);
	uint32_t error;

	if (!lookup) {
		channel_fail(channel, ERROR_OUT_OF_MEMORY, 0, "user", UINT64_MAX);
		return;
	}
	lookup->have = 0;
	lookup->body_length = message->length;
	memcpy(lookup->body, message->payload, message->length);
	memcpy(spec, user, length);
	spec[length] = '\0';
	error = begin(channel, spec, lookup);
	if (error)
		channel_fail(channel, error, 0, "user", UINT64_MAX);
}

void lookup_for_session(const char *user)
{
	static const struct identity none;
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	uint32_t error = lookup ? begin(NULL, user, lookup) : ERROR_OUT_OF_MEMORY;

	if (error)
		configure_user(error, &none);
}
