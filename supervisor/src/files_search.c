/* `search`: which lines of which files a pattern matches, with no more memory than one window. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "clock.h"
#include "files_job.h"
#include "files_walk.h"
#include "filter.h"
#include "lines.h"
#include "wire.h"

#define OUTPUT_BYTES (64u << 10)
/* What is sent of a line, and how much of that is before the match where the line is longer. */
#define SHOWN_BYTES 4096u
#define SHOWN_BEFORE 1024u
/* What one search sends at most. */
#define MAX_OUTPUT (16u << 20)
/* A file whose first piece holds a NUL is no text. */
#define PIECE (256u << 10)
/* PID 1 takes a helper that says nothing for too long for a dead one, and so does the client PID 1. */
#define TELL_EVERY SECOND

/* Why a search ended early: the value of the last `stopped`. */
enum stop { STOP_MATCHES = 1, STOP_OUTPUT, STOP_TIME };

struct search {
	struct job *job;
	struct regex pattern;
	struct filter filter;
	struct lines lines;
	struct walker tree;
	struct wire_writer writer;
	uint64_t limit, sent, deadline, told;
	uint64_t file_limit;
	uint64_t matches, files, binary, too_large, unreadable;
	uint32_t stop;
	bool failed;               /* reported */
	uint32_t path_length;      /* of the directory's path, with its slash */
	uint32_t name_length;      /* of the whole path of the file at hand */
	char path[WIRE_MAX_PATH + NAME_BYTES];
	uint8_t output[OUTPUT_BYTES];
};

/* --- what is told ---------------------------------------------------------------------------------------- */

static void flush(struct search *search)
{
	if (search->writer.length && files_send(search->job, search->output, search->writer.length) < 0)
		search->failed = true;
	search->sent += search->writer.length;
	wire_writer_init(&search->writer, search->output, sizeof search->output);
}

static void make_room(struct search *search)
{
	if (sizeof search->output - search->writer.length < 4 + WIRE_MAX_RECORD)
		flush(search);
}

static void tell_count(struct search *search, uint32_t event, uint64_t count)
{
	make_room(search);
	wire_begin_record(&search->writer);
	wire_put_uint(&search->writer, FIELD_ENTRIES, count);
	wire_put_uint(&search->writer, FIELD_EVENT, event);
	wire_end_record(&search->writer);
}

static void tell_counts(struct search *search)
{
	tell_count(search, EVENT_SEARCHED, search->files);
	tell_count(search, EVENT_BINARY, search->binary);
	tell_count(search, EVENT_TOO_LARGE, search->too_large);
	tell_count(search, EVENT_UNREADABLE, search->unreadable);
	tell_count(search, EVENT_LONG_LINES, search->lines.too_long);
	if (search->stop)
		tell_count(search, EVENT_STOPPED, search->stop);
	flush(search);
}

/* Whether the time is over; also says from time to time that it goes on. */
static bool is_late(void *context)
{
	struct search *search = context;
	uint64_t now = clock_monotonic();

	if (now >= search->deadline && !search->stop)
		search->stop = STOP_TIME;
	if (now >= search->told + TELL_EVERY) {
		search->told = now;
		tell_counts(search);
	}
	return search->stop || search->failed;
}

/* The part of a line that is sent begins here: so that the match is in it, and in front of a character. */
static size_t shown_from(const struct line *line)
{
	size_t from = 0;

	if (line->length > SHOWN_BYTES && line->start > SHOWN_BEFORE)
		from = line->start - SHOWN_BEFORE;
	while (from < line->start && (line->text[from] & 0xc0) == 0x80)
		from++;
	return from;
}

