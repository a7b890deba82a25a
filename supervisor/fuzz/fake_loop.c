#define _GNU_SOURCE
/* The loop, over poll, in which the input says when time passes. */
#include "fake_processes.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "connection.h"
#include "fake.h"
#include "loop.h"
#include "session.h"

#define MAX_SOURCES 4096
/* Turns without a word from the client or a process: more is a loop that never rests. */
#define MAX_TURNS 20000

static struct {
	struct source *source;
	uint32_t events;
} sources[MAX_SOURCES];
static unsigned source_count;

static unsigned index_of(const struct source *source)
{
	for (unsigned i = 0; i < source_count; i++) {
		if (sources[i].source == source)
			return i;
	}
	abort();
}

bool source_open(struct source *source, int fd, uint32_t events, void (*ready)(struct source *source))
{
	MUST(fd >= 0 && source_count < MAX_SOURCES);
	*source = (struct source){ .fd = fd, .armed = events != 0, .ready = ready };
	sources[source_count].source = source;
	sources[source_count++].events = events;
	return true;
}

void source_arm(struct source *source, uint32_t events)
{
	MUST(source->fd >= 0);
	sources[index_of(source)].events = events;
	source->armed = true;
}

void source_take_over(struct source *source, struct source *other, void (*ready)(struct source *source))
{
	unsigned index = index_of(other);

	*source = (struct source){ .fd = other->fd, .ready = ready };
	sources[index].source = source;
	other->fd = -1;
	other->armed = false;
}

void source_close(struct source *source)
{
	if (source->fd < 0)
		return;
	sources[index_of(source)] = sources[--source_count];
	close(source->fd);
	source->fd = -1;
	source->armed = false;
}

unsigned fake_open_sources(void)
{
	return source_count;
}

/* One turn: false when nothing was ready. */
static bool turn(void)
{
	static struct pollfd waits[MAX_SOURCES];
	static struct source *waiting[MAX_SOURCES];
	unsigned count = 0;
	bool any = false;
	int ready;

	for (unsigned i = 0; i < source_count; i++) {
		if (!sources[i].source->armed)
			continue;
		waits[count] = (struct pollfd){
			.fd = sources[i].source->fd,
			.events = (short)(sources[i].events == EPOLLOUT ? POLLOUT : POLLIN),
		};
		waiting[count++] = sources[i].source;
	}
	/* The fuzzer's own alarm interrupts even a poll that does not wait. */
	do
		ready = poll(waits, count, 0);
	while (ready < 0 && errno == EINTR);
	MUST(ready >= 0);
	for (unsigned i = 0; i < count; i++) {
		/* A handler before this one may have closed it. */
		if (waits[i].revents == 0 || waiting[i]->fd != waits[i].fd || !waiting[i]->armed)
			continue;
		waiting[i]->armed = false;
		waiting[i]->ready(waiting[i]);
		any = true;
	}
	return any;
}

void fake_settle(void)
{
	bool more = true;

	for (unsigned turns = 0; more && !session_ending(); turns++) {
		MUST(turns < MAX_TURNS);
		/* In this order: what a connection's turn arms may be ready already. */
		more = connections_turn();
		more |= turn();
	}
}
