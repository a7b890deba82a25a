#define _GNU_SOURCE
#include "managed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "exec.h"
#include "reader.h"
#include "session.h"
#include "store.h"
#include "task.h"
#include "writer.h"

/* Running, kept, and those that wait to be forgotten because somebody still reads them or something of them is alive. */
#define MAX_MANAGED 512
/* The logs of the ended take at most this part of the container's memory. */
#define KEPT_PART 32

static struct managed table[MAX_MANAGED];
static uint64_t last_id, last_ended;

/* --- the table ------------------------------------------------------------------------------------------- */

struct managed *managed_find(uint64_t id)
{
	for (uint32_t i = 0; id && i < MAX_MANAGED; i++)
		if (table[i].id == id && table[i].known)
			return &table[i];
	return NULL;
}

struct managed *managed_after(uint64_t id)
{
	struct managed *next = NULL;

	for (uint32_t i = 0; i < MAX_MANAGED; i++)
		if (table[i].known && table[i].id > id && (!next || table[i].id < next->id))
			next = &table[i];
	return next;
}

static uint64_t running(void)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < MAX_MANAGED; i++)
		count += table[i].id && !table[i].finished;
	return count;
}

static bool name_taken(const char *name)
{
	for (uint32_t i = 0; *name && i < MAX_MANAGED; i++)
		if (table[i].id && !table[i].finished && strcmp(table[i].name, name) == 0)
			return true;
	return false;
}

static struct managed *free_slot(void)
{
	for (uint32_t i = 0; i < MAX_MANAGED; i++)
		if (!table[i].id)
			return &table[i];
	return NULL;
}

static void drop_log(struct managed *managed)
{
	if (managed->store >= 0)
		close(managed->store);
	managed->store = -1;
	log_drop(&managed->log);
}

static void close_input(struct managed *managed)
{
	if (managed->input >= 0)
		close(managed->input);
	managed->input = -1;
}

static void close_ends(struct managed *managed)
{
	drain_close(&managed->out);
	drain_close(&managed->err);
	source_close(&managed->begun);
	close_input(managed);
}

/* Closed: the loop may be about to call what was one of its sources a moment ago. */
static void clear(struct managed *managed)
{
	*managed = (struct managed){
		.out.source.fd = -1, .err.source.fd = -1, .begun.fd = -1, .input = -1, .store = -1,
	};
}

static void forget(struct managed *managed)
{
	close_ends(managed);
	drop_log(managed);
	log_free(&managed->log);
	free(managed->argv);
	clear(managed);
}

/* --- what is kept of those that have ended --------------------------------------------------------------- */

static uint64_t held(const struct managed *managed)
{
	const struct log *log = &managed->log;

	if (managed->store < 0)
		return 0;
	return log->end < log->capacity ? log->end : log->capacity;
}

static uint64_t most_kept(void)
{
	struct cgroup_limits limits;

	cgroup_read(&limits);
	return limits.memory / KEPT_PART < WIRE_KEPT_LOG_BYTES ? limits.memory / KEPT_PART : WIRE_KEPT_LOG_BYTES;
}

/* The one that has been over for the longest time; with a log, or one that can be forgotten altogether. */
static struct managed *oldest(bool with_log)
{
	struct managed *found = NULL;

	for (uint32_t i = 0; i < MAX_MANAGED; i++) {
		struct managed *managed = &table[i];

		if (!managed->finished || (found && found->ended_as < managed->ended_as))
			continue;
		if (with_log ? managed->store >= 0 : !managed->readers && !managed->task)
			found = managed;
	}
	return found;
}

static void kept(uint64_t *bytes, uint64_t *count)
{
	*bytes = *count = 0;
	for (uint32_t i = 0; i < MAX_MANAGED; i++) {
		if (!table[i].finished)
			continue;
		*bytes += held(&table[i]);
		++*count;
	}
}

/* Those whose log goes while somebody reads it find a gap: whoever stalls does not decide what is kept. */
static void make_room(void)
{
	uint64_t most = most_kept(), bytes, count;
	struct managed *managed;

	kept(&bytes, &count);
	while (bytes > most && (managed = oldest(true)) && managed->ended_as != last_ended) {
		bytes -= held(managed);
		drop_log(managed);
		reader_moved(managed);
	}
	while (count > WIRE_KEPT_PROCESSES && (managed = oldest(false))) {
		forget(managed);
		count--;
	}
}

/* --- the beginning --------------------------------------------------------------------------------------- */

/* As much as is worth showing to somebody else. */
static bool copy_argv(struct managed *managed, const struct wire_message *message)
{
	const uint8_t *value;
	uint32_t length, cursor = 0, count = 0;

	managed->argv = malloc(MANAGED_ARGV_BYTES + MANAGED_ARGV_COUNT);
	if (!managed->argv)
		return false;
	while ((value = wire_next(message, FIELD_ARGUMENT, &cursor, &length)) && !managed->argv_cut) {
		uint32_t room = MANAGED_ARGV_BYTES + count - managed->argv_bytes;

		managed->argv_cut = length > room || count == MANAGED_ARGV_COUNT;
		if (count++ == MANAGED_ARGV_COUNT)
			break;
		if (length > room)
			length = room;
		memcpy(managed->argv + managed->argv_bytes, value, length);
		managed->argv_bytes += length;
		managed->argv[managed->argv_bytes++] = '\0';
	}
	return true;
}

