#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "walk.h"

/* A workspace with everything in it that may mislead, beside something that is not in it. */
static int workspace(void)
{
	int fd;

	CHECK(chdir(test_directory()) == 0);
	CHECK(mkdir("outside", 0755) == 0 && mkdir("ws", 0755) == 0 && mkdir("ws/a", 0755) == 0);
	CHECK(mkdir("ws/a/b", 0755) == 0);
	CHECK((fd = open("outside/secret", O_CREAT | O_WRONLY, 0644)) >= 0 && close(fd) == 0);
	CHECK((fd = open("ws/f", O_CREAT | O_WRONLY, 0644)) >= 0 && close(fd) == 0);
	CHECK((fd = open("ws/a/b/g", O_CREAT | O_WRONLY, 0644)) >= 0 && close(fd) == 0);
	CHECK(symlink("f", "ws/to_f") == 0);
	CHECK(symlink("a/b", "ws/to_b") == 0);
	CHECK(symlink("../../f", "ws/a/b/up_to_f") == 0);
	CHECK(symlink("../outside/secret", "ws/out") == 0);
	CHECK(symlink("..", "ws/parent") == 0);
	CHECK(symlink("/f", "ws/absolute") == 0);
	CHECK(symlink("loop", "ws/loop") == 0);
	CHECK(symlink("missing", "ws/dangling") == 0);
	fd = open("ws", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

/* The inode that a path leads to, or the errno below 0. */
static long long lead(int directory, const char *path, enum walk_mode mode, int flags, bool by_hand)
{
	struct stat status;
	int fd;

	walk_without_openat2 = by_hand;
	fd = walk_open(directory, path, mode, flags);
	if (fd < 0)
		return -errno;
	CHECK(fstat(fd, &status) == 0 && close(fd) == 0);
	return (long long)status.st_ino;
}

static long long inode(const char *path)
{
	struct stat status;

	CHECK(lstat(path, &status) == 0);
	return (long long)status.st_ino;
}

static void check_paths(bool by_hand)
{
	static const struct {
		const char *path;
		int flags;
		const char *beneath, *in_root; /* where it leads, from the test's directory */
		int beneath_error, in_root_error;
	} cases[] = {
		{ "f", O_RDONLY, "ws/f", "ws/f", 0, 0 },
		{ ".", O_RDONLY, "ws", "ws", 0, 0 },
		{ "a/b/g", O_RDONLY, "ws/a/b/g", "ws/a/b/g", 0, 0 },
		{ "a//b/./g", O_RDONLY, "ws/a/b/g", "ws/a/b/g", 0, 0 },
		{ "a/../f", O_RDONLY, "ws/f", "ws/f", 0, 0 },
		{ "a/b/../../f", O_RDONLY, "ws/f", "ws/f", 0, 0 },
		{ "to_f", O_RDONLY, "ws/f", "ws/f", 0, 0 },
		{ "to_f", O_PATH | O_NOFOLLOW, "ws/to_f", "ws/to_f", 0, 0 },
		{ "to_f", O_RDONLY | O_NOFOLLOW, NULL, NULL, ELOOP, ELOOP },
		{ "to_b/g", O_RDONLY, "ws/a/b/g", "ws/a/b/g", 0, 0 },
		{ "to_b/../b/g", O_RDONLY, "ws/a/b/g", "ws/a/b/g", 0, 0 },
		{ "to_b/up_to_f", O_RDONLY, "ws/f", "ws/f", 0, 0 },
		{ "to_b/", O_PATH | O_NOFOLLOW, "ws/a/b", "ws/a/b", 0, 0 },
		{ "to_b", O_PATH | O_DIRECTORY, "ws/a/b", "ws/a/b", 0, 0 },
		{ "a/b/", O_RDONLY, "ws/a/b", "ws/a/b", 0, 0 },
		{ "f/", O_RDONLY, NULL, NULL, ENOTDIR, ENOTDIR },
		{ "f/x", O_RDONLY, NULL, NULL, ENOTDIR, ENOTDIR },
		{ "f", O_PATH | O_DIRECTORY, NULL, NULL, ENOTDIR, ENOTDIR },
		{ "none", O_RDONLY, NULL, NULL, ENOENT, ENOENT },
		{ "none/x", O_RDONLY, NULL, NULL, ENOENT, ENOENT },
		{ "dangling", O_RDONLY, NULL, NULL, ENOENT, ENOENT },
		{ "", O_RDONLY, NULL, NULL, ENOENT, ENOENT },
		{ "loop", O_RDONLY, NULL, NULL, ELOOP, ELOOP },
		{ "loop/x", O_RDONLY, NULL, NULL, ELOOP, ELOOP },
		{ "..", O_RDONLY, NULL, "ws", EXDEV, 0 },
		{ "../f", O_RDONLY, NULL, "ws/f", EXDEV, 0 },
		{ "../outside/secret", O_RDONLY, NULL, NULL, EXDEV, ENOENT },
		{ "a/../../outside/secret", O_RDONLY, NULL, NULL, EXDEV, ENOENT },
		{ "out", O_RDONLY, NULL, NULL, EXDEV, ENOENT },
		{ "parent/f", O_RDONLY, NULL, "ws/f", EXDEV, 0 },
		{ "/f", O_RDONLY, NULL, "ws/f", EXDEV, 0 },
		{ "/", O_RDONLY, NULL, "ws", EXDEV, 0 },
		{ "absolute", O_RDONLY, NULL, "ws/f", EXDEV, 0 },
	};
	int directory = workspace();

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		long long beneath = lead(directory, cases[i].path, WALK_BENEATH, cases[i].flags, by_hand);
		long long in_root = lead(directory, cases[i].path, WALK_IN_ROOT, cases[i].flags, by_hand);
		long long wanted = cases[i].beneath ? inode(cases[i].beneath) : -cases[i].beneath_error;

		if (beneath != wanted)
			test_fail(__FILE__, __LINE__, "beneath, %s: %lld, not %lld", cases[i].path, beneath, wanted);
		wanted = cases[i].in_root ? inode(cases[i].in_root) : -cases[i].in_root_error;
		if (in_root != wanted)
			test_fail(__FILE__, __LINE__, "in root, %s: %lld, not %lld", cases[i].path, in_root, wanted);
	}
}

TEST("openat2 leads where it should and nowhere else")
{
	check_paths(false);
}

TEST("the component walk leads where it should and nowhere else")
{
	check_paths(true);
}

static void random_path(char *out, size_t parts)
{
	static const char *const names[] = { "a", "b", "c", "x", "y", ".", "..", "z", "", "/" };
	size_t length = 0;

	out[0] = '\0';
	for (size_t i = 0; i < parts; i++) {
		const char *name = names[test_below(test_below(6) == 0 ? 10 : 8)];

		length += (size_t)sprintf(out + length, "%s%s", i == 0 ? "" : "/", name);
	}
	if (length == 0)
		strcpy(out, "a");
}

TEST("the component walk and openat2 agree on random trees, links and paths")
{
	static const int flags[] = { O_RDONLY, O_PATH, O_PATH | O_NOFOLLOW, O_PATH | O_DIRECTORY,
				     O_RDONLY | O_NOFOLLOW };
	char path[256], text[256];
	int directory;

	CHECK(chdir(test_directory()) == 0 && mkdir("ws", 0755) == 0 && chdir("ws") == 0);
	directory = open(".", O_PATH | O_DIRECTORY);
	CHECK(directory >= 0);
	for (int i = 0; i < 400; i++) {
		int file;

		/* Most of these fail, as they should: enough do not. The tree must stay beneath. */
		random_path(path, 1 + test_below(4));
		if (strstr(path, "..") != NULL || path[0] == '/')
			continue;
		random_path(text, 1 + test_below(3));
		switch (test_below(5)) {
		case 0:
		case 1:
		case 2:
			(void)!mkdir(path, 0755);
			break;
		case 3:
			(void)!symlink(text, path);
			break;
		default:
			file = openat(directory, path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0644);
			if (file >= 0)
				close(file);
		}
	}
	for (int i = 0; i < 50000; i++) {
		int flag = flags[test_below(5)];
		enum walk_mode mode = test_below(2) == 0 ? WALK_BENEATH : WALK_IN_ROOT;
		long long kernel, walk;

		random_path(path, 1 + test_below(6));
		kernel = lead(directory, path, mode, flag, false);
		walk = lead(directory, path, mode, flag, true);
		if (kernel != walk)
			test_fail(__FILE__, __LINE__, "%s (mode %d, flags %o): %lld by the kernel, %lld by the walk",
				  path, mode, flag, kernel, walk);
	}
}

TEST("a component walk keeps few descriptors however deep it goes")
{
	char path[2 * 600 + 1] = "";
	int directory, before, after;

	CHECK(chdir(test_directory()) == 0);
	directory = open(".", O_PATH | O_DIRECTORY);
	for (int i = 0; i < 600; i++) {
		strcat(path, i == 0 ? "d" : "/d");
		CHECK(mkdir(path, 0755) == 0);
	}
	before = dup(0);
	close(before);
	walk_without_openat2 = true;
	after = walk_open(directory, path, WALK_BENEATH, O_PATH | O_DIRECTORY);
	CHECK(after >= 0 && close(after) == 0);
	after = dup(0);
	EQUAL(after, before);
}

TEST("magic links are not followed by their magic")
{
	int directory = open("/", O_PATH | O_DIRECTORY), ends[2];
	char path[64];

	/* A pipe can be opened again through /proc, but the text of that link names nothing. */
	CHECK(directory >= 0 && pipe(ends) == 0);
	snprintf(path, sizeof path, "proc/self/fd/%d", ends[0]);
	for (int by_hand = 0; by_hand < 2; by_hand++) {
		walk_without_openat2 = by_hand != 0;
		CHECK(walk_open(directory, path, WALK_IN_ROOT, O_RDONLY) < 0);
		CHECK(errno == ELOOP || errno == ENOENT);
		CHECK(walk_open(directory, "proc/self/root/etc", WALK_BENEATH, O_PATH) < 0);
		CHECK(errno == ELOOP || errno == EXDEV);
	}
}
