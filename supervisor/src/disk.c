#define _GNU_SOURCE
#include "disk.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <time.h>

#include "cgroup.h"
#include "channel.h"
#include "clock.h"
#include "floor.h"
#include "session.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
/* Where nobody has said: enough for the others, and for the engine itself, to go on. */
#define FLOOR_BYTES (1024 * MIB)
#define FLOOR_FILES 65536

#define LOOK (1 * SECOND)
/* Within so many times the floor, a fast writer could be through it between two looks a second apart. */
#define NEAR 4
#define LOOK_NEAR (200 * MILLISECOND)
/* After the last work. Commands that follow each other closely are one time of work. */
#define SETTLE (20 * MILLISECOND)
/* What the commands' processors show without anybody having run: the spare, a reaper on its way out. */
#define RAN_NS 50000
/* For one reading of the times that nothing comes between. */
#define READINGS 3
/* The least kernel memory that a new file's entry takes. */
#define FILE_BYTES 256
#define READ_ONLY 1 /* ST_RDONLY in statfs's f_flags */

/* What commands write to that is not memory: the workspace, and the container's own layer. */
static struct place {
	const char *name;
	int fd;
	struct floor bytes, files;
} places[] = {
	{.name = "the workspace", .fd = -1}, {.name = "the container's own file system", .fd = -1},
};

#define PLACES (sizeof(places) / sizeof(places[0]))

/* How long the commands' processes ran, all together: between these two. */
struct ran {
	bool known;
	uint64_t least_ns, most_ns;
};

static struct {
	bool watching;
	uint64_t floor_bytes;      /* as configured; CGROUP_NO_LIMIT: by default */
	uint64_t quota_bytes;      /* as asked for the workspace; 0: none */
	uint64_t next;             /* NEVER: at rest */
	uint64_t settles;          /* work has ended: the look that closes it */
	bool near, waiting;
	struct ran ran;            /* at the last look */
	bool commands;             /* there were any since then */
	struct cgroup_writes writes;
} disk = {.next = NEVER, .settles = NEVER};

/* --- what is watched --------------------------------------------------------------------------------------- */

void disk_configure(const struct wire_message *message)
{
	disk.floor_bytes = wire_uint(message, FIELD_DISK_FLOOR_BYTES, CGROUP_NO_LIMIT);
	disk.quota_bytes = wire_uint(message, FIELD_WORKSPACE_QUOTA_BYTES, 0);
}

static uint64_t left_bytes(const struct statfs *status)
{
	return (uint64_t)status->f_bavail * (uint64_t)status->f_bsize;
}

static void watch_place(struct place *place, int fd, uint64_t quota)
{
	struct statfs status;
	uint64_t total;

	if (!disk.floor_bytes || fstatfs(fd, &status) < 0 || !floor_watches((uint32_t)status.f_type) ||
	    (status.f_flags & READ_ONLY))
		return;
	total = (uint64_t)status.f_blocks * (uint64_t)status.f_bsize;
	place->fd = fd;
	/* What has a quota is full at it: its commands are told by their system calls, and nobody else is harmed. The files
	 * are everybody's all the same. */
	if (!quota || total > quota)
		place->bytes.floor =
			disk.floor_bytes == CGROUP_NO_LIMIT ? floor_default(total, FLOOR_BYTES) : disk.floor_bytes;
	place->files.floor = floor_default((uint64_t)status.f_files, FLOOR_FILES);
	disk.watching = true;
}

void disk_begin(void)
{
	watch_place(&places[0], session.workspace_fd, disk.quota_bytes);
	watch_place(&places[1], session.root_fd, 0);
}

uint64_t disk_floor(void)
{
	return places[0].bytes.floor;
}

uint64_t disk_floor_below(enum root root)
{
	/* From the root of all a path may lead into the workspace, whose quota may be used up. */
	if (root == ROOT_FILESYSTEM && places[0].fd >= 0 && !places[0].bytes.floor)
		return 0;
	return places[root == ROOT_FILESYSTEM].bytes.floor;
}

uint64_t disk_quota(void)
{
	return disk.quota_bytes;
}

/* --- looks ------------------------------------------------------------------------------------------------- */

static bool working(void)
{
	return channel_count() || trees();
}

static uint64_t own_ns(void)
{
	struct timespec own = {0};

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
	return (uint64_t)own.tv_sec * 1000000000u + (uint64_t)own.tv_nsec;
}

