#define _GNU_SOURCE
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "channel.h"
#include "task.h"

bool terminal_way(int ends[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	if (fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
		return true;
	close(ends[0]);
	close(ends[1]);
	return false;
}

/* --- the size -------------------------------------------------------------------------------------------- */

static bool take_side(const struct wire_message *message, uint8_t field, uint16_t *side)
{
	uint64_t value = wire_uint(message, field, 0);

	if (value == 0 || value > WIRE_MAX_TERMINAL_SIDE)
		return false;
	*side = (uint16_t)value;
	return true;
}

bool terminal_size(const struct wire_message *message, uint16_t *rows, uint16_t *columns)
{
	return take_side(message, FIELD_ROWS, rows) && take_side(message, FIELD_COLUMNS, columns);
}

/* The kernel sends SIGWINCH to whoever is in the foreground, if the size is another one. */
static void apply_size(const struct channel *channel, int fd)
{
	struct winsize size = {.ws_row = channel->rows, .ws_col = channel->columns};

	(void)ioctl(fd, TIOCSWINSZ, &size);
}

uint32_t terminal_resize(struct channel *channel, const struct wire_message *message)
{
	if (channel->operation != OPERATION_TERMINAL)
		return VIOLATION_BAD_STATE;
	if (!terminal_size(message, &channel->rows, &channel->columns))
		return VIOLATION_BAD_VALUE;
	/* One that comes before the terminal does is applied with it. */
	if (channel->task && channel->task->out.terminal && channel->task->out.source.fd >= 0)
		apply_size(channel, channel->task->out.source.fd);
	return 0;
}

/* --- its two sides --------------------------------------------------------------------------------------- */

/* What recvmsg(2) returns; both sides are -1 unless both came. */
static ssize_t receive_sides(int way, int sides[2])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	char nothing;
	struct iovec part = {&nothing, 1};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(way, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	sides[0] = sides[1] = -1;
	if (header && header->cmsg_len == CMSG_LEN(2 * sizeof(int)))
		memcpy(sides, CMSG_DATA(header), 2 * sizeof(int));
	return got;
}

/* The master goes to output and input, each with a descriptor of its own: one of them may be over before the other. */
static bool connect_master(struct task *task, int master)
{
	int input = fcntl(master, F_DUPFD_CLOEXEC, 0);

	if (input < 0 || !flow_open(&task->out, master, task, task->channel, FRAME_STDOUT, UNBOUNDED)) {
		if (input >= 0)
			close(input);
		close(master);
		return false;
	}
	task->out.terminal = true;
	if (channel_connect_input(task->channel, input))
		return true;
	close(input);
	return false;
}

void terminal_take(struct task *task)
{
	int sides[2];
	ssize_t got;

	if (task->way.fd < 0)
		return;
	got = receive_sides(task->way.fd, sides);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		source_arm(&task->way, EPOLLIN);
		return;
	}
	/* Without a terminal, the process has told why, or has been killed: its report says the rest. */
	source_close(&task->way);
	if (sides[0] < 0)
		return;
	task->terminal = sides[1];
	if (!task->channel) {
		close(sides[0]);
		return;
	}
	apply_size(task->channel, sides[0]);
	if (!connect_master(task, sides[0]))
		task->kind->cancel(task);
}

static void way_ready(struct source *source)
{
	terminal_take(container_of(source, struct task, way));
}

bool terminal_await(struct task *task, int way)
{
	return source_open(&task->way, way, EPOLLIN, way_ready);
}

void terminal_release(struct task *task)
{
	source_close(&task->way);
	if (task->terminal >= 0)
		close(task->terminal);
	task->terminal = -1;
}

void terminal_hang_up(struct task *task)
{
	flow_close(&task->out);
	if (task->channel)
		channel_disconnect_input(task->channel);
	terminal_release(task);
}
