#define _GNU_SOURCE
#include "procs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session.h"
#include "task.h"

#define CAPACITY_START 1024
/* Beyond this the picture is given up, and with it the session: an engine allows far fewer. */
#define CAPACITY_LIMIT (1u << 20)

/* The kernel's own layout: no memory is allocated to read a directory. */
struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static bool parse_number(const char **at, uint64_t *out)
{
	const char *p = *at;
	uint64_t value = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
		value = value * 10 + (uint64_t)(*p - '0');
	*at = p;
	*out = value;
	return true;
}

static bool skip_fields(const char **at, int count)
{
	while (count-- > 0) {
		*at = strchr(*at, ' ');
		if (!*at)
			return false;
		(*at)++;
	}
	return true;
}

/* "pid (comm) S ppid …": comm is the process's own to choose, with any byte in it, so what counts begins behind the
 * last ')'. Fields are numbered as in proc(5). */
static bool parse_stat(const char *text, struct proc *proc)
{
	const char *at = strrchr(text, ')');
	uint64_t parent, threads;

	if (!at || at[1] != ' ' || !at[2] || at[3] != ' ')
		return false;
	proc->state = at[2];
	at += 4;
	if (!parse_number(&at, &parent))
		return false;
	proc->parent = (pid_t)parent;
	if (!skip_fields(&at, 10 - 4) || !parse_number(&at, &proc->faults))
		return false;
	if (!skip_fields(&at, 20 - 10) || !parse_number(&at, &threads))
		return false;
	proc->threads = (uint32_t)threads;
	return skip_fields(&at, 22 - 20) && parse_number(&at, &proc->began);
}

/* A number's name and a short rest. */
static void join(char path[32], const char *number, const char *rest)
{
	size_t length = strnlen(number, 16);

	memcpy(path, number, length);
	memcpy(path + length, rest, strlen(rest) + 1);
}

static ssize_t read_text(int directory, const char *path, char *text, size_t size)
{
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	got = read(fd, text, size - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got;
}

static bool read_stat(const char *name, struct proc *proc)
{
	char path[32], text[1024];

	join(path, name, "/stat");
	return read_text(session.proc_fd, path, text, sizeof(text)) > 0 && parse_stat(text, proc);
}

static bool add(struct procs *procs, const struct proc *proc)
{
	if (procs->count == procs->capacity) {
		uint32_t capacity = procs->capacity ? 2 * procs->capacity : CAPACITY_START;
		struct proc *list;

		if (capacity > CAPACITY_LIMIT)
			return false;
		list = realloc(procs->list, capacity * sizeof(*list));
		if (!list)
			return false;
		procs->list = list;
		procs->capacity = capacity;
	}
	procs->list[procs->count++] = *proc;
	return true;
}

/* One process. One that has gone meanwhile is passed over. */
static bool scan_process(void *context, const char *name)
{
	struct procs *procs = context;
	struct proc proc = {.root = ROOT_UNKNOWN};

	proc.pid = (pid_t)strtol(name, NULL, 10);
	return !read_stat(name, &proc) || add(procs, &proc);
}

static bool is_number(const char *name)
{
	uint64_t number;

	return parse_number(&name, &number) && !*name;
}

/* Visit every entry of a directory that is called a number. False when not all could be. */
static bool each_number(int fd, bool (*visit)(void *context, const char *name), void *context)
{
	_Alignas(8) char buffer[8192];

	for (;;) {
		long got = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));

		if (got <= 0)
			return got == 0;
		for (long at = 0; at < got;) {
			const struct directory_entry *entry = (const void *)(buffer + at);

			if (is_number(entry->name) && !visit(context, entry->name))
				return false;
			at += entry->length;
		}
	}
}

static int by_pid(const void *a, const void *b)
{
	const struct proc *left = a, *right = b;

	return (left->pid > right->pid) - (left->pid < right->pid);
}