/* The container's time without PID 1's own. PID 1 is running, and the kernel adds to a group what a running process had only
 * now and then: when somebody asks for the process's own time, for one. So that is asked first, and once more after: the
 * group's time has at least the former in it, and at most the latter. */
static struct ran commands_ran(void)
{
	struct ran best = {.known = false};

	for (int i = 0; i < READINGS; i++) {
		uint64_t before = own_ns(), all = cgroup_ran_ns(), after = own_ns();

		if (!all)
			break;
		if (!best.known || after - before < best.most_ns - best.least_ns)
			best = (struct ran){.known = true, .least_ns = all - after, .most_ns = all - before};
	}
	return best;
}

/* Whether they certainly ran since the last look. Who cannot see the container's times has no alibi. */
static bool have_run(const struct ran *ran)
{
	return !ran->known || !disk.ran.known ||
	       (ran->least_ns > disk.ran.most_ns && ran->least_ns - disk.ran.most_ns > RAN_NS);
}

static bool is_near(const struct floor *floor, uint64_t left)
{
	return left / NEAR < floor->floor;
}

static void end_session(const struct place *place, const char *what, uint64_t left, uint64_t floor)
{
	char message[200];

	snprintf(message, sizeof(message), "%s has %" PRIu64 " %s left, fewer than %" PRIu64, place->name, left, what,
		 floor);
	session_end_saying(END_DISK_FULL, message);
}

static bool judge(struct floor *floor, const struct floor_look *look)
{
	enum floor_verdict verdict = floor_judge(floor, look);

	disk.near |= is_near(floor, look->left);
	disk.waiting |= verdict == FLOOR_WAIT;
	return verdict == FLOOR_END;
}

static void judge_place(struct place *place, uint64_t now, bool ran, const struct cgroup_writes *writes)
{
	struct floor_look look = {.now_ms = now / MILLISECOND + 1, .ran = ran};
	/* Dirty pages are what is there, not what came: a page of the last look may have been written out since. */
	uint64_t dirty = writes->dirty > disk.writes.dirty ? writes->dirty : disk.writes.dirty;
	uint64_t grown = writes->kernel > disk.writes.kernel && disk.writes.kernel
		? writes->kernel - disk.writes.kernel : 0;
	struct statfs status;

	if (fstatfs(place->fd, &status) < 0)
		return;
	look.left = left_bytes(&status);
	look.evidence = dirty;
	if (judge(&place->bytes, &look))
		end_session(place, "MiB", look.left / MIB, place->bytes.floor / MIB);
	look.left = (uint64_t)status.f_ffree;
	look.evidence = grown / FILE_BYTES;
	if (judge(&place->files, &look))
		end_session(place, "files", look.left, place->files.floor);
}

static void begin_place(struct place *place)
{
	struct statfs status;

	if (fstatfs(place->fd, &status) < 0)
		return;
	floor_begin(&place->bytes, left_bytes(&status));
	floor_begin(&place->files, (uint64_t)status.f_ffree);
	disk.near |= is_near(&place->bytes, place->bytes.left) || is_near(&place->files, place->files.left);
}

/* The memory's numbers cost more than all the others, and count for nothing while the disk has room. */
static void look(uint64_t now, bool begins)
{
	struct cgroup_writes writes = {0, 0};
	struct ran times = commands_ran();
	/* What transfers need of the processor is no command's, and they stop at the floor by themselves. */
	bool ran = disk.commands && have_run(&times);

	if (disk.near)
		cgroup_written(&writes);
	disk.near = disk.waiting = false;
	for (size_t i = 0; i < PLACES; i++) {
		if (places[i].fd < 0)
			continue;
		if (begins)
			begin_place(&places[i]);
		else
			judge_place(&places[i], now, ran, &writes);
	}
	disk.ran = times;
	disk.commands = trees();
	disk.writes = writes;
	disk.settles = NEVER;
	disk.next = working() || disk.waiting ? now + (disk.near ? LOOK_NEAR : LOOK) : NEVER;
}

void disk_turn(uint64_t now)
{
	bool work;

	if (!disk.watching)
		return;
	disk.commands |= trees() > 0;
	work = working();
	if (work && disk.next == NEVER)
		look(now, true);
	else if (work)
		disk.settles = NEVER;
	else if (disk.next != NEVER && !disk.waiting && disk.settles == NEVER)
		disk.settles = now + SETTLE;
}

uint64_t disk_deadline(void)
{
	return disk.settles < disk.next ? disk.settles : disk.next;
}

void disk_due(uint64_t now)
{
	if (disk_deadline() <= now)
		look(now, false);
}
