#define _GNU_SOURCE
/* Sockets inside: who listens, who hangs, who is not there. */
#include "fake_processes.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake.h"
#include "sockets.h"
#include "wire_table.h"

/* By descriptor: how a connection under way will be answered. */
static int outcomes[65536];

int socket_dial(bool six, uint16_t port)
{
	int fd = six || port == FAKE_ABSENT ? -1 : fake_server();

	if (fd < 0) {
		errno = EADDRNOTAVAIL;
		return -1;
	}
	outcomes[fd] = port == FAKE_REFUSES ? ECONNREFUSED : port == FAKE_HANGS ? EINPROGRESS : 0;
	if (port == FAKE_HANGS) {
		/* Not writable until its other end takes something. */
		static uint8_t full[65536];

		while (write(fd, full, sizeof full) > 0)
			;
	}
	return fd;
}

/* More have connected than may wait, and they did so before anybody listened. */
int socket_listen(uint16_t port)
{
	if (port == FAKE_REFUSES) {
		errno = EADDRINUSE;
		return -1;
	}
	return eventfd(WIRE_MAX_INCOMING + 8, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
}

int socket_accept(int fd)
{
	uint64_t one;
	int server;

	if (read(fd, &one, sizeof one) < 0)
		return -1;
	server = fake_server();
	if (server < 0)
		errno = EMFILE;
	return server;
}

int socket_dialled(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLOUT };

	if (outcomes[fd] != EINPROGRESS || poll(&look, 1, 0) <= 0)
		return outcomes[fd];
	return look.revents & POLLHUP ? ECONNREFUSED : 0;
}

void socket_finish(int fd)
{
	(void)shutdown(fd, SHUT_WR);
}

void socket_break(int fd)
{
	(void)fd;
}
