#define _GNU_SOURCE
#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "session.h"
#include "wire_table.h"

/* The user's own, and nobody's besides: what the runtime's mount says lets a group write to it. Where a kernel has no
 * modes for terminals they have none to be afraid of. */
static void keep_to_oneself(int terminal)
{
	(void)fchmod(terminal, 0600);
}

/* Erasing takes away a whole character, not its last byte. Everything else is as the kernel has it. */
static bool expect_utf8(int terminal)
{
	struct termios modes;

	if (tcgetattr(terminal, &modes) < 0)
		return false;
	modes.c_iflag |= IUTF8;
	return tcsetattr(terminal, TCSANOW, &modes) == 0;
}

/* Opened by number in the directory that PID 1 found before any workload ran: whatever becomes of /dev. */
static int open_terminal(int master)
{
	char name[16];
	int locked = 0;
	unsigned int number;

	if (ioctl(master, TIOCSPTLCK, &locked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return -1;
	(void)snprintf(name, sizeof(name), "%u", number);
	return openat(session.pts_fd, name, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static bool arrange(int terminal, uint16_t rows, uint16_t columns)
{
	struct winsize size = {.ws_row = rows, .ws_col = columns};

	keep_to_oneself(terminal);
	return expect_utf8(terminal) && ioctl(terminal, TIOCSWINSZ, &size) == 0 &&
	       ioctl(terminal, TIOCSCTTY, 0) == 0;
}

static bool hand_over(int way, int master, int terminal)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {.bytes = {0}};
	char nothing = 0;
	struct iovec part = {&nothing, 1};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	int sides[2] = {master, terminal};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(sides));
	memcpy(CMSG_DATA(header), sides, sizeof(sides));
	return sendmsg(way, &message, MSG_NOSIGNAL) > 0;
}

int pty_make(int way, uint16_t rows, uint16_t columns)
{
	int master = openat(session.pts_fd, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int terminal = -1, err_no;

	if (master < 0)
		return -1;
	terminal = open_terminal(master);
	if (terminal >= 0 && arrange(terminal, rows, columns) && hand_over(way, master, terminal)) {
		close(master);
		return terminal;
	}
	err_no = errno;
	if (terminal >= 0)
		close(terminal);
	close(master);
	errno = err_no;
	return -1;
}

uint32_t pty_error(int err_no)
{
	switch (err_no) {
	case ENOSPC:
	case EMFILE:
	case ENFILE:
		return ERROR_TERMINAL_LIMIT;
	case ENOMEM:
		return ERROR_OUT_OF_MEMORY;
	case EPIPE:
		return ERROR_CANCELLED; /* PID 1 does not wait for it any more */
	default:
		return ERROR_NO_TERMINAL;
	}
}
