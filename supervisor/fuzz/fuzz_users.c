/* Any bytes as /etc/passwd and /etc/group, and any name looked up in them. The input: the name, a NUL, the bytes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "users.h"
#include "wire_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int root_fd = -1;

static void make_root(void)
{
	static char path[] = "/dev/shm/fumehood-fuzz-XXXXXX";
	int database;

	if (mkdtemp(path) == NULL)
		abort();
	root_fd = open(path, O_PATH | O_DIRECTORY);
	if (mkdirat(root_fd, "etc", 0700) < 0)
		abort();
	database = openat(root_fd, "etc/passwd", O_CREAT | O_WRONLY, 0600);
	if (database < 0 || close(database) < 0 || linkat(root_fd, "etc/passwd", root_fd, "etc/group", 0) < 0)
		abort();
}

static void remove_root(void)
{
	char path[64], target[256];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/self/fd/%d", root_fd);
	length = readlink(path, target, sizeof target - 1);
	unlinkat(root_fd, "etc/passwd", 0);
	unlinkat(root_fd, "etc/group", 0);
	unlinkat(root_fd, "etc", AT_REMOVEDIR);
	if (length > 0) {
		target[length] = '\0';
		rmdir(target);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct identity identity;
	size_t name = strnlen((const char *)data, size);
	char *spec;
	uint32_t error;
	int database;

	if (root_fd < 0) {
		make_root();
		atexit(remove_root);
	}
	if (name == size)
		return 0;
	database = openat(root_fd, "etc/passwd", O_WRONLY | O_TRUNC);
	if (database < 0 || write(database, data + name + 1, size - name - 1) < 0)
		abort();
	close(database);
	/* Memory of its own, so that one byte too many is seen. */
	spec = strndup((const char *)data, size);
	if (spec == NULL)
		abort();
	error = users_resolve_in(root_fd, spec, &identity);
	free(spec);
	if (error == 0) {
		if (identity.uid == RESERVED_ID || identity.gid == RESERVED_ID || identity.uid > INT32_MAX ||
		    identity.gid > INT32_MAX || identity.group_count > IDENTITY_GROUPS)
			abort();
		for (uint32_t i = 0; i < identity.group_count; i++) {
			if (identity.groups[i] == RESERVED_ID)
				abort();
		}
		if (memchr(identity.home, '\0', sizeof identity.home) == NULL || identity.home[0] != '/' ||
		    memchr(identity.name, '\0', sizeof identity.name) == NULL ||
		    memchr(identity.shell, '\0', sizeof identity.shell) == NULL)
			abort();
	}
	return 0;
}
