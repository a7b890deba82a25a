#define _GNU_SOURCE
#include "lease.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "connection.h"
#include "loop.h"
#include "pause.h"
#include "session.h"
#include "tree.h"

static struct {
	bool begun, waits, detached;
	uint64_t ttl_ms, idle_ms, grace_ms, heartbeat_ms;
	uint64_t expires;          /* boot time */
	uint64_t configure_by;     /* the others: monotonic, NEVER while they do not run */
	uint64_t idle_at, grace_at;
	struct source timer;
} lease = {.expires = NEVER, .configure_by = NEVER, .idle_at = NEVER, .grace_at = NEVER, .timer.fd = -1};

/* --- the time to live ------------------------------------------------------------------------------------ */

static void check_ttl(void)
{
	if (clock_boottime() >= lease.expires)
		session_end(END_TTL);
}

static void timer_ready(struct source *source)
{
	uint64_t expirations;

	(void)!read(source->fd, &expirations, sizeof(expirations));
	check_ttl();
	source_arm(source, EPOLLIN);
}

/* A timer of its own, since a wait in epoll does not count the time that the host sleeps. */
static void set_ttl(uint64_t ttl_ms)
{
	struct itimerspec when = {.it_value = {0}};

	lease.expires = ttl_ms ? clock_after_ms(clock_boottime(), ttl_ms) : NEVER;
	if (lease.expires != NEVER) {
		when.it_value.tv_sec = (time_t)(lease.expires / SECOND);
		when.it_value.tv_nsec = (long)(lease.expires % SECOND) * 1000;
	}
	if (timerfd_settime(lease.timer.fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		session_end(END_RESOURCES);
}

bool lease_init(void)
{
	int fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);

	lease.configure_by = clock_after_ms(clock_monotonic(), WIRE_CONFIGURE_DEADLINE_MS);
	return fd >= 0 && source_open(&lease.timer, fd, EPOLLIN, timer_ready);
}

/* --- terms ----------------------------------------------------------------------------------------------- */

uint32_t lease_configure(const struct wire_message *message)
{
	lease.ttl_ms = wire_uint(message, FIELD_TTL_MS, 0);
	lease.idle_ms = wire_uint(message, FIELD_IDLE_MS, 0);
	lease.grace_ms = wire_uint(message, FIELD_GRACE_MS, 0);
	lease.heartbeat_ms = wire_uint(message, FIELD_HEARTBEAT_MS, 0);
	lease.detached = wire_flag(message, FIELD_DETACHED);
	/* Nothing else would ever end it. */
	return lease.detached && !lease.ttl_ms && !lease.idle_ms ? ERROR_INVALID : 0;
}

/* Its end is then the client's: the end of the stream, or its silence, ends a session that nobody has configured. */
void lease_wait(void)
{
	lease.waits = true;
	lease.configure_by = NEVER;
}

bool lease_waits(void)
{
	return lease.waits;
}

void lease_begin(void)
{
	lease.begun = true;
	lease.waits = false;
	lease.configure_by = NEVER;
	set_ttl(lease.ttl_ms);
	lease_quiet();
	if (connection_count() == 0)
		lease_left();
}

uint64_t lease_heartbeat_ms(void)
{
	if (lease.waits)
		return WIRE_WAIT_SILENCE_MS;
	return lease.begun ? lease.heartbeat_ms : 0;
}

uint64_t lease_grace_ms(void)
{
	return lease.begun ? lease.grace_ms : 0;
}

bool lease_detached(void)
{
	return lease.detached;
}

/* --- comings and goings ---------------------------------------------------------------------------------- */

void lease_joined(void)
{
	lease.grace_at = NEVER;
	if (pause_active())
		lease_busy();
}

void lease_left(void)
{
	if (!lease.begun || connection_count())
		return;
	/* A pause keeps a session from being idle for as long as somebody is there to end it. */
	if (pause_active())
		lease_quiet();
	if (lease.detached)
		return;
	lease.grace_at = clock_after_ms(clock_monotonic(), lease.grace_ms);
}

void lease_busy(void)
{
	lease.idle_at = NEVER;
}

void lease_quiet(void)
{
	if (lease.begun && lease.idle_ms && !(pause_active() && connection_count()))
		lease.idle_at = clock_after_ms(clock_monotonic(), lease.idle_ms);
}

/* --- questions ------------------------------------------------------------------------------------------- */

static uint64_t left_ms(uint64_t deadline, uint64_t now)
{
	return deadline > now ? (deadline - now) / MILLISECOND : 0;
}

static void answer_done(struct connection *connection, uint32_t channel)
{
	struct wire_writer writer;
	uint8_t frame[256];
	uint64_t boot = clock_boottime();

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_DONE, channel);
	wire_put_uint(&writer, FIELD_UPTIME_MS, (boot - session.started) / MILLISECOND);
	if (lease.expires != NEVER)
		wire_put_uint(&writer, FIELD_TTL_LEFT_MS, left_ms(lease.expires, boot));
	if (lease.idle_ms)
		wire_put_uint(&writer, FIELD_IDLE_LEFT_MS,
			      lease.idle_at == NEVER ? lease.idle_ms : left_ms(lease.idle_at, clock_monotonic()));
	wire_put_uint(&writer, FIELD_CHANNELS, channel_count());
	wire_put_uint(&writer, FIELD_CONNECTIONS, connection_count());
	wire_put_uint(&writer, FIELD_TREES, trees());
	wire_put_uint(&writer, FIELD_PAUSED_MS, pause_total_ms());
	wire_end(&writer);
	connection_send(connection, &writer);
}

void lease_answer(struct connection *connection, uint32_t channel, const struct wire_message *message)
{
	if (wire_uint(message, FIELD_OPERATION, 0) == OPERATION_LEASE) {
		uint64_t ttl_ms = wire_uint(message, FIELD_TTL_MS, 0);

		if (!ttl_ms && lease.detached && !lease.idle_ms) {
			channel_refuse(connection, channel, ERROR_INVALID, "ttl");
			return;
		}
		set_ttl(ttl_ms);
	}
	answer_done(connection, channel);
}

/* --- deadlines ------------------------------------------------------------------------------------------- */

uint64_t lease_deadline(void)
{
	uint64_t first = lease.configure_by;

	if (lease.idle_at < first)
		first = lease.idle_at;
	return lease.grace_at < first ? lease.grace_at : first;
}

void lease_due(uint64_t now)
{
	if (now >= lease.configure_by)
		session_end(END_NOT_CONFIGURED);
	if (now >= lease.grace_at)
		session_end(END_CLIENT_LOST);
	if (now >= lease.idle_at)
		session_end(END_IDLE);
}
