#define _GNU_SOURCE
#include "farewell.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"

/* One connection's last bytes: true while it has some, or while its relay has not passed them on. */
static bool leaving(struct connection *connection)
{
	uint8_t rest[4096];

	if (connection->state == CONNECTION_FREE || resume_parked(connection) || connection->doomed || connection->lost)
		return false;
	connection->out.armed = false;
	connection->rests_until = NEVER;
	connection_flush(connection);
	if (connection->lost)
		return false;
	if (connection_unwritten(connection))
		return true;
	if (connection->stdio)
		return false; /* the engine's pipe outlives us */
	(void)shutdown(connection->out.fd, SHUT_WR);
	while (read(connection->in.fd, rest, sizeof(rest)) > 0)
		;
	return errno == EAGAIN;
}

void farewell(const struct wire_writer *end, uint64_t patience)
{
	uint64_t deadline = clock_monotonic() + patience;

	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++)
		if (connection_at(i)->state > CONNECTION_HELLO)
			connection_send(connection_at(i), end);
	for (;;) {
		struct pollfd waits[WIRE_MAX_CONNECTIONS];
		nfds_t waiting = 0;
		uint64_t now = clock_monotonic();

		for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
			struct connection *connection = connection_at(i);

			errno = 0;
			if (leaving(connection))
				waits[waiting++] = connection_unwritten(connection)
					? (struct pollfd){.fd = connection->out.fd, .events = POLLOUT}
					: (struct pollfd){.fd = connection->in.fd, .events = POLLIN};
		}
		if (!waiting || now >= deadline)
			return;
		(void)poll(waits, waiting, (int)((deadline - now) / MILLISECOND) + 1);
	}
}
