#define _GNU_SOURCE
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "loop.h"
#include "relay.h"
#include "users.h"

#define ACCEPT_STEP 8

static struct source listener = {.fd = -1};
static uint64_t listen_again = NEVER;

static bool admitted(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == RESERVED_ID;
}

static void listener_ready(struct source *source)
{
	for (int i = 0; i < ACCEPT_STEP; i++) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		int twin;

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			listen_again = clock_monotonic() + SECOND / 10;
			return;
		}
		if (fd < 0)
			break;
		if (!admitted(fd) || (twin = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
			close(fd);
			continue;
		}
		connection_new(fd, twin);
	}
	source_arm(source, EPOLLIN);
}

bool listener_open(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(RELAY_SOCKET));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	/* A leading NUL: an abstract name, of this network namespace, in no directory that could be changed. */
	memcpy(address.sun_path + 1, RELAY_SOCKET, sizeof(RELAY_SOCKET) - 1);
	if (bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 64) == 0 &&
	    source_open(&listener, fd, EPOLLIN, listener_ready))
		return true;
	close(fd);
	return false;
}

uint64_t listener_deadline(void)
{
	return listen_again;
}

void listener_due(uint64_t now)
{
	if (listen_again <= now) {
		listen_again = NEVER;
		source_arm(&listener, EPOLLIN);
	}
}
