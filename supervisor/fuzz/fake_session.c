#define _GNU_SOURCE
/* The session around the processes: its configuration, its lease and its clock. */
#include "fake_processes.h"

#include <fcntl.h>
#include <stdlib.h>

#include "clock.h"
#include "configure.h"
#include "connection.h"
#include "fake.h"
#include "handshake.h"
#include "lease.h"
#include "pause.h"
#include "report.h"
#include "session.h"
#include "tree.h"

struct session session = { .null_fd = -1, .proc_fd = -1, .root_fd = -1, .workspace_fd = -1 };
bool fake_configures_at_once;
/* A client keeps the container in stock: the first configuration may be late. */
static bool waits;
static bool ending;

void session_end(uint32_t reason)
{
	(void)reason;
	ending = true;
}

bool session_ending(void)
{
	return ending;
}

void configure_begin(const struct wire_message *message)
{
	(void)message;
	session.configured = true;
	if (fake_configures_at_once)
		fake_configured();
}

void fake_configured(void)
{
	if (!session.configured || session.ready)
		return;
	waits = false;
	session.ready = true;
	handshake_ready();
}

void fake_let_go(void)
{
	ending = false;
	session.configured = session.ready = true;
	handshake_ready();
}

void fake_forget(void)
{
	waits = false;
	int null_fd = session.null_fd >= 0 ? session.null_fd : open("/dev/null", O_RDWR | O_CLOEXEC);

	session = (struct session){ .null_fd = null_fd, .max_processes = 8 };
	ending = false;
	fake_forget_managed();
}

static void put_fields(struct connection *connection, uint8_t frame, uint32_t channel, const uint8_t *tags,
		       size_t count)
{
	struct wire_writer writer;
	uint8_t memory[1024];

	wire_writer_init(&writer, memory, sizeof memory);
	wire_begin(&writer, frame, channel);
	for (size_t i = 0; i < count; i++) {
		if (tags[i] == FIELD_KERNEL)
			wire_put_text(&writer, tags[i], "6.1", 3);
		else
			wire_put_uint(&writer, tags[i], 1);
	}
	wire_end(&writer);
	connection_send(connection, &writer);
}

void report_send(struct connection *connection)
{
	static const uint8_t tags[] = {
		FIELD_UID, FIELD_GID, FIELD_MEMORY_MAX, FIELD_SWAP_MAX, FIELD_PIDS_MAX, FIELD_CPU_QUOTA_US,
		FIELD_CPU_PERIOD_US, FIELD_OPEN_FILES, FIELD_NO_NEW_PRIVS, FIELD_SECCOMP, FIELD_CAP_BOUNDING,
		FIELD_WORKSPACE_FS, FIELD_WORKSPACE_BYTES, FIELD_ROOTFS_READONLY, FIELD_KERNEL,
		FIELD_CGROUP_VERSION, FIELD_TMP_BYTES,
	};

	put_fields(connection, FRAME_READY, 0, tags, sizeof tags);
}

void lease_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	static const uint8_t tags[] = { FIELD_UPTIME_MS, FIELD_CHANNELS };

	(void)message;
	put_fields(connection, FRAME_DONE, channel, tags, sizeof tags);
}

/* Nothing here runs, so nothing is stopped. */
bool pause_active(void)
{
	return false;
}

void pause_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	static const uint8_t tags[] = { FIELD_ENTRIES };

	(void)message;
	put_fields(connection, FRAME_DONE, channel, tags, sizeof tags);
}

void pause_left(struct connection *connection)
{
	(void)connection;
}

void lease_wait(void)
{
	waits = true;
}

bool lease_waits(void)
{
	return waits;
}

void lease_joined(void)
{
}

void lease_left(void)
{
}

void lease_busy(void)
{
}

void lease_quiet(void)
{
}

uint64_t lease_heartbeat_ms(void)
{
	return 0;
}

uint64_t lease_grace_ms(void)
{
	return 1;
}

void tree_stray_seen(void)
{
	abort();
}

/* Time stands still until the input says otherwise: then every grace is over. */
static uint64_t now_monotonic = SECOND;

void fake_pass_time(void)
{
	now_monotonic += SECOND;
	connections_due(now_monotonic);
}

uint64_t clock_monotonic(void)
{
	return now_monotonic;
}

uint64_t clock_boottime(void)
{
	return SECOND;
}

uint64_t clock_after_ms(uint64_t now, uint64_t milliseconds)
{
	return now + milliseconds * MILLISECOND;
}