static uint64_t wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint32_t check(const struct wire_message *message, const uint8_t *name, uint32_t length)
{
	uint64_t bytes = wire_uint(message, FIELD_LOG_BYTES, 0);

	if (bytes < WIRE_MIN_LOG_BYTES || bytes > WIRE_MAX_LOG_BYTES || length > WIRE_MAX_PROCESS_NAME ||
	    (name && !length))
		return ERROR_INVALID;
	return running() >= session.max_processes ? ERROR_TOO_MANY_PROCESSES : 0;
}

struct managed *managed_new(const struct wire_message *message, uint32_t *error)
{
	struct managed *managed = free_slot();
	uint32_t length;
	const uint8_t *name = wire_bytes(message, FIELD_PROCESS_NAME, &length);
	char terminated[WIRE_MAX_PROCESS_NAME + 1] = "";

	*error = check(message, name, length);
	if (*error)
		return NULL;
	if (name)
		memcpy(terminated, name, length);
	if (name_taken(terminated)) {
		*error = ERROR_NAME_TAKEN;
		return NULL;
	}
	if (!managed) {
		*error = ERROR_TOO_MANY_PROCESSES;
		return NULL;
	}
	clear(managed);
	managed->id = ++last_id;
	managed->store = store_open();
	managed->started_ns = wall_clock();
	memcpy(managed->name, terminated, sizeof(terminated));
	if (managed->store < 0)
		*error = ERROR_IO;
	else if (!log_init(&managed->log, (uint32_t)wire_uint(message, FIELD_LOG_BYTES, 0)) ||
		 !copy_argv(managed, message))
		*error = ERROR_OUT_OF_MEMORY;
	if (!*error)
		return managed;
	forget(managed);
	return NULL;
}

/* Its pid comes first, then the end: the program has begun, or there will be none, and why lies in the report. */
static void begun_ready(struct source *source)
{
	struct managed *managed = container_of(source, struct managed, begun);
	pid_t pid;
	ssize_t got = read(source->fd, &pid, sizeof(pid));

	if (got == (ssize_t)sizeof(pid)) {
		managed->pid = pid;
		source_arm(source, EPOLLIN);
	} else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		source_arm(source, EPOLLIN);
	} else {
		source_close(source);
		exec_begun(managed->task);
	}
}

bool managed_connect(struct managed *managed, struct task *task, int ends[4])
{
	managed->task = task;
	if (!drain_open(&managed->out, ends[MANAGED_OUT], managed, LOG_STDOUT))
		return false;
	ends[MANAGED_OUT] = -1;
	if (!drain_open(&managed->err, ends[MANAGED_ERR], managed, LOG_STDERR))
		return false;
	ends[MANAGED_ERR] = -1;
	if (!source_open(&managed->begun, ends[MANAGED_BEGUN], EPOLLIN, begun_ready))
		return false;
	ends[MANAGED_BEGUN] = -1;
	managed->input = ends[MANAGED_IN];
	ends[MANAGED_IN] = -1;
	return true;
}

void managed_discard(struct managed *managed)
{
	if (managed->task)
		managed->task->command.managed = NULL;
	forget(managed);
}

/* --- the end --------------------------------------------------------------------------------------------- */

void managed_moved(struct managed *managed)
{
	reader_moved(managed);
	if (managed->task)
		managed->task->kind->flowed(managed->task);
}

/* What its pipes still hold comes first. */
static bool drained(struct managed *managed)
{
	struct command *command = &managed->task->command;

	if (!command->settled) {
		command->settled = true;
		drain_settle(&managed->out);
		drain_settle(&managed->err);
	}
	return !drain_pending(&managed->out) && !drain_pending(&managed->err);
}

bool managed_finish(struct managed *managed)
{
	bool first = !managed->finished;

	if (managed->begun.fd >= 0 || (first && !drained(managed)))
		return false;
	if (!first) {
		managed->outcome.killed = managed->task->command.killed;
		managed->outcome.left_running = managed->task->command.left_running;
		return true;
	}
	outcome_of(managed->task, managed->out.total, managed->err.total, &managed->outcome);
	managed->finished = true;
	managed->ended_as = ++last_ended;
	managed->ended_ns = wall_clock();
	close_input(managed);
	drain_forget(&managed->out);
	drain_forget(&managed->err);
	writers_fail(managed, ERROR_PROCESS_ENDED);
	reader_moved(managed);
	make_room();
	return true;
}

void managed_gone(struct managed *managed)
{
	managed->task = NULL;
	close_ends(managed);
	reader_moved(managed);
	make_room();
}

void managed_detach(struct task **list, struct task *task)
{
	while (*list && *list != task)
		list = &(*list)->attachment.next;
	if (*list)
		*list = task->attachment.next;
}
