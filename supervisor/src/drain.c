#define _GNU_SOURCE
#include "drain.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "managed.h"
#include "process.h"
#include "store.h"

/* Of one pipe in one turn. Little, so that a flood in one stream hardly shifts what comes in the other. */
#define STEP (64u * 1024)
#define UNTIL_THE_END UINT64_MAX

static size_t least(uint64_t a, uint64_t b)
{
	return (size_t)(a < b ? a : b);
}

static void keep(struct drain *drain, const uint8_t *data, size_t n)
{
	struct managed *managed = drain->managed;
	struct log *log = &managed->log;

	drain->total += n;
	/* Of the limit of memory, say: the process is not to suffer for it. */
	if (managed->store >= 0 && store_write(managed->store, log->capacity, log->end, data, n))
		log_add(log, drain->stream, n);
	else
		log_lose(log, n);
}

static void drain_ready(struct source *source)
{
	static uint8_t piece[STEP];
	struct drain *drain = container_of(source, struct drain, source);
	size_t want = least(least(drain->until, STEP), drain->managed->log.capacity);
	ssize_t got = read(source->fd, piece, want);

	if (got > 0 && !drain->over) {
		keep(drain, piece, (size_t)got);
		if (drain->until != UNTIL_THE_END)
			drain->until -= (uint64_t)got;
	}
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		source_close(source);
	else if (drain->until)
		source_arm(source, EPOLLIN);
	if (got > 0 || source->fd < 0)
		managed_moved(drain->managed);
}

bool drain_open(struct drain *drain, int fd, struct managed *managed, enum log_stream stream)
{
	*drain = (struct drain){.source.fd = -1, .managed = managed, .stream = stream, .until = UNTIL_THE_END};
	return source_open(&drain->source, fd, EPOLLIN, drain_ready);
}

void drain_close(struct drain *drain)
{
	source_close(&drain->source);
}

void drain_settle(struct drain *drain)
{
	int held = 0;

	if (drain->source.fd < 0)
		return;
	if (ioctl(drain->source.fd, FIONREAD, &held) < 0 || held < 0)
		held = 0;
	drain->until = (uint64_t)held;
}

bool drain_pending(const struct drain *drain)
{
	return drain->source.fd >= 0 && drain->until > 0;
}

void drain_forget(struct drain *drain)
{
	drain->over = true;
	drain->until = UNTIL_THE_END;
	if (drain->source.fd >= 0)
		source_arm(&drain->source, EPOLLIN);
}