bool procs_scan(struct procs *procs)
{
	int fd = openat(session.proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool complete;

	procs->count = 0;
	if (fd < 0)
		return false;
	complete = each_number(fd, scan_process, procs);
	close(fd);
	if (complete)
		qsort(procs->list, procs->count, sizeof(*procs->list), by_pid);
	return complete;
}

static struct proc *find(const struct procs *procs, pid_t pid)
{
	uint32_t low = 0, high = procs->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (procs->list[middle].pid == pid)
			return &procs->list[middle];
		if (procs->list[middle].pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct proc *procs_find(const struct procs *procs, pid_t pid)
{
	return find(procs, pid);
}

pid_t procs_parent(pid_t pid)
{
	struct proc proc;
	char name[16];

	(void)snprintf(name, sizeof(name), "%d", pid);
	return read_stat(name, &proc) ? proc.parent : 0;
}

bool procs_alive(const struct proc *proc)
{
	/* A process whose first thread has ended looks like a zombie while the others run. */
	return proc->threads > 1 || (proc->state != 'Z' && proc->state != 'X' && proc->state != 'x');
}

bool procs_stands_still(const struct proc *proc)
{
	return proc->state == 'T' || proc->state == 't';
}

bool procs_unborn(const struct proc *proc)
{
	/* The kernel itself touches one, to leave the child its own number (CLONE_CHILD_SETTID). */
	return proc->faults <= 1;
}

bool procs_same(const struct proc *a, const struct proc *b)
{
	return a && b && a->pid == b->pid && a->began == b->began;
}

/* What a process is by itself, ROOT_UNKNOWN if that depends on its parent. */
static int own_root(const struct proc *proc)
{
	const struct task *task;

	if (proc->pid == 1 || proc->parent == 0)
		return ROOT_OUTSIDE;
	if (proc->parent != 1)
		return ROOT_UNKNOWN;
	task = task_of_pid(proc->pid);
	return task ? (int)(task - task_at(0)) : ROOT_STRAY;
}

/* Walk up to an ancestor that is known, then down again giving everybody its root. A parent that has gone since it
 * was read leaves ROOT_UNKNOWN: such a process has a new parent already, which the next picture shows. */
static void attribute(struct procs *procs, struct proc *proc)
{
	struct proc *at = proc;
	int root = ROOT_UNKNOWN;
	uint32_t steps = 0;

	for (; at && steps <= procs->count; steps++) {
		root = at->root != ROOT_UNKNOWN ? at->root : own_root(at);
		if (root != ROOT_UNKNOWN)
			break;
		at = find(procs, at->parent);
	}
	for (struct proc *next = proc; next; next = find(procs, next->parent)) {
		next->root = root;
		if (next == at || steps-- == 0)
			break;
	}
}

void procs_attribute(struct procs *procs)
{
	for (uint32_t i = 0; i < procs->count; i++)
		if (procs->list[i].root == ROOT_UNKNOWN)
			attribute(procs, &procs->list[i]);
}

struct tracers {
	int threads;
	void (*found)(pid_t tracer);
};

/* A thread's name is escaped in this file: a line begins with what the kernel has put there. */
static bool tracer_of_thread(void *context, const char *name)
{
	static const char key[] = "\nTracerPid:\t";
	const struct tracers *tracers = context;
	char path[32], text[1024];
	const char *line;
	uint64_t tracer;

	join(path, name, "/status");
	if (read_text(tracers->threads, path, text, sizeof(text)) <= 0)
		return true;
	line = strstr(text, key);
	if (!line)
		return true;
	line += sizeof(key) - 1;
	/* 0 is nobody, or somebody outside. */
	if (parse_number(&line, &tracer) && tracer > 1)
		tracers->found((pid_t)tracer);
	return true;
}

void procs_each_tracer(pid_t pid, void (*found)(pid_t tracer))
{
	struct tracers tracers = {.found = found};
	char path[32];

	(void)snprintf(path, sizeof(path), "%d/task", pid);
	tracers.threads = openat(session.proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tracers.threads < 0)
		return;
	(void)each_number(tracers.threads, tracer_of_thread, &tracers);
	close(tracers.threads);
}

bool procs_copy(struct procs *to, const struct procs *from)
{
	procs_free(to);
	if (!from->count)
		return true;
	to->list = malloc(from->count * sizeof(*to->list));
	if (!to->list)
		return false;
	memcpy(to->list, from->list, from->count * sizeof(*to->list));
	to->count = to->capacity = from->count;
	return true;
}

void procs_free(struct procs *procs)
{
	free(procs->list);
	*procs = (struct procs){0};
}
