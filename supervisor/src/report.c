#define _GNU_SOURCE
#include "report.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "connection.h"
#include "disk.h"
#include "lease.h"
#include "session.h"

#define TMPFS 0x01021994
#define READ_ONLY 1 /* ST_RDONLY in statfs's f_flags */

/* From /proc/self/status as the engine left it: our own filter comes on top. */
static uint64_t engine_seccomp, bounding;

static uint64_t status_value(const char *status, const char *key, int base)
{
	const char *line = strstr(status, key);

	return line ? strtoull(line + strlen(key), NULL, base) : 0;
}

void report_init(void)
{
	char status[4096];
	int fd = openat(session.proc_fd, "self/status", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, status, sizeof(status) - 1) : -1;

	if (fd >= 0)
		close(fd);
	status[got > 0 ? got : 0] = '\0';
	engine_seccomp = status_value(status, "\nSeccomp:", 10);
	bounding = status_value(status, "\nCapBnd:", 16);
}

static uint64_t total_bytes(const struct statfs *status)
{
	return (uint64_t)status->f_blocks * (uint64_t)status->f_bsize;
}

/* The budget of /tmp where it has one of its own. */
static uint64_t tmp_bytes(void)
{
	struct statfs status;
	int fd = openat(session.root_fd, "tmp", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool bounded = fd >= 0 && fstatfs(fd, &status) == 0 && status.f_type == TMPFS;

	if (fd >= 0)
		close(fd);
	return bounded ? total_bytes(&status) : 0;
}

void report_send(struct connection *connection)
{
	struct cgroup_limits limits;
	struct statfs workspace = {0}, root = {0};
	struct utsname kernel = {0};
	struct wire_writer writer;
	uint8_t frame[sizeof(session.user.home) + WIRE_MAX_TEXT + WIRE_MAX_METADATA + 512];

	cgroup_read(&limits);
	session.process_limit = limits.pids;
	(void)fstatfs(session.workspace_fd, &workspace);
	(void)fstatfs(session.root_fd, &root);
	(void)uname(&kernel);
	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_READY, 0);
	/* In the order of their tags: first the configuration, for a connection that did not send it. */
	wire_put_uint(&writer, FIELD_GRACE_MS, lease_grace_ms());
	wire_put_uint(&writer, FIELD_HEARTBEAT_MS, lease_heartbeat_ms());
	wire_put_uint(&writer, FIELD_DETACHED, lease_detached());
	wire_put_uint(&writer, FIELD_WORKLOAD_CAPS, session.caps);
	wire_put_uint(&writer, FIELD_MAX_FILE_BYTES, session.max_file_bytes);
	wire_put_uint(&writer, FIELD_MAX_PROCESSES, session.max_processes);
	wire_put_uint(&writer, FIELD_DISK_FLOOR_BYTES, disk_floor());
	wire_put_uint(&writer, FIELD_WORKSPACE_QUOTA_BYTES, disk_quota());
	if (session.metadata_length)
		wire_put_bytes(&writer, FIELD_METADATA, session.metadata, session.metadata_length);
	wire_put_uint(&writer, FIELD_UID, session.user.uid);
	wire_put_uint(&writer, FIELD_GID, session.user.gid);
	wire_put_bytes(&writer, FIELD_HOME, session.user.home, strlen(session.user.home));
	wire_put_uint(&writer, FIELD_MEMORY_MAX, limits.memory);
	wire_put_uint(&writer, FIELD_SWAP_MAX, limits.swap);
	wire_put_uint(&writer, FIELD_PIDS_MAX, limits.pids);
	wire_put_uint(&writer, FIELD_CPU_QUOTA_US, limits.cpu_quota_us);
	wire_put_uint(&writer, FIELD_CPU_PERIOD_US, limits.cpu_period_us);
	wire_put_uint(&writer, FIELD_OPEN_FILES, session.open_files.rlim_max);
	wire_put_uint(&writer, FIELD_NO_NEW_PRIVS, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	wire_put_uint(&writer, FIELD_SECCOMP, engine_seccomp);
	wire_put_uint(&writer, FIELD_CAP_BOUNDING, bounding);
	wire_put_uint(&writer, FIELD_WORKSPACE_FS, (uint64_t)workspace.f_type);
	wire_put_uint(&writer, FIELD_WORKSPACE_BYTES, total_bytes(&workspace));
	wire_put_uint(&writer, FIELD_ROOTFS_READONLY, (root.f_flags & READ_ONLY) != 0);
	wire_put_text(&writer, FIELD_KERNEL, kernel.release, strlen(kernel.release));
	wire_put_uint(&writer, FIELD_CGROUP_VERSION, limits.version);
	wire_put_uint(&writer, FIELD_TMP_BYTES, tmp_bytes());
	wire_end(&writer);
	connection_send(connection, &writer);
}
