#define _GNU_SOURCE
#include "log.h"

#include <sys/mman.h>

/* A page of them. */
#define FIRST_MARKS 512u

/* Shared with nobody, but not copied by a fork either: see store.h. */
static uint64_t *marks_new(uint32_t count)
{
	void *marks = mmap(NULL, count * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return marks == MAP_FAILED ? NULL : marks;
}

static void marks_free(uint64_t *marks, uint32_t count)
{
	if (marks)
		(void)munmap(marks, count * sizeof(uint64_t));
}

bool log_init(struct log *log, uint32_t capacity)
{
	uint32_t limit = capacity / LOG_BYTES_PER_MARK;

	*log = (struct log){
		.capacity = capacity, .room = FIRST_MARKS, .limit = limit > FIRST_MARKS ? limit : FIRST_MARKS,
	};
	log->marks = marks_new(FIRST_MARKS);
	return log->marks != NULL;
}

void log_free(struct log *log)
{
	marks_free(log->marks, log->room);
	*log = (struct log){0};
}

/* At most twice around. */
static uint32_t wrap(const struct log *log, uint32_t place)
{
	return place < log->room ? place : place - log->room;
}

static uint64_t mark_at(const struct log *log, uint32_t index)
{
	return log->marks[wrap(log, log->start + index)];
}

static uint64_t begins(const struct log *log, uint32_t index)
{
	return mark_at(log, index) >> 1;
}

/* The oldest run goes, as far as it is still there. */
static void drop_oldest(struct log *log)
{
	log->start = wrap(log, log->start + 1);
	log->count--;
	if (log->count && begins(log, 0) > log->first)
		log->first = begins(log, 0);
}

/* Room for one more mark, if need be at the price of the oldest run. */
static void make_room(struct log *log)
{
	uint32_t room = 2 * log->room < log->limit ? 2 * log->room : log->limit;
	uint64_t *marks = NULL;

	if (log->count < log->room)
		return;
	if (room > log->room)
		marks = marks_new(room);
	if (!marks) {
		drop_oldest(log);
		return;
	}
	for (uint32_t i = 0; i < log->count; i++)
		marks[i] = mark_at(log, i);
	marks_free(log->marks, log->room);
	log->marks = marks;
	log->start = 0;
	log->room = room;
}

static void forget_before_first(struct log *log)
{
	while (log->count > 1 && begins(log, 1) <= log->first)
		drop_oldest(log);
}

void log_add(struct log *log, enum log_stream stream, uint64_t n)
{
	if (!n)
		return;
	if (!log->count || (mark_at(log, log->count - 1) & 1) != (uint64_t)stream) {
		make_room(log);
		log->marks[wrap(log, log->start + log->count)] = log->end << 1 | (uint64_t)stream;
		log->count++;
	}
	log->end += n;
	if (log->end - log->first > log->capacity)
		log->first = log->end - log->capacity;
	forget_before_first(log);
}

void log_drop(struct log *log)
{
	log->first = log->end;
	log->start = log->count = 0;
}

void log_lose(struct log *log, uint64_t n)
{
	log->end += n;
	log_drop(log);
}

uint64_t log_run(const struct log *log, uint64_t offset, enum log_stream *stream)
{
	uint32_t low = 0, high = log->count;

	if (offset < log->first || offset >= log->end)
		return 0;
	/* The last mark that is not behind the offset. */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (begins(log, middle) <= offset)
			low = middle;
		else
			high = middle;
	}
	*stream = (enum log_stream)(mark_at(log, low) & 1);
	return (low + 1 < log->count ? begins(log, low + 1) : log->end) - offset;
}
