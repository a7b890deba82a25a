#define _GNU_SOURCE
#include "procs.h"

#include <fcntl.h>
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
	if (!skip_fields(&at, 20 - 4) || !parse_number(&at, &threads))
		return false;
	proc->threads = (uint32_t)threads;
	return skip_fields(&at, 22 - 20) && parse_number(&at, &proc->began);
}

static bool read_stat(const char *name, struct proc *proc)
{
	char path[32], text[1024];
	size_t length = strnlen(name, 16);
	ssize_t got;
	int fd;

	memcpy(path, name, length);
	memcpy(path + length, "/stat", 6);
	fd = openat(session.proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0)
		return false;
	text[got] = '\0';
	return parse_stat(text, proc);
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

/* One process of a directory entry. A process that has gone meanwhile is passed over. */
static bool scan_entry(struct procs *procs, const struct directory_entry *entry)
{
	struct proc proc = {.root = ROOT_UNKNOWN};
	const char *at = entry->name;
	uint64_t pid;

	if (!parse_number(&at, &pid) || *at)
		return true;
	proc.pid = (pid_t)pid;
	return !read_stat(entry->name, &proc) || add(procs, &proc);
}

static int by_pid(const void *a, const void *b)
{
	const struct proc *left = a, *right = b;

	return (left->pid > right->pid) - (left->pid < right->pid);
}

bool procs_scan(struct procs *procs)
{
	_Alignas(8) char buffer[8192];
	bool complete = false;
	int fd = openat(session.proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	procs->count = 0;
	if (fd < 0)
		return false;
	for (;;) {
		long got = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));
		bool fits = true;

		if (got <= 0) {
			complete = got == 0;
			break;
		}
		for (long at = 0; at < got && fits;) {
			const struct directory_entry *entry = (const void *)(buffer + at);

			fits = scan_entry(procs, entry);
			at += entry->length;
		}
		if (!fits)
			break;
	}
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

bool procs_alive(const struct proc *proc)
{
	/* A process whose first thread has ended looks like a zombie while the others run. */
	return proc->threads > 1 || (proc->state != 'Z' && proc->state != 'X' && proc->state != 'x');
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

void procs_free(struct procs *procs)
{
	free(procs->list);
	*procs = (struct procs){0};
}
