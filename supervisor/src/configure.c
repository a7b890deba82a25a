#define _GNU_SOURCE
#include "configure.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "caps.h"
#include "clock.h"
#include "disk.h"
#include "handshake.h"
#include "lease.h"
#include "lookup.h"
#include "process.h"
#include "session.h"
#include "stage.h"
#include "task.h"

/* The stage hand touches a file system at its own pace; an engine's volume may be on a network. */
#define PATIENCE (10 * SECOND)

static struct task *hand;
static int order_fd = -1;

/* --- the terms ------------------------------------------------------------------------------------------- */

static bool copy_environment(const struct wire_message *message)
{
	const uint8_t *value;
	uint32_t length, cursor = 0;
	size_t total = 0;
	char *at;

	while ((value = wire_next(message, FIELD_ENV, &cursor, &length)))
		total += (size_t)length + 1;
	at = session.environment = malloc(total + 1);
	if (!at)
		return false;
	cursor = 0;
	while ((value = wire_next(message, FIELD_ENV, &cursor, &length))) {
		memcpy(at, value, length);
		at[length] = '\0';
		at += (size_t)length + 1;
		session.env_count++;
		session.env_bytes += (size_t)length + 1;
	}
	return true;
}

static bool valid_environment(const struct wire_message *message)
{
	const uint8_t *value;
	uint32_t length, cursor = 0;

	while ((value = wire_next(message, FIELD_ENV, &cursor, &length)))
		if (length == 0 || value[0] == '=' || memchr(value, 0, length) || !memchr(value, '=', length))
			return false;
	return true;
}

static bool take_workdir(const struct wire_message *message)
{
	uint32_t length;
	const uint8_t *workdir = wire_bytes(message, FIELD_WORKDIR, &length);

	if (!length || length > WIRE_MAX_PATH || workdir[0] != '/' || memchr(workdir, 0, length))
		return false;
	arguments_path(session.workdir, workdir, length);
	return true;
}

static bool take_metadata(const struct wire_message *message)
{
	uint32_t length;
	const uint8_t *metadata = wire_bytes(message, FIELD_METADATA, &length);

	if (!metadata)
		return true;
	if (length > WIRE_MAX_METADATA)
		return false;
	memcpy(session.metadata, metadata, length);
	session.metadata_length = length;
	return true;
}

/* PID 1 keeps what its commands are to be given, and no more. */
static bool take_caps(const struct wire_message *message)
{
	uint64_t caps = wire_uint(message, FIELD_WORKLOAD_CAPS, 0);

	if (caps & ~(uint64_t)caps_grantable || (uint32_t)caps & ~caps_permitted())
		return false;
	session.caps = (uint32_t)caps;
	return caps_set(caps_own | session.caps, caps_own, 0);
}

void configure_begin(const struct wire_message *message)
{
	uint32_t length;
	const uint8_t *user = wire_bytes(message, FIELD_USER, &length);
	uint32_t error = lease_configure(message);

	session.configured = true;
	disk_configure(message);
	session.max_file_bytes = wire_uint(message, FIELD_MAX_FILE_BYTES, 0);
	session.max_processes = wire_uint(message, FIELD_MAX_PROCESSES, 0);
	session.chown_workspace = wire_flag(message, FIELD_CHOWN_WORKSPACE);
	session.write_hosts = wire_flag(message, FIELD_WRITE_HOSTS);
	if (user)
		memcpy(session.user_spec, user, length);
	if (error)
		session_fail(error, 0, "a detached session needs a ttl or an idle time");
	else if (!take_workdir(message))
		session_fail(ERROR_INVALID, 0, "the working directory is not an absolute path");
	else if (!take_metadata(message))
		session_fail(ERROR_INVALID, 0, "the metadata is too long");
	else if (!valid_environment(message))
		session_fail(ERROR_INVALID, 0, "an environment variable is not NAME=value");
	else if (!copy_environment(message))
		session_fail(ERROR_OUT_OF_MEMORY, ENOMEM, "no memory for the environment");
	else if (!take_caps(message))
		session_fail(ERROR_PERMISSION, 0,
			     "a capability for the workload is not one to grant, or the container lacks it");
	else
		lookup_for_session(session.user_spec);
}

/* --- the stage ------------------------------------------------------------------------------------------- */

void configure_user(uint32_t error, const struct identity *identity)
{
	static struct stage_order order;

	if (error) {
		session_fail(error, 0, "the user cannot be looked up in the container");
		return;
	}
	session.user = *identity;
	order = (struct stage_order){
		.uid = identity->uid, .gid = identity->gid,
		.chown_workspace = session.chown_workspace, .write_hosts = session.write_hosts,
	};
	memcpy(order.workdir, session.workdir, sizeof(order.workdir));
	/* The order is longer than PIPE_BUF but far shorter than an empty pipe. */
	if (!hand || write(order_fd, &order, sizeof(order)) != (ssize_t)sizeof(order)) {
		session_fail(ERROR_HELPER_DIED, errno, "the stage hand is gone");
		return;
	}
	hand->deadline = clock_monotonic() + PATIENCE;
	close(order_fd);
	order_fd = -1;
}

static void open_workspace(void)
{
	session.workspace_fd = open(session.workdir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (session.workspace_fd < 0) {
		session_fail(ERROR_CWD, errno, "the working directory cannot be opened");
		return;
	}
	session.ready = true;
	lease_begin();
	disk_begin();
	handshake_ready();
}

static void stage_reported(struct task *task)
{
	struct stage_report report;
	ssize_t got = read(task->report.fd, &report, sizeof(report));

	if (got < 0) {
		source_arm(&task->report, EPOLLIN);
		return;
	}
	source_close(&task->report);
	task->deadline = NEVER;
	if (got != sizeof(report))
		session_fail(ERROR_HELPER_DIED, 0, "the stage hand died");
	else if (report.error)
		session_fail(report.error, (int)report.err_no, "the workspace cannot be handed over to the user");
	else
		open_workspace();
}

static void stage_reaped(struct task *task, int status)
{
	(void)status;
	if (task->report.fd >= 0)
		stage_reported(task);
	hand = NULL;
	task_free(task);
}

static void stage_due(struct task *task, uint64_t now)
{
	(void)now;
	task->deadline = NEVER;
	source_close(&task->report);
	kill(task->pid, SIGKILL);
	session_fail(ERROR_HELPER_TIMEOUT, 0, "the workspace does not answer");
}

static void stage_nothing(struct task *task)
{
	(void)task;
}

static const struct task_kind stage_kind = {
	.reported = stage_reported, .reaped = stage_reaped, .due = stage_due,
	.cancel = stage_nothing, .flowed = stage_nothing, .input_ended = stage_nothing,
};

bool configure_prepare(void)
{
	int order[2], report[2];
	pid_t pid;

	if (pipe2(order, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0)
		return false;
	(void)fcntl(order[1], F_SETFL, O_NONBLOCK);
	(void)fcntl(report[0], F_SETFL, O_NONBLOCK);
	hand = task_new(&stage_kind, NULL);
	pid = fork();
	if (pid == 0) {
		int keep[] = {order[0], report[1]};

		process_keep_only(keep, 2);
		stage_main(order[0], report[1]);
	}
	close(order[0]);
	close(report[1]);
	if (pid < 0)
		return false;
	hand->pid = pid;
	order_fd = order[1];
	return task_open_report(hand, report[0]);
}
