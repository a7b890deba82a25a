#define _GNU_SOURCE
#include "flow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "connection.h"
#include "process.h"
#include "session.h"
#include "task.h"

/* Of one pipe in one turn: enough for speed, little enough that timers and other channels are not kept waiting. */
#define SEND_PIECES 4
#define DISCARD_STEP (1u << 20)
#define DISCARD_LITTLE (64u * 1024)
/* How long the pipe of a stream is left alone once it is empty. We run before every command, so without this each of
 * its writes would wake us: small frames, and most of the machine's time spent on changing between the two. */
#define REST (MILLISECOND / 4)
/* What is thrown away comes as fast as the command can write it. At the pipe's end it would stand still: where that could be
 * soon, the rests are shorter. */
#define SHORT_REST (MILLISECOND / 10)
#define FAST (PIPE_WIDE / 16)
/* What a terminal may hold when its command ends, at most: the kernel keeps 12 KiB or so, and somebody else may go on
 * writing to it. */
#define TERMINAL_HOLDS (64u * 1024)
/* What the kernel gives of a terminal at once. */
#define TERMINAL_PIECE 4096

static size_t least(uint64_t a, uint64_t b)
{
	return (size_t)(a < b ? a : b);
}

/* How many bytes may be sent now: 0 while credit or room is missing. */
static size_t sendable(const struct flow *flow)
{
	uint32_t credit = channel_credit(flow->channel);

	return least(least(credit, flow->limit), least(flow->until, WIRE_MAX_PAYLOAD));
}

/* Most commands say little or nothing: what a pipe holds is asked first, so that the queue need not grow to
 * a frame's full size for them. */
static size_t held(const struct flow *flow, size_t want)
{
	int bytes = 0;

	if (flow->terminal)
		return least(want, TERMINAL_PIECE);
	if (flow->total >= WIRE_MAX_PAYLOAD || ioctl(flow->source.fd, FIONREAD, &bytes) < 0)
		return want;
	return bytes > 0 ? least((uint64_t)bytes, want) : 1;
}

/* Both return what read(2) does: bytes, 0 at the end, -1 with errno. */
static ssize_t send_piece(struct flow *flow, size_t want)
{
	ssize_t got;
	uint8_t *room = connection_reserve(flow->channel->connection, WIRE_HEADER_BYTES + want);

	if (!room) {
		errno = ENOMEM;
		return -1;
	}
	got = read(flow->source.fd, room + WIRE_HEADER_BYTES, want);
	if (got > 0) {
		flow->limit -= (uint64_t)got;
		channel_spend(flow->channel, flow->frame, room, (uint32_t)got);
	}
	return got;
}

static ssize_t discard_piece(struct flow *flow)
{
	/* Only where a kernel cannot splice into /dev/null (gVisor) is it ever touched. */
	static uint8_t scratch[WIRE_MAX_PAYLOAD];
	ssize_t got = splice(flow->source.fd, NULL, session.null_fd, NULL, least(flow->until, DISCARD_STEP),
			     SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	if (got < 0 && (errno == EINVAL || errno == ENOSYS))
		got = read(flow->source.fd, scratch, least(flow->until, sizeof(scratch)));
	return got;
}

/* A stream gets pipes that are worth a rest, where the kernel grants them. */
static void grow_pipe(struct flow *flow)
{
	if (flow->grown || flow->total < PIPE_STREAM)
		return;
	flow->grown = true;
	if (flow->channel && flow->limit)
		connection_widen(flow->channel->connection);
	flow->rests = process_widen_pipe(flow->source.fd);
}

/* Take what can be taken now. Returns false when the pipe is over. */
static bool flow_take(struct flow *flow)
{
	for (int i = 0; i < SEND_PIECES && flow->until; i++) {
		bool sending = flow->channel && flow->limit;
		size_t want = sending ? sendable(flow) : 0;
		ssize_t got;

		if (sending && want == 0) {
			flow->blocked = true;
			return true;
		}
		if (sending)
			want = held(flow, want);
		got = sending ? send_piece(flow, want) : discard_piece(flow);
		if (got == 0)
			return false;
		if (got < 0 && errno == ENOMEM)
			flow->blocked = true;
		if (got < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOMEM))
			return true;
		if (got < 0) {
			flow->err_no = errno;
			return false;
		}
		flow->total += (uint64_t)got;
		if (flow->until != UNBOUNDED)
			flow->until -= (uint64_t)got;
		grow_pipe(flow);
		if ((size_t)got < (sending ? want : DISCARD_LITTLE))
			break;
	}
	return true;
}