static bool take_line(void *context, const struct line *line)
{
	struct search *search = context;
	size_t from = line->match ? shown_from(line) : 0;
	size_t length = line->length - from < SHOWN_BYTES ? line->length - from : SHOWN_BYTES;
	size_t end;

	/* Whole characters, where there are any. */
	for (int i = 0; i < 3 && from + length < line->length && (line->text[from + length] & 0xc0) == 0x80; i++)
		length--;
	end = line->end - from < length ? line->end - from : length;
	if (line->match && search->matches == search->limit)
		search->stop = STOP_MATCHES;
	else if (search->sent + search->writer.length > MAX_OUTPUT)
		search->stop = STOP_OUTPUT;
	if (search->stop || search->failed)
		return false;
	search->matches += line->match;
	make_room(search);
	wire_begin_record(&search->writer);
	if (line->match) {
		wire_put_uint(&search->writer, FIELD_OFFSET, line->start - from);
		wire_put_uint(&search->writer, FIELD_LIMIT, end);
	}
	wire_put_uint(&search->writer, FIELD_SIZE, line->length);
	wire_put_uint(&search->writer, FIELD_ENTRIES, line->number);
	wire_put_bytes(&search->writer, FIELD_NAME, search->path, search->name_length);
	wire_put_bytes(&search->writer, FIELD_LINE, line->text + from, length);
	wire_put_uint(&search->writer, FIELD_EVENT, line->match ? EVENT_MATCH : EVENT_CONTEXT);
	wire_end_record(&search->writer);
	return true;
}

/* --- one file -------------------------------------------------------------------------------------------- */

/* Read it to its end, or to where it is larger than files may be: then what was found in it stays. */
static void search_text(struct search *search, int fd)
{
	struct lines *lines = &search->lines;
	uint64_t size = 0;

	lines_begin(lines);
	while (!lines->over && !is_late(search)) {
		size_t room;
		uint8_t *to = lines_room(lines, &room);
		ssize_t got = read(fd, to, room < PIECE ? room : PIECE);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			search->unreadable++;
			return;
		}
		if (got == 0) {
			search->files++;
			lines_finish(lines);
			return;
		}
		if (size == 0 && memchr(to, '\0', (size_t)got)) {
			search->binary++;
			return;
		}
		size += (uint64_t)got;
		if (size > search->file_limit) {
			search->too_large++;
			return;
		}
		lines_came(lines, (size_t)got);
	}
}

/* Search what is open if it is a regular file; others are passed by, since reading them could wait for ever or do something. */
static void search_fd(struct search *search, int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		search->unreadable++;
	else if (S_ISREG(status.st_mode) && (uint64_t)status.st_size > search->file_limit)
		search->too_large++;
	else if (S_ISREG(status.st_mode))
		search_text(search, fd);
	close(fd);
}

static bool is_regular(const struct search *search, const struct entry *entry)
{
	struct stat status;

	if (entry->type != DT_UNKNOWN)
		return entry->type == DT_REG;
	return fstatat(search->tree.fd, entry->name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode);
}

