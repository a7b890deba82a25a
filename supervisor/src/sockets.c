#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the kernel may hold for one socket, in each direction (it counts twice as much, for what it needs itself). Left alone it
 * grows to many MiB, and the session's commands pay for it: with 256 connections, with all the memory that they have. */
#define HELD (192 * 1024)
/* Who has connected, and waits in the kernel to be taken. */
#define BACKLOG 128

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
	struct sockaddr_storage room;
};

static socklen_t loopback(union address *address, bool six, uint16_t port)
{
	*address = (union address){.room = {.ss_family = AF_UNSPEC}};
	if (six) {
		address->six = (struct sockaddr_in6){
			.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(port),
		};
		return sizeof(address->six);
	}
	address->four = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port),
	};
	return sizeof(address->four);
}

/* What a client writes is passed on as it comes: it has put together what belongs together. */
static void prepare(int fd)
{
	int one = 1, held = HELD;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &held, sizeof(held));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &held, sizeof(held));
}

int socket_dial(bool six, uint16_t port)
{
	union address address;
	socklen_t size = loopback(&address, six, port);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err_no;

	if (fd < 0)
		return -1;
	prepare(fd);
	if (connect(fd, &address.any, size) == 0 || errno == EINPROGRESS)
		return fd;
	err_no = errno;
	close(fd);
	errno = err_no;
	return -1;
}

int socket_listen(uint16_t port)
{
	union address address;
	socklen_t size = loopback(&address, false, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, err_no;

	if (fd < 0)
		return -1;
	/* Before it listens, since what is accepted inherits it: a window is settled with the first packet. */
	prepare(fd);
	/* Connections of an earlier listener may still be on their way out. A port that is listened on stays taken. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &address.any, size) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err_no = errno;
	close(fd);
	errno = err_no;
	return -1;
}

int socket_accept(int fd)
{
	return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The kernel may give a connection the very port that it is to reach as its own: if nobody listens there, the two ends of
 * one socket find each other, and a port without a server would seem to have one. */
static bool met_itself(int fd, const union address *there)
{
	union address here;
	socklen_t size = sizeof(here);

	memset(&here, 0, sizeof(here));
	if (getsockname(fd, &here.any, &size) < 0)
		return false;
	/* Both are on the loopback interface, and the port is in the same place for both families. */
	return here.four.sin_port == there->four.sin_port;
}

int socket_dialled(int fd)
{
	int err_no = 0;
	union address there;
	socklen_t size = sizeof(err_no);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err_no, &size) < 0)
		return errno;
	if (err_no)
		return err_no;
	memset(&there, 0, sizeof(there));
	size = sizeof(there);
	if (getpeername(fd, &there.any, &size) < 0)
		return errno == ENOTCONN ? EINPROGRESS : errno;
	return met_itself(fd, &there) ? ECONNREFUSED : 0;
}

void socket_finish(int fd)
{
	(void)shutdown(fd, SHUT_WR);
}

void socket_break(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}
