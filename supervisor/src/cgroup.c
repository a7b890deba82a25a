#define _GNU_SOURCE
#include "cgroup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOUNT "/sys/fs/cgroup"

/* A group's statistics: some sixty lines. */
#define STATISTICS 8192

static int events_fd = -1, ran_fd = -1, memory_fd = -1, kernel_fd = -1;
static bool first_version;

/* A whole small file, terminated. */
static bool read_text(int fd, char *text, size_t size)
{
	ssize_t got = pread(fd, text, size - 1, 0);

	if (got < 0)
		return false;
	text[got] = '\0';
	return true;
}

static int open_file(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static bool read_file(const char *path, char *text, size_t size)
{
	int fd = open_file(path);
	bool done = fd >= 0 && read_text(fd, text, size);

	if (fd >= 0)
		close(fd);
	return done;
}

/* "key value" on a line of its own. */
static uint64_t value_of(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, key, length) == 0 && line[length] == ' ')
			return strtoull(line + length, NULL, 10);
	return 0;
}

/* A limit: "max", -1 and version 1's nearly endless number are none. */
static uint64_t parse_limit(const char *text)
{
	uint64_t value = *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : CGROUP_NO_LIMIT;

	return value >= (uint64_t)INT64_MAX - 65536 ? CGROUP_NO_LIMIT : value;
}

static uint64_t read_limit(const char *path)
{
	char text[64];

	return read_file(path, text, sizeof(text)) ? parse_limit(text) : CGROUP_NO_LIMIT;
}

void cgroup_init(void)
{
	events_fd = open_file(MOUNT "/memory.events");
	if (events_fd < 0)
		events_fd = open_file(MOUNT "/memory/memory.oom_control");
	ran_fd = open_file(MOUNT "/cpu.stat");
	memory_fd = open_file(MOUNT "/memory.stat");
	if (memory_fd >= 0)
		return;
	first_version = true;
	ran_fd = open_file(MOUNT "/cpuacct/cpuacct.usage");
	memory_fd = open_file(MOUNT "/memory/memory.stat");
	kernel_fd = open_file(MOUNT "/memory/memory.kmem.usage_in_bytes");
}

uint64_t cgroup_ran_ns(void)
{
	char text[STATISTICS];

	if (ran_fd < 0 || !read_text(ran_fd, text, sizeof(text)))
		return 0;
	return first_version ? strtoull(text, NULL, 10) : value_of(text, "usage_usec") * 1000;
}

void cgroup_written(struct cgroup_writes *writes)
{
	char text[STATISTICS];

	*writes = (struct cgroup_writes){0, 0};
	if (memory_fd < 0 || !read_text(memory_fd, text, sizeof(text)))
		return;
	if (!first_version) {
		writes->dirty = value_of(text, "file_dirty") + value_of(text, "file_writeback");
		writes->kernel = value_of(text, "slab_reclaimable");
		return;
	}
	writes->dirty = value_of(text, "total_dirty") + value_of(text, "total_writeback");
	if (kernel_fd >= 0 && read_text(kernel_fd, text, sizeof(text)))
		writes->kernel = strtoull(text, NULL, 10);
}

uint64_t cgroup_oom_kills(void)
{
	char text[512];

	return events_fd >= 0 && read_text(events_fd, text, sizeof(text)) ? value_of(text, "oom_kill") : 0;
}

static void read_version_2(struct cgroup_limits *limits)
{
	char text[64];

	limits->version = 2;
	limits->memory = read_limit(MOUNT "/memory.max");
	limits->swap = read_limit(MOUNT "/memory.swap.max");
	limits->pids = read_limit(MOUNT "/pids.max");
	if (!read_file(MOUNT "/cpu.max", text, sizeof(text)))
		return;
	limits->cpu_quota_us = parse_limit(text);
	if (strchr(text, ' '))
		limits->cpu_period_us = strtoull(strchr(text, ' '), NULL, 10);
}

/* Version 1 limits memory and swap together; the wire tells them apart, as version 2 does. */
static void read_version_1(struct cgroup_limits *limits)
{
	uint64_t both = read_limit(MOUNT "/memory/memory.memsw.limit_in_bytes");
	uint64_t period = read_limit(MOUNT "/cpu/cpu.cfs_period_us");

	limits->version = 1;
	limits->memory = read_limit(MOUNT "/memory/memory.limit_in_bytes");
	if (both != CGROUP_NO_LIMIT && limits->memory != CGROUP_NO_LIMIT)
		limits->swap = both > limits->memory ? both - limits->memory : 0;
	limits->pids = read_limit(MOUNT "/pids/pids.max");
	limits->cpu_quota_us = read_limit(MOUNT "/cpu/cpu.cfs_quota_us");
	if (period != CGROUP_NO_LIMIT)
		limits->cpu_period_us = period;
}

void cgroup_read(struct cgroup_limits *limits)
{
	*limits = (struct cgroup_limits){
		.memory = CGROUP_NO_LIMIT, .swap = CGROUP_NO_LIMIT, .pids = CGROUP_NO_LIMIT,
		.cpu_quota_us = CGROUP_NO_LIMIT, .cpu_period_us = 100000,
	};
	if (access(MOUNT "/cgroup.controllers", F_OK) == 0)
		read_version_2(limits);
	else if (access(MOUNT "/memory", F_OK) == 0 || access(MOUNT "/pids", F_OK) == 0)
		read_version_1(limits);
}