/* Wait for more: in the epoll set or, when a stream's pipe has just been emptied, until it has filled. */
static void flow_go_on(struct flow *flow, uint64_t taken)
{
	bool throwing = !flow->channel || !flow->limit;

	if (flow->rests && flow->until == UNBOUNDED && taken > 0 && taken < PIPE_WIDE)
		flow->rests_until = clock_monotonic() + (throwing && taken >= FAST ? SHORT_REST : REST);
	else
		source_arm(&flow->source, EPOLLIN);
}

/* What a terminal holds lies in more than one of the kernel's buffers, and cannot be counted. Looking makes the kernel
 * bring it to where it can be read. */
static bool is_empty(const struct flow *flow)
{
	struct pollfd look = {.fd = flow->source.fd, .events = POLLIN};

	return poll(&look, 1, 0) == 0;
}

static void flow_ready(struct source *source)
{
	struct flow *flow = container_of(source, struct flow, source);
	uint64_t before = flow->total;

	flow->rests_until = NEVER;
	if (!flow_take(flow))
		flow_close(flow);
	else if (flow->terminal && flow->until != UNBOUNDED && is_empty(flow))
		flow->until = 0;
	else if (!flow->blocked && flow->until)
		flow_go_on(flow, flow->total - before);
	if (flow->source.fd < 0 || flow->until == 0 || flow->total != before)
		flow->task->kind->flowed(flow->task);
}

bool flow_open(struct flow *flow, int fd, struct task *task, struct channel *channel, uint8_t frame,
	       uint64_t limit)
{
	*flow = (struct flow){
		.source.fd = -1, .task = task, .channel = channel, .frame = frame, .limit = limit,
		.until = UNBOUNDED, .rests_until = NEVER,
	};
	return source_open(&flow->source, fd, EPOLLIN, flow_ready);
}

void flow_close(struct flow *flow)
{
	source_close(&flow->source);
	flow->blocked = false;
	flow->rests_until = NEVER;
}

void flow_due(struct flow *flow, uint64_t now)
{
	if (flow->rests_until <= now)
		flow_ready(&flow->source);
}

void flow_resume(struct flow *flow)
{
	if (!flow->blocked || flow->source.fd < 0)
		return;
	flow->blocked = false;
	flow->rests_until = NEVER;
	source_arm(&flow->source, EPOLLIN);
}

void flow_discard(struct flow *flow)
{
	flow->channel = NULL;
	flow->until = UNBOUNDED;
	flow->blocked = false;
	flow->rests_until = NEVER;
	if (flow->source.fd >= 0)
		source_arm(&flow->source, EPOLLIN);
}

void flow_settle(struct flow *flow)
{
	int held = 0;

	if (flow->source.fd < 0)
		return;
	if (flow->terminal)
		held = is_empty(flow) ? 0 : TERMINAL_HOLDS;
	else if (ioctl(flow->source.fd, FIONREAD, &held) < 0 || held < 0)
		held = 0;
	flow->until = (uint64_t)held;
	/* Nobody waits for the end of a rest. */
	if (flow->rests_until != NEVER) {
		flow->rests_until = NEVER;
		source_arm(&flow->source, EPOLLIN);
	}
}

bool flow_pending(const struct flow *flow)
{
	return flow->source.fd >= 0 && flow->until > 0;
}
