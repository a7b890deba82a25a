#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "users.h"

/* One direction: what was read and not yet written. */
struct pipe_way {
	int from, to;
	bool ended;                /* nothing more comes */
	bool broken;               /* nobody takes it any more */
	size_t start, end;
	uint8_t data[65536];
};

static int complain(int code, const char *what)
{
	fprintf(stderr, "fumehood supervisor: relay: %s: %s\n", what, strerror(errno));
	return code;
}

static int connect_to_supervisor(int *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(RELAY_SOCKET));
	struct ucred peer;
	socklen_t peer_size = sizeof(peer);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return complain(RELAY_IO, "no socket");
	memcpy(address.sun_path + 1, RELAY_SOCKET, sizeof(RELAY_SOCKET) - 1);
	if (connect(fd, (struct sockaddr *)&address, size) < 0)
		return complain(RELAY_CONNECT, "no supervisor answers");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) < 0)
		return complain(RELAY_IO, "no credentials of the peer");
	if (peer.pid != 1 || peer.uid != RESERVED_ID) {
		errno = EPERM;
		return complain(RELAY_PEER, "what answers is not the supervisor");
	}
	*out = fd;
	return RELAY_OK;
}

/* Move what can be moved without waiting: false when the direction is broken. */
static bool turn(struct pipe_way *way)
{
	ssize_t done;

	if (way->start == way->end && !way->ended) {
		done = read(way->from, way->data, sizeof(way->data));
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		way->ended = done == 0;
		way->start = 0;
		way->end = done > 0 ? (size_t)done : 0;
	}
	if (way->start < way->end) {
		done = write(way->to, way->data + way->start, way->end - way->start);
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		way->start += done > 0 ? (size_t)done : 0;
	}
	return true;
}

static bool finished(const struct pipe_way *way)
{
	return way->ended && way->start == way->end;
}

/* Each direction waits either to read or to write. */
static struct pollfd waits_for(const struct pipe_way *way)
{
	if (way->start < way->end)
		return (struct pollfd){.fd = way->to, .events = POLLOUT};
	return (struct pollfd){.fd = way->ended ? -1 : way->from, .events = POLLIN};
}

static int copy_both_ways(int fd)
{
	static struct pipe_way in, out;

	in.from = STDIN_FILENO;
	out.to = STDOUT_FILENO;
	in.to = out.from = fd;
	/* The client's end takes the connection along, and so does the supervisor's once its last bytes are out: that it
	 * takes nothing any more shows before they are. */
	while (!finished(&out) && (in.broken || !finished(&in))) {
		struct pollfd waits[2] = {waits_for(&in), waits_for(&out)};

		if (poll(waits, 2, -1) < 0 && errno != EINTR)
			return complain(RELAY_IO, "cannot wait");
		if (!turn(&out))
			return RELAY_OK;
		if (!turn(&in))
			in.broken = in.ended = true, in.start = in.end = 0;
	}
	return RELAY_OK;
}

int relay(void)
{
	int fd = -1, code;

	if (getuid() != RESERVED_ID || geteuid() != RESERVED_ID) {
		errno = EPERM;
		return complain(RELAY_UID, "it must run as the reserved uid");
	}
	(void)signal(SIGPIPE, SIG_IGN);
	code = connect_to_supervisor(&fd);
	if (code != RELAY_OK)
		return code;
	for (int i = 0; i < 3; i++) {
		int end = i == 2 ? fd : i;

		if (fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK) < 0)
			return complain(RELAY_IO, "a descriptor cannot be made non-blocking");
	}
	return copy_both_ways(fd);
}