static void search_entry(struct search *search, const struct entry *entry)
{
	int fd;

	if (!is_regular(search, entry) || !filter_includes(&search->filter, search->path, search->name_length))
		return;
	/* O_NONBLOCK: it may be something else by now, and a FIFO must not hang the open. */
	fd = openat(search->tree.fd, entry->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		search_fd(search, fd);
	else if (!walker_is_race(errno))
		search->unreadable++;
}

/* --- a tree ---------------------------------------------------------------------------------------------- */

/* File systems that make up what they hold: searched only when they are asked for themselves. */
static bool is_made_up(int fd)
{
	static const uint32_t types[] = {
		0x9fa0,      /* proc */
		0x62656572,  /* sysfs */
		0x27e0eb,    /* cgroup */
		0x63677270,  /* cgroup2 */
		0x64626720,  /* debugfs */
		0x74726163,  /* tracefs */
		0xcafe4a11,  /* bpf */
	};
	struct statfs status;

	if (fstatfs(fd, &status) < 0)
		return false;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if ((uint32_t)status.f_type == types[i])
			return true;
	return false;
}

/* Whether a directory that was entered lies on another file system than the one above, and is not to be searched. */
static bool is_foreign(const struct search *search)
{
	const struct walker *tree = &search->tree;
	struct stat status;

	return fstat(tree->fd, &status) == 0 && status.st_dev != tree->levels[tree->depth - 1].device &&
	       is_made_up(tree->fd);
}

static void go_down(struct search *search, const struct entry *entry)
{
	if (search->name_length > WIRE_MAX_PATH ||
	    walker_enter(&search->tree, entry, search->tree.offset, search->path_length) < 0) {
		search->unreadable += search->name_length > WIRE_MAX_PATH || !walker_is_race(errno);
		return;
	}
	search->path[search->name_length] = '/';
	search->path_length = search->name_length + 1;
	if (!is_foreign(search))
		return;
	if (walker_leave(&search->tree) < 0)
		search->failed = files_fail(search->job, "search", errno) < 0;
	search->path_length = search->tree.levels[search->tree.depth].path_length;
}

static bool step(struct search *search)
{
	struct walker *tree = &search->tree;
	struct entry *entry;
	int more = walker_next(tree, &entry);

	if (more < 0 && tree->depth > 0) {
		search->unreadable++;
		more = 0;
	}
	if (more == 0 && tree->depth == 0)
		return false;
	if (more < 0 || (more == 0 && walker_leave(tree) < 0)) {
		search->failed = files_fail(search->job, "search", errno) < 0;
		return false;
	}
	if (more == 0) {
		search->path_length = tree->levels[tree->depth].path_length;
		return true;
	}
	search->name_length = search->path_length + (uint32_t)strlen(entry->name);
	memcpy(search->path + search->path_length, entry->name, search->name_length - search->path_length);
	if (filter_excludes(&search->filter, search->path, search->name_length))
		return true;
	/* Where the kind is not told, opening it as a directory tells. */
	if (entry->type == DT_DIR || (entry->type == DT_UNKNOWN && !is_regular(search, entry)))
		go_down(search, entry);
	else if (search->name_length <= WIRE_MAX_PATH)
		search_entry(search, entry);
	return !is_late(search);
}

static void search_tree(struct search *search, int fd)
{
	walker_start(&search->tree, fd, 0);
	while (!search->failed && !search->stop && step(search))
		;
	walker_close(&search->tree);
}

/* --- the request ----------------------------------------------------------------------------------------- */

static int prepare(struct search *search)
{
	const struct wire_message *message = search->job->request->message;
	uint32_t length;
	const uint8_t *program = message ? wire_bytes(message, FIELD_PROGRAM, &length) : NULL;

	if (!program || !regex_load(&search->pattern, program, length) || !filter_load(&search->filter, message))
		return files_refuse(search->job, "program", ERROR_INVALID);
	search->limit = search->job->request->limit;
	search->file_limit = wire_uint(message, FIELD_MAX_FILE_BYTES, 0);
	search->told = clock_monotonic();
	search->deadline = clock_after_ms(search->told, wire_uint(message, FIELD_TIMEOUT_MS, 0));
	search->lines = (struct lines){
		.pattern = &search->pattern,
		.dfa = regex_dfa_new(&search->pattern),
		.before = wire_uint(message, FIELD_BEFORE, 0),
		.after = wire_uint(message, FIELD_AFTER, 0),
		.take = take_line,
		.late = is_late,
		.context = search,
		.window = malloc(LINES_WINDOW),
	};
	return search->lines.window ? 0 : files_fail(search->job, "memory", ENOMEM);
}

int files_search(struct job *job)
{
	static struct search search;
	struct stat status = {0};
	int fd;

	search = (struct search){.job = job};
	wire_writer_init(&search.writer, search.output, sizeof search.output);
	if (prepare(&search) < 0)
		return -1;
	/* O_NONBLOCK is in it. */
	fd = walk_open(job->directory, job->path, job->mode, O_RDONLY);
	if (fd < 0)
		return files_fail(job, "open", errno);
	if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
		search_tree(&search, fd);
	} else if (S_ISREG(status.st_mode)) {
		search.path[0] = '.';
		search.name_length = 1;
		search_fd(&search, fd);
	} else {
		close(fd);
		return files_refuse(job, "open", ERROR_NOT_REGULAR);
	}
	tell_counts(&search);
	job->report->entries = search.matches;
	return search.failed ? -1 : 0;
}
